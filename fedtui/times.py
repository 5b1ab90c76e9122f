"""Who did what when in a round, as this node saw it: from the peer to the screen, kept on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtui.control.operations import Operations
from fedtui.limits import TIMES_KEPT
from fedtui.view import LaneView, TimesView, from_json, to_json
from p2p.chronicle import MemberTimes, RoundTimes
from p2p.durable import publish
from p2p.status import PeerSnapshot

log = logging.getLogger("fedtui.times")

NOBODY = MemberTimes("")


@dataclass(frozen=True)
class RoundAsked:
    """``round``: its number."""

    round: int


@dataclass
class Training:
    """Whom this node heard training in the open round: first and last, in seconds."""

    round: int = 0
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def hear(self, at: float, training: Iterable[str]) -> None:
        """Takes in who trains now."""
        now = frozenset(training)
        for peer in now:
            self.first.setdefault(peer, at)
            self.last[peer] = at
        self.ended = self.first.keys() - now


class RoundTimesBook:
    """The rounds of one room. What members say of their work is sampled at each :meth:`watch`;
    everything else the peer has noted when it happened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._training = Training()
        self._closed: dict[int, TimesView] = {}
        self._open: TimesView | None = None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._closed = {int(each["round"]): from_json(TimesView, each) for each in kept}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read: %s", path, error)

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("round_times", RoundAsked, self._tell)

    def watch(self, snapshot: PeerSnapshot, own: Mapping[str, object]) -> tuple[TimesView, ...]:
        """Takes in where the room stands; ``own`` is what this node says of its work.

        Returns the round before, if it is known, and the open one.
        """
        fresh = [each for each in snapshot.times if each.seconds is not None]
        fresh = [each for each in fresh if each.round not in self._closed]
        for each in fresh:
            self._closed[each.round] = self._view(each)
        if fresh:
            self._save()
        now = next((each for each in snapshot.times if each.seconds is None), None)
        if now is None:
            newest = max(self._closed, default=0)
            return (self._closed[newest],) if newest else ()
        if now.round != self._training.round:
            self._training = Training(now.round)
        self._training.hear(round(snapshot.elapsed_s, 1), training(snapshot, own))
        before = self._closed.get(now.round - 1)
        return (*((before,) if before else ()), self._view(now))

    def _view(self, told: RoundTimes) -> TimesView:
        heard = self._training if self._training.round == told.round else Training()
        members = {each.peer: each for each in told.members}
        open_ = told.seconds is None
        lanes = []
        for peer in sorted(members.keys() | heard.first.keys()):
            part = members.get(peer, NOBODY)
            done = not open_ or peer in heard.ended or part.contributed is not None
            lanes.append(
                LaneView(
                    peer,
                    heard.first.get(peer),
                    heard.last.get(peer) if done else None,
                    part.contributed,
                    part.checked,
                    part.refused,
                    part.prepared,
                    part.committed,
                    part.loss,
                )
            )
        return TimesView(told.round, told.seconds, told.whole, told.attempts, tuple(lanes))

    async def _tell(self, wanted: RoundAsked) -> dict[str, Any]:
        """A closed round; ``times`` is null where this node was not there, or has forgotten."""
        found = self._closed.get(wanted.round)
        return {"round": wanted.round, "times": to_json(found) if found else None}

    def _save(self) -> None:
        while len(self._closed) > TIMES_KEPT:
            del self._closed[min(self._closed)]
        try:
            publish(self._path, json.dumps([to_json(v) for v in self._closed.values()]).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def training(snapshot: PeerSnapshot, own: Mapping[str, object]) -> frozenset[str]:
    """Who says that it trains for the round that is open here, and has not handed in."""
    return frozenset(
        peer.id
        for peer in snapshot.peers
        if not peer.contributed
        and (own if peer.me else peer.status).get("state") == "TRAIN"
        and (peer.me or (peer.state == "alive" and peer.round == snapshot.round))
    )
