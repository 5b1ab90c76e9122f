"""Processes that do nothing but compute."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIKE_A_TRAINER = """
from trainer.__main__ import yield_to_others
yield_to_others()
while True: pass
"""
AT_EQUAL_PRIORITY = "while True: pass"


@contextmanager
def busy(processes: int, how: str = LIKE_A_TRAINER) -> Iterator[None]:
    """So many of them, by default lowered as a trainer lowers itself."""
    burning = [
        subprocess.Popen([sys.executable, "-c", how], start_new_session=True)
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()
