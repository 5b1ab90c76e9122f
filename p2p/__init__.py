"""Peers, rooms and rounds: signed messages, opaque blobs, and one agreed result per round.

Nothing in this package knows what a contribution means: that reaches it through
:class:`p2p.workload.Workload`.
"""
