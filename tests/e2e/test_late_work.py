"""A laptop that is closed while it trains: its work counts half in the next round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from joining_rig import Home

STEPS = 20
"""So many that a training lasts longer than it takes to close a lid on it."""
PICTURES = 6


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Home]]:
    homes = [Home(tmp_path / name) for name in ("ada", "grace", "alan")]
    yield homes
    for home in homes:
        home.thaw()
        home.terminate()
    for home in homes:
        home.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_closed_laptop_was_training_counts_in_the_next_round(
    homes: list[Home], tmp_path: Path
) -> None:
    ada, _, alan = homes
    made = ada.json(
        "room", "create", "Attic", "--as", "Ada", "--rounds", "2", "--steps", str(STEPS),
        "--algorithm", "fedavg", "--late", "carry", "--start-on-request", "--uses", "2",
        "--auto-approve",
    )  # fmt: skip
    for seed, home in enumerate(homes):
        pictures = str(tmp_path / f"pictures-{seed}")
        home.run("data", "sample", pictures, "--count", str(PICTURES), "--seed", str(seed))
        if home is not ada:
            home.json("room", "join", made["invite"]["text"], "--as", home.root.name)
        home.serve("--data", pictures)
    ada.eventually(lambda: {p["state"] for p in ada.view()["peers"]} <= {"LOADING", "READY"})
    assert len(ada.view()["peers"]) == len(homes)
    closed = alan.view()["id"]

    ada.run("room", "start")
    alan.eventually(lambda: alan.has("train.progress", round=1))
    alan.freeze()
    ada.eventually(lambda: ada.has("round.committed", round=1))
    alan.thaw()
    alan.eventually(lambda: alan.has("contribution.sent", round=2))
    trained = [event["round"] for event in alan.events("train.finished")]
    assert trained == [1], "what it had begun, to the end, and nothing again"

    ada.run("room", "start")
    ada.eventually(lambda: ada.has("round.committed", round=2))
    first, second = (
        {each["peer"]: each["samples"] for each in event["inputs"]}
        for event in ada.events("round.committed")
    )
    assert closed not in first
    assert set(second) == {*first, closed}
    assert second[closed] * 2 == first[ada.view()["id"]] == second[ada.view()["id"]]
