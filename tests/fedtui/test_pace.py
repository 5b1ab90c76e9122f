"""Estimates: measured, or none."""

from __future__ import annotations

from fedtui.pace import Pace


def test_a_pace_is_measured_from_the_first_step_on() -> None:
    now = 100.0
    pace = Pace(lambda: now)
    pace.told(0)
    now = 160.0  # a model was loaded
    pace.told(1)
    assert pace.seconds is None
    now = 170.0
    pace.told(6)
    assert pace.seconds == 2.0
    pace.told(6)
    assert pace.seconds == 2.0


def test_other_work_has_another_pace() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    for step in (5, 10):
        pace.told(step)
        now += 10.0
    assert pace.seconds == 2.0
    pace.told(1)
    assert pace.seconds is None
    now += 3.0
    pace.told(2)
    assert pace.seconds == 3.0
