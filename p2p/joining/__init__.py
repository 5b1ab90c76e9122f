"""Getting in: invites, the lobby they are used at, and the machine that asks to join.

Nothing here makes a member. The lobby checks that somebody holds an invite and asks whoever runs
the room; the admin's signature admits (:meth:`p2p.changes.Changes.add_member`).
"""
