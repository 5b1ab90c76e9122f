"""When this node learned what of a round: for showing only, nothing is decided by it.

Times are seconds after the round opened here, on this node's clock: a vote counts from when it
was known here, which may be only with the leader's certificate, not from when it was cast. A
round of which this node only fetched the outcome has none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from p2p.rounds.core import RoundCore
from p2p.rounds.driver import read_commit

PAGES_KEPT: Final = 8
"""Closed rounds; whoever shows them looks about once a second."""
ATTEMPTS_KEPT: Final = 16
"""The first ones of a round, which may go on failing for days."""


@dataclass(frozen=True)
class MemberTimes:
    """One member's part in a round; None: not known here. ``checked`` is when its contribution
    had been fetched and judged here, ``refused`` why it was found wanting; ``prepared`` and
    ``committed`` are its votes in the attempt that counted. ``loss`` is what it said of its
    training."""

    peer: str
    contributed: float | None = None
    checked: float | None = None
    refused: str = ""
    prepared: float | None = None
    committed: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class RoundTimes:
    """One round. ``seconds`` until its commit, None while it is open. ``whole``: this node was
    there when it opened; if not, it counts from when this node came to it. ``attempts`` are the
    moments at which the first ones began, each with the member that led it."""

    round: int
    seconds: float | None
    whole: bool
    attempts: tuple[tuple[float, str], ...]
    members: tuple[MemberTimes, ...]


@dataclass
class _Page:
    """The open round, as far as it has been seen."""

    round: int
    opened_at: float
    whole: bool
    attempt: int = -1
    attempts: list[tuple[float, str]] = field(default_factory=list)
    contributed: dict[str, float] = field(default_factory=dict)
    checked: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    prepared: dict[str, float] = field(default_factory=dict)
    committed: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def look(self, core: RoundCore, now: float) -> None:
        """Notes what is there for the first time."""
        at = round(now - self.opened_at, 2)
        if core.attempt != self.attempt:
            self.attempt = core.attempt
            if len(self.attempts) < ATTEMPTS_KEPT:
                self.attempts.append((at, core.leader))
            self.prepared.clear()
            self.committed.clear()
        for id_, contribution in core.contributions.items():
            peer = contribution.peer
            self.contributed.setdefault(peer, at)
            if contribution.loss_milli is not None:
                self.losses[peer] = contribution.loss_milli / 1000
            verdict = core.verdicts.get(id_)
            if verdict is not None:
                self.checked.setdefault(peer, at)
                if not verdict.ok:
                    self.refused[peer] = verdict.reason
        for peer in core.voted("prepare"):
            self.prepared.setdefault(peer, at)
        lock = core.journal.lock
        if lock is not None and lock.attempt == self.attempt:
            # Votes go to the leader alone; the others learn of them from its certificate.
            for entry in lock.qc.signatures:
                self.prepared.setdefault(entry.peer, at)
        for peer in core.voted("commit"):
            self.committed.setdefault(peer, at)

    def close(self, core: RoundCore) -> RoundTimes | None:
        """The round as it was when its commit opened the next one; None when no work on it was
        seen, as where it was over before this node came to it."""
        if not self.checked and not self.prepared:
            return None
        seconds = round(core.started_at - self.opened_at, 2)
        newest_first = reversed(core.journal.commits)
        record = next((each for each in newest_first if each.round == self.round), None)
        if record is not None:
            _, certificate = read_commit(record.payload)
            for entry in certificate.signatures:
                self.committed.setdefault(entry.peer, seconds)
        return self.told(seconds)

    def told(self, seconds: float | None) -> RoundTimes:
        """What there is to show."""
        known = {*self.contributed, *self.prepared, *self.committed}
        return RoundTimes(
            self.round,
            seconds,
            self.whole,
            tuple(self.attempts),
            tuple(
                MemberTimes(
                    peer,
                    self.contributed.get(peer),
                    self.checked.get(peer),
                    self.refused.get(peer, ""),
                    self.prepared.get(peer),
                    self.committed.get(peer),
                    self.losses.get(peer),
                )
                for peer in sorted(known)
            ),
        )


class Chronicle:
    """The open round of one node and the few before it."""

    def __init__(self) -> None:
        self._page: _Page | None = None
        self._closed: deque[RoundTimes] = deque(maxlen=PAGES_KEPT)

    @property
    def rounds(self) -> tuple[RoundTimes, ...]:
        """Oldest first, the open round last."""
        return (*self._closed, *((self._page.told(None),) if self._page else ()))

    def look(self, core: RoundCore, now: float) -> None:
        """Notes what ``core`` knows at ``now`` and did not know before; after each event."""
        page = self._page
        if page is None or (page.round, page.opened_at) != (core.round, core.started_at):
            witnessed = False
            if page is not None and page.round != core.round:
                closed = page.close(core)
                if closed is not None:
                    self._closed.append(closed)
                    witnessed = core.round == page.round + 1
            page = None if core.done else _Page(core.round, core.started_at, witnessed)
            self._page = page
        if page is not None:
            page.look(core, now)
