"""What each member cost us lately, and whom we stop listening to for a while.

After gossipsub v1.1: invalid messages count squared, floods count above an allowance, everything
fades, nothing is forgotten by reconnecting. The score is our own observation only: no member can
worsen another's, because what it passes on was checked by itself first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from p2p import clock
from p2p.limits import (
    FLOOD_ALLOWANCE,
    FLOOD_WEIGHT,
    GRAYLIST_PENALTY,
    GRAYLIST_SECONDS,
    SCORE_HALF_LIFE,
)


@dataclass
class _Record:
    invalid: float = 0.0
    floods: float = 0.0
    updated: float = 0.0
    graylisted_until: float = 0.0

    @property
    def penalty(self) -> float:
        excess = max(0.0, self.floods - FLOOD_ALLOWANCE)
        return self.invalid**2 + FLOOD_WEIGHT * excess**2


class Scores:
    """The members' penalties. ``on_graylisted(peer_id)`` is called once per time-out."""

    def __init__(
        self,
        on_graylisted: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = clock.now,
    ) -> None:
        self._on_graylisted = on_graylisted
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def invalid(self, peer_id: str) -> None:
        """A message that no correct member sends."""
        record = self._faded(peer_id)
        record.invalid += 1
        self._judge(peer_id, record)

    def flood(self, peer_id: str) -> None:
        """A request above a budget."""
        record = self._faded(peer_id)
        record.floods += 1
        self._judge(peer_id, record)

    def penalty(self, peer_id: str) -> float:
        """0 for a good member; see ``GRAYLIST_PENALTY``."""
        return self._faded(peer_id).penalty if peer_id in self._records else 0.0

    def is_graylisted(self, peer_id: str) -> bool:
        record = self._records.get(peer_id)
        return record is not None and self._clock() < record.graylisted_until

    def keep_only(self, members: Collection[str]) -> None:
        """Forgets who is no member any more."""
        self._records = {peer: r for peer, r in self._records.items() if peer in members}

    def _faded(self, peer_id: str) -> _Record:
        now = self._clock()
        record = self._records.setdefault(peer_id, _Record(updated=now))
        share = 0.5 ** ((now - record.updated) / SCORE_HALF_LIFE)
        record.invalid *= share
        record.floods *= share
        record.updated = now
        return record

    def _judge(self, peer_id: str, record: _Record) -> None:
        now = self._clock()
        if record.penalty < GRAYLIST_PENALTY or now < record.graylisted_until:
            return
        record.graylisted_until = now + GRAYLIST_SECONDS
        record.invalid = record.floods = 0.0
        self._on_graylisted(peer_id)
