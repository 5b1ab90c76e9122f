"""``fedtui evaluate`` with a real trainer: what it measures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from clip_rig import write_clip

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
    # Their captions say what is asked for, and the classifier finds it in them.
    assert results["scenes"]["pictures"] == PICTURES
    assert results["scenes"]["large"] > 0.9
    assert results["scenes"]["style"] == 0.0
    evaluate._tell_scenes(results["scenes"])
    said = capsys.readouterr().out
    assert "large attributes" in said
    assert f"{PICTURES} pictures, read by a classifier that is right about 9" in said
    evaluate._tell_scenes(results["scenes"] | {"large": None, "objects": None})
    assert "no picture says what was asked for" in capsys.readouterr().out
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


@pytest.mark.slow
def test_a_clip_scores_the_held_out_pictures_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What real pictures get under the same CLIP is what those of drawn ones mean anything by."""
    held = landscapes(tmp_path / "held", 1)
    drawn = landscapes(tmp_path / "drawn", 2)
    clip = write_clip(tmp_path / "clip")
    asked = [str(held), "--pictures", str(drawn), "--clip", str(clip), "--draws", "1", "--json"]
    assert run(["evaluate", *asked]) == 0
    scores = json.loads(capsys.readouterr().out)["clip"]
    assert scores.keys() == {"held_out", "drawn"}
    assert scores["held_out"]["pictures"] == scores["drawn"]["pictures"] == PICTURES
    assert scores["held_out"]["by_picture"] != scores["drawn"]["by_picture"]
    evaluate._tell_clip(scores)
    said = capsys.readouterr().out
    assert f"clip ({scores['drawn']['clip']['sha256'][:12]}…)" in said
    assert "of a picture ±" in said


def test_a_clip_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = landscapes(tmp_path / "held", 1)
    assert run(["evaluate", str(held), "--clip", str(tmp_path / "none")]) == 5
    assert "The CLIP cannot be used" in capsys.readouterr().err
