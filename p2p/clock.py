"""The clock that durations are measured with."""

from __future__ import annotations

import time
from typing import Final

# CLOCK_BOOTTIME (Linux) and CLOCK_MONOTONIC (macOS) go on while the machine sleeps, which
# time.monotonic() does not on either: after a night's sleep it would see no gap at all.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)


def now() -> float:
    """Seconds that never go back and count time asleep, where the system can tell."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
