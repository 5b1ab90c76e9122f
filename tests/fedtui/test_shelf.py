"""What may come onto the shelf, what several adapters make together, and what cannot be deleted."""

from __future__ import annotations

import filecmp
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedtui.control.operations import Operations
from fedtui.errors import FedtuiError, UsageError
from fedtui.library import Library
from fedtui.paths import Profile
from fedtui.shelf import Shelf
from fedtui.training import TrainerProcess
from trainer.tensor_file import read_all, write

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
WIDTH = 128


class Rig:
    """The operations on adapters without a node."""

    def __init__(self, profile: Profile, arithmetic: TrainerProcess) -> None:
        self.paths = profile.room("r")
        self.shelf = profile.shelf
        self.operations = Operations()
        task = SimpleNamespace(model="tiny-landscapes", model_sha256="ab" * 32)
        room: Any = SimpleNamespace(paths=self.paths, task=task)
        for part in (Library, Shelf):
            part(room, arithmetic, profile.shelf).offer(self.operations)

    async def do(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(operation, arguments)

    def left(self) -> list[str]:
        """All that lies on the shelf, hidden files too."""
        return sorted(path.name for path in self.shelf.iterdir()) if self.shelf.is_dir() else []


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    profile = Profile(tmp_path / "profile")
    profile.create()
    arithmetic = TrainerProcess("arithmetic")
    yield Rig(profile, arithmetic)
    await arithmetic.stop()


def lora(path: Path, value: float, rank: int = 2, layer: str = LAYER, width: int = WIDTH) -> Path:
    """A LoRA of peft's dialect whose product is ``rank * value`` everywhere."""
    return write(
        path,
        {
            f"unet.{layer}.lora_A.weight": np.full((rank, width), value, np.float32),
            f"unet.{layer}.lora_B.weight": np.ones((width, rank), np.float32),
        },
    ).path


def product(path: Path) -> Any:
    """The change of the layer's weight."""
    arrays, _ = read_all(path)
    factors = {name.rsplit(".", 2)[-2]: array for name, array in arrays.items()}
    return factors["lora_B"] @ factors["lora_A"]


async def test_a_file_is_copied_onto_the_shelf_once(rig: Rig, tmp_path: Path) -> None:
    source = lora(tmp_path / "night sky!.safetensors", 0.5)
    made = await rig.do("import_adapter", path=f" {source} ")
    assert (made["name"], made["modules"], made["new"]) == ("night sky_", 1, True)
    assert filecmp.cmp(made["path"], source, shallow=False)
    assert not (await rig.do("import_adapter", path=str(source)))["new"]
    lora(source, 0.25)
    assert (await rig.do("import_adapter", path=str(source)))["name"] == "night sky_-2"
    assert rig.left() == ["night sky_-2.safetensors", "night sky_.safetensors"]
    assert [each["kind"] for each in (await rig.do("list_adapters"))["adapters"]] == ["file"] * 2


async def test_what_is_no_adapter_of_this_model_stays_outside(rig: Rig, tmp_path: Path) -> None:
    other = lora(
        tmp_path / "sd15.safetensors", 1.0, layer=LAYER.replace("1.att", "0.att"), width=320
    )
    with pytest.raises(FedtuiError) as wrong:
        await rig.do("import_adapter", path=str(other))
    assert "Stable Diffusion 1.5" in wrong.value.cause
    assert "tiny-landscapes" in wrong.value.remedy
    nan = lora(tmp_path / "nan.safetensors", float("nan"))
    with pytest.raises(FedtuiError) as damaged:
        await rig.do("import_adapter", path=str(nan))
    assert "NaN" in damaged.value.cause
    pickle = tmp_path / "model.pt"
    pickle.write_bytes(b"PK\x03\x04 a checkpoint")
    with pytest.raises(FedtuiError, match="no LoRA adapter"):
        await rig.do("import_adapter", path=str(pickle))
    for nothing in ("", "~nobody-of-this-name/x", str(tmp_path), "a\0b"):
        with pytest.raises(UsageError, match="there is no file"):
            await rig.do("import_adapter", path=nothing)
    assert rig.left() == []


async def test_merged_adapters_are_their_weighted_mean(rig: Rig, tmp_path: Path) -> None:
    paths = [lora(tmp_path / f"{n}.safetensors", float(n), rank=n) for n in (1, 2, 3)]
    files = [
        {"path": str(path), "weight": weight}
        for path, weight in zip(paths, (900, 50, 50), strict=True)
    ]
    made = await rig.do("merge_adapters", files=files, new_name="both.safetensors")
    # No rule of rooms bounds the share of the first.
    assert made["weights"] == pytest.approx([0.9, 0.05, 0.05])
    assert np.allclose(product(Path(made["path"])), 0.9 * 1 + 0.05 * 4 + 0.05 * 9)
    # The ranks add up, and nothing else is in it.
    assert made["rank"] == 1 + 2 + 3
    assert {array.shape[0] for name, array in read_all(Path(made["path"]))[0].items()
            if name.endswith("lora_A.weight")} == {6}  # fmt: skip
    with pytest.raises(UsageError, match="already"):
        await rig.do("merge_adapters", files=files, new_name="both")
    for name in ("", "../out", ".hidden", "a/b", "x" * 100):
        with pytest.raises(UsageError, match="name"):
            await rig.do("merge_adapters", files=files, new_name=name)
    with pytest.raises(UsageError, match="1 adapters"):
        await rig.do("merge_adapters", files=files[:1], new_name="one")
    paths[1].unlink()
    with pytest.raises(UsageError, match="there is no file"):
        await rig.do("merge_adapters", files=files, new_name="gone")
    odd = lora(tmp_path / "odd.safetensors", 1.0, layer=LAYER.replace("to_q", "to_k"))
    unlike = [files[0], {"path": str(odd), "weight": 1}]
    with pytest.raises(FedtuiError) as refused:
        await rig.do("merge_adapters", files=unlike, new_name="unlike")
    assert "different layers" in refused.value.cause
    assert rig.left() == ["both.safetensors"]


async def test_only_what_no_round_needs_is_deleted(rig: Rig, tmp_path: Path) -> None:
    rig.paths.adapters.mkdir(parents=True)
    for number in (1, 2):
        lora(rig.paths.adapter(number), number)
    rig.shelf.mkdir(exist_ok=True)
    mine = lora(rig.shelf / "mine.safetensors", 1.0)
    with pytest.raises(UsageError, match="round 2 is needed") as needed:
        await rig.do("delete_adapter", path=str(rig.paths.adapter(2)))
    assert "the next round starts from it" in needed.value.cause
    assert rig.paths.adapter(2).is_file()
    for path in (rig.paths.adapter(1), mine):
        assert (await rig.do("delete_adapter", path=str(path)))["path"] == str(path)
        assert not path.exists()
        with pytest.raises(UsageError, match="there is no adapter"):
            await rig.do("delete_adapter", path=str(path))
    outside = lora(tmp_path / "outside.safetensors", 1.0)
    for path in (outside, rig.shelf / ".." / ".." / outside.name):
        with pytest.raises(UsageError, match="there is no adapter"):
            await rig.do("delete_adapter", path=str(path))
    assert outside.is_file()


async def test_a_link_to_nothing_and_a_folder_are_not_listed(rig: Rig) -> None:
    rig.shelf.mkdir()
    (rig.shelf / "gone.safetensors").symlink_to("/nowhere")
    (rig.shelf / "folder.safetensors").mkdir()
    assert (await rig.do("list_adapters"))["adapters"] == []


async def test_the_built_in_model_is_listed_with_those_of_the_store(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "models"
    monkeypatch.setenv("FEDTUI_MODELS", str(store))
    (store / "hub" / "owner--name--at--v1").mkdir(parents=True)
    (store / "hub" / "owner--name--at--v1" / "part").write_bytes(b"x" * 9)
    arithmetic = TrainerProcess("arithmetic")
    try:
        profile = Profile(tmp_path / "other")
        found = (await Rig(profile, arithmetic).do("list_models"))["models"]
    finally:
        await arithmetic.stop()
    built_in, cut = found
    assert built_in["source"] == "tiny-landscapes"
    assert built_in["here"]
    assert len(built_in["sha256"]) == 64
    assert (cut["source"], cut["bytes"], cut["unfinished"]) == ("owner/name@v1", 9, True)
