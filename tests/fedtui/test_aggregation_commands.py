"""``fedtui combine``, ``export``, ``verify`` and the choices of ``demo``, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from committed_room import committed_room

from fedtui import rooms
from fedtui.paths import Profile
from fedtui.rooms import Room
from fedtui.training import TrainerProcess
from trainer.protocol import CONVOLUTIONS, TEXT_ATTENTION, DataOptions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Room]:
    """A demo's directory whose first node has a room of two committed rounds."""
    folder = tmp_path_factory.mktemp("commands") / "demo"

    async def make() -> Room:
        arithmetic = TrainerProcess("arithmetic")
        try:
            _, room = await committed_room(folder, arithmetic)
            return room
        finally:
            await arithmetic.stop()

    return folder, asyncio.run(make())


def fedtui(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDTUI_")}
    return subprocess.run(
        [sys.executable, "-m", "fedtui", *arguments],
        env={**kept, "FEDTUI_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_export_and_verify_and_what_happens_after_one_byte(
    made: tuple[Path, Room], tmp_path: Path
) -> None:
    folder, room = made
    home, out = folder / "node-1", tmp_path / "room.safetensors"
    assert fedtui(home, "verify").stdout.count("equal byte for byte") == 2
    told = json.loads(fedtui(home, "verify", "--round", "2", "--json").stdout)
    assert [(each["round"], each["outcome"]) for each in told] == [(2, "equal")]
    exported = fedtui(home, "export", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "room.fedtui.json").is_file()
    elsewhere = tmp_path / "nobody"
    assert "exactly" in fedtui(elsewhere, "verify", str(out)).stdout

    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    refused = fedtui(elsewhere, "verify", str(out))
    assert refused.returncode == 4
    assert "not those that were exported" in refused.stderr
    blob = next((room.paths.root / "blobs").glob("??/*"))
    changed = bytearray(blob.read_bytes())
    changed[-1] ^= 1
    blob.write_bytes(changed)
    assert fedtui(home, "verify").returncode == 4
    changed[-1] ^= 1
    blob.write_bytes(changed)
    assert fedtui(home, "verify").returncode == 0
    assert fedtui(home, "verify", "--round", "9").returncode == 2
    assert fedtui(elsewhere, "verify").returncode == 2


def test_a_cut_export_prints_what_is_lost(made: tuple[Path, Room], tmp_path: Path) -> None:
    out = tmp_path / "cut.safetensors"
    exported = fedtui(made[0] / "node-1", "export", "--rank", "2", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    assert "% of the adapter is lost" in exported.stdout
    assert "cut to rank 2 with error 0." in fedtui(tmp_path, "verify", str(out)).stdout


def test_combine_prints_norms_cosines_and_the_residual(
    made: tuple[Path, Room], tmp_path: Path
) -> None:
    _, room = made
    one, two = (str(room.paths.adapter(number)) for number in (1, 2))
    out = tmp_path / "out.safetensors"
    done = fedtui(tmp_path, "combine", f"{one}:20", f"{two}:40", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    for word in ("cosine", "0.333", "0.667", "averaging A and B alone would lose", "modules"):
        assert word in done.stdout
    as_json = fedtui(tmp_path, "combine", one, two, "--rule", "clip", "--json", "--out", str(out))
    assert len(json.loads(as_json.stdout)["statistics"]["participants"]) == 2
    for wrong in (
        [f"{one}:0", two],
        [f"{one}:{1 << 40}"],
        [one, "--algorithm", "fedsum"],
        [one, "--rule", "loudest"],
        [one, two, "--rule", "multi_krum"],
    ):
        refused = fedtui(tmp_path, "combine", *wrong, "--out", str(out))
        assert refused.returncode == 2, (wrong, refused.stderr)
        assert "why:" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--algorithm", "fedsum"], "fedex, fedavg, stack, ffa, rolora, dense"),
        (["--rule", "loudest"], "n_k, uniform, clip, multi_krum, rfa"),
        (["--nodes", "4", "--rule", "multi_krum"], "it needs 5 to tolerate 1"),
        (["--rule-option", "cup=1"], "did you mean cap"),
    ],
)
def test_unknown_or_impossible_choices_name_the_possible(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    refused = fedtui(tmp_path, "demo", "--headless", "--dir", str(tmp_path / "demo"), *arguments)
    assert refused.returncode == 2
    assert word in refused.stderr


def test_a_room_keeps_what_its_founder_chose(tmp_path: Path) -> None:
    made = fedtui(
        tmp_path, "room", "create", "club", "--algorithm", "ffa", "--rule", "clip",
        "--personal", "conv1", "--proximal", "0.01", "--rule-option", "clip=1.5",
        "--text-encoder", "--convolutions", "--alpha", "16", "--rslora", "--dropout", "0.05",
        "--trigger", "sks", "--caption-dropout", "0.1", "--buckets", "--flip",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    room = rooms.current(Profile(tmp_path))
    assert room.genesis.plan.algorithm == "ffa"
    assert room.task.rule.name == "clip"
    assert room.task.rule.clip_milli == 1500
    assert room.task.adapter.personal == ["conv1"]
    assert room.task.proximal == 0.01
    assert room.task.adapter.text_targets == list(TEXT_ATTENTION)
    assert set(CONVOLUTIONS) <= set(room.task.adapter.targets)
    spec = room.task.adapter.spec
    assert (spec.alpha, spec.rank_stabilised, spec.dropout) == (16, True, 0.05)
    assert room.task.data.options == DataOptions(
        trigger="sks", dropout=0.1, buckets=True, flip=True
    )
    keys = tensor_names(room.paths.initial)
    assert any(key.startswith("text_encoder.text_model.") for key in keys)
    refused = fedtui(tmp_path, "room", "create", "other", "--rule", "multi_krum")
    assert refused.returncode == 2
    assert "it needs 5 to tolerate 1" in refused.stderr
    whole = ("room", "create", "third", "--algorithm", "dense", "--text-encoder")
    refused = fedtui(tmp_path, *whole)
    assert refused.returncode == 2
    assert "has no adapter of a text encoder" in refused.stderr


def tensor_names(path: Path) -> list[str]:
    """The names in a safetensors file."""
    with path.open("rb") as file:
        return list(json.loads(file.read(int.from_bytes(file.read(8), "little"))))
