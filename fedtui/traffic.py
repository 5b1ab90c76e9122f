"""How much a node sent and received in the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fedtui.limits import TRAFFIC_STEP_S, TRAFFIC_STEPS
from fedtui.view import TrafficView
from p2p.status import PeerStatus


class Traffic:
    """Turns totals that only grow into amounts for each stretch of time."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._last = (0, 0)
        self._received: deque[int] = deque(maxlen=TRAFFIC_STEPS)
        self._sent: deque[int] = deque(maxlen=TRAFFIC_STEPS)

    @property
    def view(self) -> TrafficView:
        """What there is to show; nothing before the first :meth:`watch`."""
        return TrafficView(TRAFFIC_STEP_S, tuple(self._received), tuple(self._sent))

    def watch(self, peers: Iterable[PeerStatus], now: float) -> None:
        """Takes in the totals at ``now``, in monotonic seconds."""
        told = [(peer.received, peer.sent) for peer in peers]
        total = sum(received for received, _ in told), sum(sent for _, sent in told)
        step = int(now / TRAFFIC_STEP_S)
        passed = 1 if self._step is None else min(TRAFFIC_STEPS, step - self._step)
        for amounts, before, after in zip(
            (self._received, self._sent), self._last, total, strict=True
        ):
            amounts.extend([0] * passed)
            # Less than before where a member was removed: nothing has come back from it.
            amounts[-1] += max(0, after - before)
        self._step, self._last = step, total
