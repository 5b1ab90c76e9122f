"""Who may be sent blobs now: a bounded number of bytes at once, and turns when they run out."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.limits import (
    MAX_TRANSFERS_PER_PEER,
    UPLOAD_PATIENCE,
    UPLOAD_TURN,
    UPLOAD_WINDOW_BYTES,
)


@dataclass(frozen=True, eq=False)
class Upload:
    """Bytes on their way to a member since ``began``."""

    peer: str
    size: int
    began: float


class Uploads:
    """Counts what is being sent; times are seconds of one monotonic clock.

    ``window`` bounds the bytes under way to all members together, beyond the first upload. One
    that takes longer than ``UPLOAD_PATIENCE`` no longer counts: whoever does not read what it
    asked for cannot keep the line from others.
    """

    def __init__(
        self, window: int = UPLOAD_WINDOW_BYTES, per_peer: int = MAX_TRANSFERS_PER_PEER
    ) -> None:
        self._window = window
        self._per_peer = per_peer
        self._under_way: set[Upload] = set()
        self._sent_away: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, peer: str, size: int, now: float) -> Upload | None:
        """Admits an upload, or sends ``peer`` away: the line is full, or it is another's turn."""
        self._sent_away = {p: t for p, t in self._sent_away.items() if now - t < UPLOAD_TURN}
        mine = sum(upload.peer == peer for upload in self._under_way)
        busy = sum(u.size for u in self._under_way if now - u.began < UPLOAD_PATIENCE)
        if busy and busy + size > self._window:
            if not mine:
                self._sent_away[peer] = now
            return None
        others_wait = any(other != peer for other in self._sent_away)
        if mine >= self._per_peer or (mine and others_wait):
            return None
        self._sent_away.pop(peer, None)
        upload = Upload(peer, size, now)
        self._under_way.add(upload)
        return upload

    def end(self, upload: Upload) -> None:
        self._under_way.discard(upload)
