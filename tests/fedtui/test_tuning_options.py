"""The options of ``fedtui train`` reach the trainer as they were meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fedtui.cli import app as command
from fedtui.cli import trainer
from fedtui.cli.tuning_options import WHOLE_EMA
from trainer.protocol import TEXT_ATTENTION, Train, Tuning

RESULT = {
    "path": "x", "steps": 1, "batch": 1, "samples": 1, "seconds": 1.0, "loss": 1.0,
    "learning_rate": 1e-3, "precision": "float32", "held_out": [[1, 0.5]],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Train]:
    """Requests instead of their execution."""
    requests: list[Train] = []

    def ask(request: Train, **_: Any) -> dict[str, Any]:
        requests.append(request)
        return RESULT

    monkeypatch.setattr(trainer, "ask", ask)
    return requests


def train(tmp_path: Path, *options: str) -> int:
    out = str(tmp_path / "out")
    return CliRunner().invoke(command.app, ["train", str(tmp_path), "-o", out, *options]).exit_code


def test_without_options_it_is_what_a_room_trains(asked: list[Train], tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    assert (asked[0].tuning, asked[0].mode, asked[0].export) == (Tuning(), "fedex", "kohya")
    assert asked[0].spec.alpha == asked[0].spec.rank == 8
    assert asked[0].learning_rate == 0.0, "what suits the model"


def test_a_whole_model_is_averaged_and_written_as_a_folder(
    asked: list[Train], tmp_path: Path
) -> None:
    assert train(tmp_path, "--method", "full") == 0
    assert (asked[0].mode, asked[0].export, asked[0].tuning.ema) == (
        "dense",
        "diffusers",
        WHOLE_EMA,
    )
    assert train(tmp_path, "--method", "full", "--ema", "0") == 0
    assert asked[1].tuning.ema == 0.0


def test_every_option_arrives(asked: list[Train], tmp_path: Path) -> None:
    options = (
        "--optimizer prodigy --schedule cosine --warmup 5 --accumulate 2 --weight-decay 0 "
        "--clip 0.5 --min-snr 5 --noise-offset 0.05 --dropout 0.1 --rslora --prior-weight 0.5 "
        "--validate-every 10 --checkpointing on --compile --alpha 4 --convolutions --batch 0 "
        "--text-encoder --dora"
    )
    assert train(tmp_path, *options.split(), "--prior", ".", "--held-out", ".") == 0
    request, here = asked[0], str(Path.cwd())
    assert request.tuning == Tuning(
        "prodigy",
        "cosine",
        5,
        2,
        0.0,
        0.5,
        0.05,
        True,
        0.0,
        here,
        0.5,
        here,
        10,
        "on",
        True,
    )
    assert (request.min_snr, request.spec.alpha, request.batch) == (5.0, 4, 0)
    assert (request.spec.dropout, request.spec.rank_stabilised) == (0.1, True)
    assert "conv1" in request.spec.targets
    assert request.spec.text_targets == TEXT_ATTENTION


@pytest.mark.parametrize(
    "option", ["--method=half", "--optimizer=sgd", "--schedule=up", "--checkpointing=never"]
)
def test_a_misspelt_word_is_refused(asked: list[Train], tmp_path: Path, option: str) -> None:
    assert train(tmp_path, option) != 0
    assert asked == []


def test_who_stops_a_training_is_told_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where there is something to go on from."""

    def stopped(request: Train, **_: Any) -> dict[str, Any]:
        if request.steps > 1:
            Path(request.checkpoint).write_bytes(b"")
        raise typer.Exit(130)

    monkeypatch.setattr(trainer, "ask", stopped)
    asked = ["train", str(tmp_path), "-o", str(tmp_path / "out"), "--steps"]
    early = CliRunner().invoke(command.app, [*asked, "1"])
    assert (early.exit_code, "--resume" in early.stderr) == (130, False)
    late = CliRunner().invoke(command.app, [*asked, "5"])
    assert late.exit_code == 130
    assert "the same command with --resume goes on from here" in late.stderr


def test_going_on_from_nothing_is_told(asked: list[Train], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command_ = ["train", str(tmp_path), "-o", str(out), "--resume"]
    assert "begins anew" in CliRunner().invoke(command.app, command_).stderr
    out.with_name(".out.checkpoint").write_bytes(b"")
    assert "begins anew" not in CliRunner().invoke(command.app, command_).stderr
    assert [request.resume for request in asked] == [True, True]


def test_beginning_anew_keeps_what_an_earlier_training_left(
    asked: list[Train], tmp_path: Path
) -> None:
    out, checkpoint = tmp_path / "out", tmp_path / ".out.checkpoint"
    command_ = ["train", str(tmp_path), "-o", str(out)]
    for number in (1, 2):
        checkpoint.write_bytes(b"hours of work %d" % number)
        os.utime(checkpoint, (1_763_600_000, 1_763_600_000))
        told = CliRunner().invoke(command.app, command_).stderr
        assert "begins anew" in told
        assert f"move it back to {checkpoint} and say --resume" in " ".join(told.split())
        assert not checkpoint.exists()
        kept = sorted(tmp_path.glob("out.checkpoint-20*"))
        assert len(kept) == number
        assert str(kept[-1]) in told
        assert kept[-1].read_bytes() == b"hours of work %d" % number
    assert "checkpoint" not in CliRunner().invoke(command.app, command_).stderr
    kept[-1].rename(checkpoint)
    assert CliRunner().invoke(command.app, [*command_, "--resume"]).exit_code == 0
    assert [request.resume for request in asked] == [False, False, False, True]
    assert not checkpoint.exists(), "its own checkpoint goes when a training is done"
    assert len(list(tmp_path.glob("out.checkpoint-*"))) == 1


def test_a_checkpoint_that_cannot_be_kept_is_not_lost(
    asked: list[Train], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / ".out.checkpoint"
    checkpoint.write_bytes(b"hours of work")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    assert train(tmp_path) != 0
    assert asked == []
    assert checkpoint.read_bytes() == b"hours of work"
