"""How long the rest takes, from what the parts before took."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtui.experiment.forecast import Forecast, in_words
from fedtui.experiment.lab import Lab
from trainer.protocol import SampleData


def test_the_rest_costs_what_the_parts_before_cost() -> None:
    forecast = Forecast()
    forecast.expect(100)
    assert str(forecast) == ""
    forecast.finished(10, 30.0)
    assert forecast.remaining_s == 270.0
    forecast.finished(30, 10.0)
    assert forecast.remaining_s == 60.0
    assert str(forecast) == ", 40 % done, about 1 min left"
    forecast.finished(60, 1.0)
    assert forecast.remaining_s is None


def test_results_that_were_there_already_say_nothing_of_the_pace() -> None:
    forecast = Forecast()
    forecast.expect(100)
    forecast.finished(80, None)
    assert forecast.remaining_s is None
    forecast.finished(10, 50.0)
    assert forecast.remaining_s == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "under a minute"),
        (89, "about 1 min"),
        (3580, "about 1 h"),
        (7500, "about 2 h 5 min"),
        (90_000, "about 25 h"),
    ],
)
def test_no_more_precise_than_a_guess(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


async def test_a_laboratory_tells_how_long_the_rest_takes(tmp_path: Path) -> None:
    said: list[str] = []
    async with Lab(tmp_path / "lab", say=said.append) as lab:
        lab.forecast.expect(3)
        for seed in range(3):
            with lab.part(1):
                await lab.make("drawing", SampleData("", 1, seed=seed), suffix="")
        assert lab.forecast.share == 1.0
    assert "left" not in said[0]
    assert any(text.startswith("drawing, 67 % done") for text in said)
    again: list[str] = []
    async with Lab(tmp_path / "lab", say=again.append) as lab:
        lab.forecast.expect(2)
        with lab.part(1):
            await lab.make("drawing", SampleData("", 1, seed=0), suffix="")
        assert lab.forecast.remaining_s is None
