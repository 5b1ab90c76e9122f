"""When a node that gives its key up goes on with the next one, decided without I/O."""

from __future__ import annotations

from p2p.rounds.core import RoundCore


class Rekeying:
    """What one node knows of who else has the commit that gave its key up.

    The old key works on until others have that commit: whoever has not refuses the new key, and
    perhaps nobody else could bring it. One member that has it brings it to all others, unless it
    lies: so more voters than may lie must have it. A node that decides alone waits only for members
    that are there: the others might never come.
    """

    def __init__(self, core: RoundCore) -> None:
        self._core = core
        self._heads: dict[str, int] = {}

    def on_message(self, sender: str, data: bytes) -> None:
        """``sender`` brought an envelope, which was accepted: it has what it brings."""
        if self._core.gives_key_up:
            self._has(sender, self._core.commit_in(data))

    def on_peer_head(self, peer: str, round_number: int) -> None:
        """``peer`` says that it works on a round."""
        if self._core.gives_key_up:
            self._has(peer, round_number - 1)

    def _has(self, peer: str, round_number: int) -> None:
        self._heads[peer] = max(self._heads.get(peer, 0), round_number)

    @property
    def is_time(self) -> bool:
        """Whether the next key is a member's, and enough others know it."""
        core = self._core
        if core.me not in core.membership.successors:
            return False
        now = core.membership.now
        given_up_in, leader = core.rekeyed_in(core.me)
        witnesses = {now(peer) for peer, head in self._heads.items() if head >= given_up_in}
        if leader is not None:
            witnesses.add(now(leader))
        liars = core.facts.liars
        voters = set(core.facts.voters) - {now(core.me)}
        members = core.members.keys() - {now(core.me)}
        others = voters if liars else members if voters else members & core.alive
        return not others or len(witnesses & others) > liars
