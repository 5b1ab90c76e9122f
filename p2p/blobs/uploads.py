"""Who may be sent blobs now: a bounded number of bytes at once, no more streams than the line
feeds, and turns when they run out."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.limits import (
    FED_RATE,
    MAX_TRANSFERS_PER_PEER,
    MIN_TRANSFER_RATE,
    UPLOAD_PATIENCE,
    UPLOAD_PROBE,
    UPLOAD_TURN,
    UPLOAD_WINDOW_BYTES,
)
from p2p.pacing import fed_by


@dataclass(eq=False)
class Upload:
    """Bytes on their way to a member since ``began``; some of them moved at ``moved_at``."""

    peer: str
    size: int
    began: float
    moved_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.moved_at = self.began


class Uploads:
    """Counts what is being sent; times are seconds of one monotonic clock.

    ``window`` bounds the bytes under way to all members together, beyond the first upload. One
    that takes longer than ``UPLOAD_PATIENCE`` no longer counts there: whoever does not read what
    it asked for cannot keep the line from others.

    On a slow line that alone would let in more and more streams, until none gets enough to be
    worth waiting for and all of them break off. So there is a number of moving streams besides,
    which follows from ``rate`` (bytes per second, 0 is unknown) and from what :meth:`moved` hears:
    it falls when streams get less than ``MIN_TRANSFER_RATE`` on average, and rises with what the
    line carries. The streams of readers that are slow themselves look the same, so once in
    ``UPLOAD_PROBE`` somebody is let in all the same.
    """

    def __init__(
        self,
        window: int = UPLOAD_WINDOW_BYTES,
        per_peer: int = MAX_TRANSFERS_PER_PEER,
        *,
        rate: int = 0,
    ) -> None:
        self._window = window
        self._per_peer = per_peer
        self._under_way: set[Upload] = set()
        self._sent_away: dict[str, float] = {}
        self._most = fed_by(rate) if rate else None
        self._let_in = 0.0
        self._looked = 0.0
        self._moved = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, peer: str, size: int, now: float) -> Upload | None:
        """Admits an upload, or sends ``peer`` away: the line is full, or it is another's turn."""
        self._sent_away = {p: t for p, t in self._sent_away.items() if now - t < UPLOAD_TURN}
        mine = sum(upload.peer == peer for upload in self._under_way)
        if self._is_full(size, now):
            if not mine:
                self._sent_away[peer] = now
            return None
        others_wait = any(other != peer for other in self._sent_away)
        if mine >= self._per_peer or (mine and others_wait):
            return None
        self._sent_away.pop(peer, None)
        if not self._under_way:
            self._looked, self._moved = now, 0
        upload = Upload(peer, size, now)
        self._under_way.add(upload)
        self._let_in = now
        return upload

    def moved(self, upload: Upload, size: int, now: float) -> None:
        """Hears that ``size`` more bytes of an upload have gone."""
        upload.moved_at = now
        self._moved += size
        if now - self._looked >= UPLOAD_PATIENCE:
            self._measure(now)

    def end(self, upload: Upload) -> None:
        self._under_way.discard(upload)

    def _is_full(self, size: int, now: float) -> bool:
        busy = sum(u.size for u in self._under_way if now - u.began < UPLOAD_PATIENCE)
        if busy and busy + size > self._window:
            return True
        crowded = self._most is not None and self._moving(now) >= self._most
        return crowded and now - self._let_in < UPLOAD_PROBE

    def _moving(self, now: float) -> int:
        return sum(self._moves(upload, now) for upload in self._under_way)

    @staticmethod
    def _moves(upload: Upload, now: float) -> bool:
        return now - upload.moved_at < UPLOAD_PATIENCE

    def _measure(self, now: float) -> None:
        """Compares what the line carried since the last look with what its streams need."""
        rate = self._moved / (now - self._looked)
        lasting = [u for u in self._under_way if u.began <= self._looked and self._moves(u, now)]
        if rate < len(lasting) * MIN_TRANSFER_RATE:
            self._most = fed_by(rate)
        elif self._most is not None and rate >= self._moving(now) * FED_RATE:
            self._most = max(self._most, fed_by(rate))
        self._looked, self._moved = now, 0
