"""From the events of all nodes to the steps of the room. No I/O: events in, sentences out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedtui.events import sentence


@dataclass
class RoomProgress:
    """``names`` maps peer ids to names. Times are seconds since the demo began."""

    names: Mapping[str, str]
    rounds: int
    first_preview_s: float | None = None
    after_last_contribution: list[float] = field(default_factory=list)
    previews: dict[tuple[int, str, int], str] = field(default_factory=dict)
    values: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """Committed values by node and round."""
    adapters: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """SHA-256 of applied adapters by node and round."""
    _steps: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    _found: set[tuple[str, str]] = field(default_factory=set)
    _contributed: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _announced: set[tuple[object, ...]] = field(default_factory=set)
    _began: dict[int, float] = field(default_factory=dict)

    def take(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        """Takes an event of the node with this peer id; yields what is new for the room."""
        handler = getattr(self, f"_on_{event['type'].replace('.', '_')}", None)
        if handler is not None:
            yield from handler(node, event, now)

    def committed(self, node: str) -> int:
        """The newest round a node has committed."""
        return max(self.values[node], default=0)

    def meanwhile(self) -> str:
        """How far the round that is being trained has come."""
        if not self._steps:
            return ""
        current = max(number for number, _, _ in self._steps.values())
        of_round = [(s, t) for number, s, t in self._steps.values() if number == current]
        done, total = sum(s for s, _ in of_round), sum(t for _, t in of_round)
        missing = len(self.names) - len(of_round)
        total += missing * (of_round[0][1] if of_round else 0)
        sent = len(self._contributed[current])
        share = 100 * done // max(total, 1)
        return f"round {current}: {share} % trained, {sent} of {len(self.names)} contributed"

    @property
    def strangers(self) -> bool:
        """Whether no node has found any other yet."""
        return len(self.names) > 1 and not self._found

    def _once(self, *what: object) -> bool:
        if what in self._announced:
            return False
        self._announced.add(what)
        return True

    def _on_peer_found(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        self._found.add((node, event["peer"]))
        count = len(self.names)
        if len(self._found) == count * (count - 1) and self._once("found"):
            yield f"all {count} nodes found each other after {now:.0f} s"

    def _on_round_started(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        if self._once("round", event["round"]):
            self._began[event["round"]] = now
            yield f"round {event['round']} of {self.rounds} started"

    def _on_train_progress(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        self._steps[node] = (event["round"], event["step"], event["steps"])
        return iter(())

    def _on_contribution_sent(
        self, node: str, event: Mapping[str, Any], now: float
    ) -> Iterator[str]:
        self._contributed[event["round"]].add(node)
        return iter(())

    def _on_aggregator_elected(
        self, node: str, event: Mapping[str, Any], now: float
    ) -> Iterator[str]:
        number, attempt = event["round"], event["attempt"]
        if attempt and self._once("elected", number, attempt):
            who = self.names.get(event["peer"], "another node")
            yield f"round {number}: {who} takes over as aggregator (attempt {attempt + 1})"

    def _on_round_committed(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        number = event["round"]
        self.values[node][number] = event["value"]
        if not self._once("committed", number):
            return
        after = event.get("seconds_after_last_contribution")
        if after is not None:
            self.after_last_contribution.append(after)
        took = now - self._began.get(number, now)
        text = f"round {number} committed after {took:.0f} s"
        if after is not None:
            text += f", {after:.1f} s after the last contribution"
        text += f": {len(event['inputs'])} contributions"
        if event.get("excluded"):
            text += f", {len(event['excluded'])} left out"
        yield text

    def _on_round_statistics(
        self, node: str, event: Mapping[str, Any], now: float
    ) -> Iterator[str]:
        if self._once("statistics", event["round"]):
            text, _ = sentence(dict(event), lambda peer: self.names.get(peer, peer[:8]))
            yield text

    def _on_adapter_applied(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        self.adapters[node][event["round"]] = event["sha256"]
        return iter(())

    def _on_preview_ready(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        self.previews[event["round"], event["prompt"], event["seed"]] = event["path"]
        if self.first_preview_s is None:
            self.first_preview_s = now
            yield f"first picture after {now:.0f} s"

    def _on_notice(self, node: str, event: Mapping[str, Any], now: float) -> Iterator[str]:
        if event.get("level") in ("warning", "error"):
            yield f"{self.names.get(node, node[:8])}: {event['text']}"
