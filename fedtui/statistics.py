"""How rounds came about, from the workload's word to the screen, kept across restarts."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fedtui.limits import STATISTICS_KEPT
from fedtui.view import ShareView, StatisticsView, from_json, to_json
from p2p.durable import publish

log = logging.getLogger("fedtui.statistics")


class RoundStatistics:
    """Statistics of results by their SHA-256, and of committed rounds by number, in one file.

    A voter may compute several results for one round; which of them counted is known when the
    round is committed.
    """

    def __init__(self, path: Path, mode: str, rule: str) -> None:
        self._path = path
        self._mode = mode
        self._rule = rule
        self._computed: dict[str, StatisticsView] = {}
        self._rounds: dict[int, StatisticsView] = {}
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._rounds = {int(n): from_json(StatisticsView, data) for n, data in kept.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read: %s", path, error)

    def computed(self, sha256: str, told: dict[str, Any], size: int) -> None:
        """A result of ``size`` bytes was computed here; ``told`` is what the trainer said of it."""
        shares = tuple(
            from_json(ShareView, {**share, "peer": share["id"]}) for share in told["participants"]
        )
        self._computed[sha256] = from_json(
            StatisticsView,
            {
                **told,
                "mode": self._mode,
                "rule": self._rule,
                "bytes_in": sum(share.bytes for share in shares),
                "bytes_out": size,
                "shares": [to_json(share) for share in shares],
            },
        )
        while len(self._computed) > STATISTICS_KEPT:
            del self._computed[next(iter(self._computed))]

    def committed(self, round_number: int, sha256: str) -> StatisticsView | None:
        """The round ended in this result. Returns its statistics, once, if they are known."""
        found = self._computed.get(sha256)
        if found is None or round_number in self._rounds:
            return None
        self._rounds[round_number] = found
        while len(self._rounds) > STATISTICS_KEPT:
            del self._rounds[min(self._rounds)]
        self._save()
        return found

    def of(self, round_number: int) -> StatisticsView | None:
        return self._rounds.get(round_number)

    def _save(self) -> None:
        data = {str(number): to_json(view) for number, view in self._rounds.items()}
        try:
            publish(self._path, json.dumps(data).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
