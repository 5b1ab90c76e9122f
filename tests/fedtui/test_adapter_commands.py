"""``fedtui adapter``: what a file is, and the same adapter in another dialect."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fedtui.cli.app import run
from trainer.tensor_file import read_all, write

NAME = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
A = np.ones((2, 320), np.float32)
B = np.ones((320, 2), np.float32)


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as diffusers wrote it in 2023, for Stable Diffusion 1.5."""
    keys = f"{NAME}.processor.to_q_lora"
    return write(
        tmp_path / "old.safetensors", {f"{keys}.down.weight": A, f"{keys}.up.weight": B}
    ).path


def test_inspect_tells_the_dialect_and_the_base(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapter", "inspect", str(old), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dialect"] == "attn-procs"
    assert (report["modules"], report["matching"]) == (1, 1)
    assert report["model"] == "Stable Diffusion 1.5"
    assert report["alphas"] == {"none": 1}
    assert report["sha256"] == hashlib.sha256(old.read_bytes()).hexdigest()
    assert run(["adapter", "inspect", str(old)]) == 0
    assert "1 of 1 modules are in Stable Diffusion 1.5" in capsys.readouterr().out


def test_a_file_that_fits_nothing_of_a_model_fails(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(old.with_name("x"), {"unet.a.lora_A.weight": A, "unet.a.lora_B.weight": B}).path
    assert run(["adapter", "inspect", str(other), "--model", "tiny-landscapes"]) == 1
    assert "0 of 1 modules" in capsys.readouterr().out


def test_convert_writes_what_others_read(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = old.with_name("new.safetensors")
    assert run(["adapter", "convert", str(old), str(out)]) == 0
    arrays, _ = read_all(out)
    flat = f"lora_unet_{NAME.replace('.', '_')}_to_q"
    assert (arrays[f"{flat}.lora_up.weight"] == B).all()
    assert float(arrays[f"{flat}.alpha"]) == 2.0
    assert run(["adapter", "convert", str(out), str(old), "--format", "diffusers"]) == 0
    assert set(read_all(old)[0]) == {f"unet.{NAME}.to_q.lora_{part}.weight" for part in "AB"}
    capsys.readouterr()


def test_what_is_no_adapter_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"PK\x03\x04 a checkpoint")
    assert run(["adapter", "convert", str(path), str(tmp_path / "y")]) == 1
    assert "zip archive" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()


def test_the_models_on_this_machine_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDTUI_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "hub" / "owner--name").mkdir(parents=True)
    assert run(["model", "list"]) == 0
    seen = capsys.readouterr()
    assert "tiny-landscapes" in seen.out
    assert "stable-diffusion-1" in seen.out
    assert "owner/name" in seen.out
    assert "unfinished" in seen.out
    assert "fedtui model import" in seen.err
