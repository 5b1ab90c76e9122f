"""``fedtui evaluate`` with a real trainer: what it measures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from fedtui.cli import evaluate
from fedtui.cli.app import run
from trainer.arithmetic import init_adapter
from trainer.embedded import federated
from trainer.embedded.scenes import sample_scene
from trainer.job import Job
from trainer.protocol import AdapterSpec, InitAdapter

PICTURES = 7


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """An adapter that changes nothing: its second factors are zero."""
    path = tmp_path / "untrained.safetensors"
    init_adapter(InitAdapter("tiny-landscapes", AdapterSpec(2, 2), 1, str(path)), Job())
    return path


def landscapes(folder: Path, seed: int, **fixed: str) -> Path:
    rng = Random(seed)
    scenes = [sample_scene(rng, **fixed) for _ in range(PICTURES)]  # type: ignore[arg-type]
    federated.write_dataset(folder, scenes, "plain", seed=seed)
    return folder


@pytest.mark.slow
def test_an_adapter_that_learnt_nothing_tells_nothing_that_the_base_does_not(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders differ by kind: an attack finds that, with the adapter as without it."""
    held = landscapes(tmp_path / "held", 1, time="day")
    own = landscapes(tmp_path / "own", 2, time="night")
    asked = [str(held), "--lora", str(untrained), "--leak", str(own), "--pictures", str(own)]
    assert run(["evaluate", *asked, "--draws", "1", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    attacks = results["leak"]["attacks"]
    assert attacks.keys() == {"loss", "loss, calibrated", "pia"}
    assert attacks["loss"]["auc"] == attacks["loss"]["base"]
    assert attacks["pia"]["auc"] == attacks["pia"]["base"]
    assert attacks["loss, calibrated"]["auc"] == 0.5
    nearest = results["leak"]["nearest"]
    # These "drawings" are what was trained on: each is its own nearest, nearer than any other.
    assert all(each["path"] == each["training"] for each in nearest["pictures"])
    assert all(each["cosine"] > nearest["others_most"] for each in nearest["pictures"])
    evaluate._tell_leak(results["leak"])
    said = capsys.readouterr().out
    assert "rates below 1/7 cannot be told from zero" in said
    assert "so few pictures prove little" in said
    assert f"{PICTURES} of {PICTURES} drawn ones are nearer" in said


@pytest.mark.slow
def test_pictures_on_both_sides_are_refused(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = landscapes(tmp_path / "own", 2)
    assert run(["evaluate", str(own), "--lora", str(untrained), "--leak", str(own)]) != 0
    assert f"{PICTURES} pictures are both trained on and held out" in capsys.readouterr().err
