"""Single files and hub names become ordinary folders, once, whole, or with a clear word."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import family_rig
import pytest
import torch
from hub_rig import Hub, serving
from single_file_rig import (
    flux_tensors,
    write_flux_file,
    write_sd2_file,
    write_sd3_file,
    write_sdxl_file,
    write_single_file,
)

from trainer import models
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.models import hub, importing, store
from trainer.models.base import Digests
from trainer.models.hub import Remote
from trainer.protocol import ImportModel
from trainer.studio import Studio


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.STORE_VARIABLE, str(tmp_path / "store"))
    return tmp_path / "store"


def settings_of(model: Path, place: Path) -> None:
    """A model's folder without its weights."""
    shutil.copytree(model, place, ignore=shutil.ignore_patterns("*.safetensors"))


WRITERS: dict[str, Callable[[Path, Path], Path]] = {
    "stable-diffusion-1": write_single_file,
    "stable-diffusion-2": write_sd2_file,
    "stable-diffusion-xl": write_sdxl_file,
    "stable-diffusion-3": write_sd3_file,
    "flux-1": write_flux_file,
}


@pytest.mark.parametrize("family", WRITERS)
def test_a_single_file_is_the_model_it_was_made_of(tmp_path: Path, family: str) -> None:
    """All of a folder's weights come back, bit for bit; SD3's files leave one projection out."""
    tiny_model = family_rig.WRITERS[family](tmp_path / "whole")
    file = WRITERS[family](tiny_model, tmp_path / "checkpoint.safetensors")
    settings_of(tiny_model, tmp_path / "checkpoint")
    with pytest.raises(TrainerError, match="not unpacked"):
        models.resolve(str(file))
    base = importing.obtain(str(file), Job())
    assert base.name == "checkpoint"
    whole = models.resolve(str(tiny_model))
    from safetensors.numpy import load_file

    for component in base.family.networks:
        one, other = (
            {k.removeprefix("text_model."): v for k, v in load_file(path).items()}
            for path in (models.base.weight_files(b.folder / component)[0] for b in (base, whole))
        )
        assert one.keys() == other.keys()
        different = {name for name in one if not (one[name] == other[name]).all()}
        left_out = family == "stable-diffusion-3" and component == "text_encoder"
        assert different == ({"text_projection.weight"} if left_out else set()), component
    kept = store.record(base.folder)
    assert kept is not None
    assert kept.revision == hashlib.sha256(file.read_bytes()).hexdigest()
    assert kept.sha256 == Digests.of(models.resolve(str(file))).model
    again = importing.obtain(str(file), Job(report=lambda data: pytest.fail("unpacked twice")))
    assert again.folder == base.folder


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A 2.x checkpoint beside settings that say velocity."""
    whole = family_rig.stable_diffusion_2(tmp_path / "whole")
    settings_of(whole, tmp_path / "checkpoint")
    return write_sd2_file(whole, tmp_path / "checkpoint.safetensors")


def test_what_a_file_is_taken_to_predict_is_told_and_can_be_corrected(second: Path) -> None:
    """Noise and velocity look alike in a 2.x checkpoint; the settings decide until somebody says
    otherwise, and then it is another model with another hash."""
    told: list[dict[str, Any]] = []
    studio = Studio()
    first = studio.import_model(ImportModel(str(second)), Job(announce=told.append))
    assert first["prediction"] == "v_prediction"
    [note] = [each["text"] for each in told if each["stage"] == "note"]
    assert "taken to predict velocity" in note
    assert "--prediction epsilon" in note
    told.clear()
    fixed = studio.import_model(ImportModel(str(second), "epsilon"), Job(announce=told.append))
    assert fixed["prediction"] == "epsilon"
    assert fixed["sha256"] != first["sha256"]
    assert told == []
    base = models.resolve(str(second))
    assert Digests.of(base).model == fixed["sha256"]
    loaded = base.family.load(base, torch.device("cpu"))
    assert loaded.schedule.config.prediction_type == "epsilon"
    assert base.family.names(base.folder) == ("stable-diffusion-v2-512", "sd_v2")
    again = studio.import_model(ImportModel(str(second), "v_prediction"), Job())
    assert again["sha256"] == first["sha256"]
    base = models.resolve(str(second))
    assert base.family.names(base.folder) == ("stable-diffusion-v2-768-v", "sd_v2_v")


def test_what_a_model_predicts_is_not_changed_in_a_folder_of_the_user_s(
    tiny_model: Path, tmp_path: Path
) -> None:
    scheduler = tiny_model / "scheduler" / "scheduler_config.json"
    before = scheduler.read_bytes()
    for model, prediction_, says in (
        (str(tiny_model), "epsilon", "not ours to change"),
        ("tiny-landscapes", "epsilon", "not ours to change"),
        (str(tiny_model), "noise", "No model predicts this"),
    ):
        with pytest.raises(TrainerError, match=says) as caught:
            Studio().import_model(ImportModel(model, prediction_), Job())
        assert caught.value.code == 2
    assert scheduler.read_bytes() == before


def test_a_file_that_says_velocity_itself_is_believed(tmp_path: Path) -> None:
    """As ComfyUI does: an empty tensor's name, in files of 1.x and XL."""
    from safetensors.torch import load_file, save_file

    whole = family_rig.stable_diffusion_xl(tmp_path / "whole")
    settings_of(whole, tmp_path / "checkpoint")
    file = write_sdxl_file(whole, tmp_path / "checkpoint.safetensors")
    plain = importing.obtain(str(file), Job())
    assert plain.prediction == "epsilon"
    marks = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    save_file(load_file(file) | marks, file, {"format": "pt"})
    base = importing.obtain(str(file), Job())
    assert base.folder != plain.folder
    loaded = base.family.load(base, torch.device("cpu"))
    assert loaded.schedule.config.prediction_type == "v_prediction"
    assert loaded.schedule.config.rescale_betas_zero_snr is True
    assert float(loaded.schedule.alphas_cumprod[-1]) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def flux_part(tmp_path: Path) -> Path:
    """A file with the transformer of a Flux alone, and the folder it is of at ``whole``."""
    whole = family_rig.flux(tmp_path / "whole")
    return write_flux_file(whole, tmp_path / "checkpoint.safetensors", whole=False)


def test_a_flux_alone_takes_the_rest_from_the_folder_beside_it(
    flux_part: Path, tmp_path: Path
) -> None:
    """As they are published: no text encoder and no autoencoder in the file."""
    shutil.copytree(tmp_path / "whole", tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "checkpoint" / "transformer")
    (tmp_path / "checkpoint" / "transformer").mkdir()
    shutil.copy(tmp_path / "whole/transformer/config.json", tmp_path / "checkpoint/transformer")
    base = importing.obtain(str(flux_part), Job())
    whole = models.resolve(str(tmp_path / "whole"))
    from safetensors.numpy import load_file

    for component in whole.family.networks:
        one, other = (
            load_file(models.base.weight_files(each.folder / component)[0])
            for each in (base, whole)
        )
        assert one.keys() == other.keys()
        assert all((one[name] == other[name]).all() for name in one), component


def test_a_flux_alone_says_what_it_lacks(flux_part: Path, tmp_path: Path) -> None:
    settings_of(tmp_path / "whole", tmp_path / "checkpoint")
    with pytest.raises(TrainerError, match="only a part") as caught:
        importing.obtain(str(flux_part), Job())
    assert "text_encoder, text_encoder_2, vae" in caught.value.cause
    assert "black-forest-labs/FLUX.1-dev" in caught.value.remedy
    assert str(tmp_path / "checkpoint") in caught.value.remedy
    assert caught.value.code == 5


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"double_blocks.0.img_mlp.0.scale_weight": (1,)}, "no plain Flux"),
        ({"single_blocks.0.linear1.weight": (8, 32)}, "8 rows"),
        ({"single_blocks.0.linear2.weight": (32, 8)}, "should be"),
        ({"img_in.weight": None}, "lacks x_embedder.weight"),
    ],
)
def test_a_flux_of_another_size_or_kind_is_refused(
    flux_part: Path, tmp_path: Path, damage: dict[str, tuple[int, ...] | None], says: str
) -> None:
    """8-bit weights with scales of their own, too, which would be read at the wrong strength."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    shutil.copytree(tmp_path / "whole", tmp_path / "checkpoint")
    tensors = load_file(flux_part)
    for name, shape in damage.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = np.ones(shape, np.float32)
    save_file(tensors, flux_part)
    with pytest.raises(TrainerError, match="cannot be used") as caught:
        importing.obtain(str(flux_part), Job())
    assert re.search(says, caught.value.cause)
    assert not list(store.root().rglob(store.RECORD))


def test_a_flux_is_read_at_its_published_size_as_diffusers_reads_it() -> None:
    """All 12 billion weights by name and shape, and one block of either kind by value.

    Diffusers' converter has the published width built in, so columns are left out to keep it small.
    """
    import torch
    from diffusers import FluxTransformer2DModel
    from diffusers.loaders.single_file_utils import (
        convert_flux_transformer_checkpoint_to_diffusers,
    )

    from trainer.models import flux_file

    with torch.device("meta"):
        network = FluxTransformer2DModel(guidance_embeds=True)
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == 11_901_408_320
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    stored = dict(flux_tensors(state))
    found = dict(flux_file.converted(iter(stored.items()), shapes))
    assert {name: tuple(value.shape) for name, value in found.items()} == shapes

    draw = torch.Generator().manual_seed(0)
    narrow = {
        name: torch.randn((value.shape[0], 1) if value.dim() > 1 else value.shape, generator=draw)
        for name, value in stored.items()
        if not re.search(r"_blocks\.[1-9]", name)
    }
    ours = dict(flux_file.converted(iter(narrow.items()), shapes))
    theirs = convert_flux_transformer_checkpoint_to_diffusers(dict(narrow))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_checkpoint_of_another_family_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Settings of Stable Diffusion 1.x beside a file of XL."""
    large = family_rig.stable_diffusion_xl(tmp_path / "xl")
    file = write_sdxl_file(large, tmp_path / "checkpoint.safetensors")
    settings_of(tiny_model, tmp_path / "checkpoint")
    with pytest.raises(TrainerError, match="cannot be used") as caught:
        importing.obtain(str(file), Job())
    assert str(tmp_path / "checkpoint") in caught.value.cause
    assert caught.value.remedy
    assert not list(store.root().rglob(store.RECORD))


def test_a_file_without_a_text_encoder_names_what_it_lacks(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = family_rig.stable_diffusion_3(tmp_path / "whole")
    file = write_sd3_file(whole, tmp_path / "checkpoint.safetensors")
    settings_of(whole, tmp_path / "checkpoint")
    kept = {name: value for name, value in load_file(file).items() if "layer.1" not in name}
    save_file(kept, file)
    with pytest.raises(TrainerError, match="cannot be used") as caught:
        importing.obtain(str(file), Job())
    assert "weights of text_encoder_3" in caught.value.cause


def test_a_file_without_its_settings_says_what_is_missing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    file = write_single_file(tiny_model, tmp_path / "checkpoint.safetensors")
    with pytest.raises(TrainerError) as caught:
        importing.obtain(str(file), Job())
    assert "stable-diffusion-v1-5" in caught.value.cause
    assert str(tmp_path / "checkpoint") in caught.value.remedy
    assert caught.value.code == 5


def test_a_file_that_holds_something_else_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = write_single_file(tiny_model, tmp_path / "checkpoint.safetensors")
    settings_of(tiny_model, tmp_path / "checkpoint")
    tensors = load_file(file)
    save_file({k: v for k, v in tensors.items() if "first_stage" not in k}, file)
    with pytest.raises(TrainerError, match="cannot be used"):
        importing.obtain(str(file), Job())
    (tmp_path / "junk.safetensors").write_bytes(b"PK\x03\x04 something")
    with pytest.raises(TrainerError) as caught:
        importing.obtain(str(tmp_path / "junk.safetensors"), Job())
    assert "zip" in caught.value.cause
    assert not list(store.root().rglob(store.RECORD))


@pytest.fixture
def local_hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.copytree(tiny_model, tmp_path / "repository")
    (tmp_path / "repository" / "README.md").write_text("not needed")
    (tmp_path / "repository" / "v1-5-pruned.safetensors").write_bytes(b"not needed either")
    with serving(tmp_path / "repository") as hub_:
        monkeypatch.setenv("HF_ENDPOINT", hub_.address)
        yield hub_


def test_a_hub_name_is_fetched_once_and_names_its_content(local_hub: Hub, tiny_model: Path) -> None:
    steps: list[int] = []
    base = importing.obtain("owner/tiny", Job(report=lambda data: steps.append(data["step"])))
    assert Digests.of(base) == Digests.of(models.resolve(str(tiny_model)))
    assert store.record(base.folder) == store.Record(
        "owner/tiny", local_hub.commit, Digests.of(base).model
    )
    assert {name for name, _ in local_hub.served}.isdisjoint(
        {"README.md", "v1-5-pruned.safetensors"}
    )
    local_hub.served.clear()
    assert importing.obtain("owner/tiny", Job()).folder == base.folder
    assert local_hub.served == []


def test_an_interrupted_download_goes_on_and_never_counts_as_whole(local_hub: Hub) -> None:
    seen = [0]

    def cancelled() -> bool:
        seen[0] += 1
        return seen[0] > 12

    with pytest.raises(Cancelled):
        importing.obtain("owner/tiny", Job(cancelled))
    with pytest.raises(TrainerError, match="not on this machine"):
        models.resolve("owner/tiny")
    before = {name for name, _ in local_hub.served}
    local_hub.served.clear()
    importing.obtain("owner/tiny", Job())
    assert before
    assert len({name for name, _ in local_hub.served} & before) <= 1


def test_bytes_that_are_not_the_announced_ones_are_refused(local_hub: Hub) -> None:
    """And thrown away, so that nothing goes on after them."""
    local_hub.lie = "0" * 64
    with pytest.raises(TrainerError, match="cannot be downloaded") as caught:
        importing.obtain("owner/tiny", Job())
    assert "other bytes" in caught.value.cause
    assert not list(store.root().rglob("*.part"))
    local_hub.lie = ""
    assert Digests.of(importing.obtain("owner/tiny", Job()))


def test_an_unreachable_hub_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TrainerError) as caught:
        importing.obtain("owner/none", Job())
    assert "cannot be reached" in caught.value.cause
    assert caught.value.code == 5


def test_offline_what_is_here_works_and_the_rest_says_why(
    local_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = importing.obtain("owner/tiny", Job())
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    local_hub.served.clear()
    assert importing.obtain("owner/tiny", Job()).folder == kept.folder
    with pytest.raises(TrainerError) as caught:
        importing.obtain("owner/other", Job())
    assert "HF_HUB_OFFLINE is set" in caught.value.cause
    assert "Unset it" in caught.value.remedy
    assert caught.value.code == 5
    assert local_hub.served == []


def test_a_file_that_was_cut_short_goes_on_where_it_ended(
    local_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bytes that had come, and counts only once its hash is right."""
    monkeypatch.setattr(hub.huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    largest = "unet/diffusion_pytorch_model.safetensors"

    def in_the_middle() -> bool:
        drafts = list(store.root().rglob(".diffusion_pytorch_model*.part"))
        return any(draft.parent.name == "unet" and draft.stat().st_size for draft in drafts)

    with pytest.raises(Cancelled):
        importing.obtain("owner/tiny", Job(in_the_middle))
    assert not list(store.root().rglob(store.RECORD))
    local_hub.served.clear()
    told: list[dict[str, Any]] = []
    base = importing.obtain("owner/tiny", Job(report=told.append))
    asked = dict(local_hub.served)
    assert 0 < asked[largest] < (local_hub.folder / largest).stat().st_size
    assert {data["stage"] for data in told} == {"download"}
    assert Digests.of(base) == Digests.of(models.resolve(str(local_hub.folder)))
    assert not list(base.folder.rglob("*.part"))


def test_only_one_set_of_weights_is_fetched() -> None:
    names = (
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json", "whole.safetensors",
        "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors",
        "safety_checker/model.safetensors",
    )  # fmt: skip
    chosen = {file.name for file in hub.needed(Remote(name, 1, "") for name in names)}
    assert chosen == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "text_encoder/model.safetensors",
    }  # fmt: skip


def test_a_noise_that_is_not_known_is_refused_and_never_guessed(tmp_path: Path) -> None:
    """Playground 2.5 is an SDXL by its index, and would train with another model's betas."""
    import diffusers

    folder = family_rig.WRITERS["stable-diffusion-xl"](tmp_path / "edm")
    diffusers.EDMEulerScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "EDMEulerScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    base = models.resolve(str(folder))
    with pytest.raises(TrainerError, match="not supported") as caught:
        base.family.load(base, torch.device("cpu"))
    assert "EDMEulerScheduler" in caught.value.cause
    assert caught.value.code == 5


@pytest.mark.parametrize("variant", ["fp16", None])
def test_weights_in_parts_are_read_in_either_precision(
    tiny_model: Path, tmp_path: Path, variant: str | None
) -> None:
    from diffusers import StableDiffusionPipeline

    folder = tmp_path / "parts"
    pipe = StableDiffusionPipeline.from_pretrained(tiny_model).to(dtype=torch.float16)
    pipe.save_pretrained(folder, variant=variant, max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    parts, whole = models.resolve(str(folder)), models.resolve(str(tiny_model))
    assert parts.layers("unet") == whole.layers("unet")
    loaded = parts.family.load(parts, torch.device("cpu")).components["unet"].state_dict()
    for name, value in pipe.unet.state_dict().items():
        assert torch.equal(loaded[name], value.float()), name


def test_a_path_that_is_not_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no such model") as caught:
        models.resolve(str(tmp_path / "typo"))
    assert caught.value.code == 2
    with pytest.raises(TrainerError, match="no model here") as caught:
        models.resolve(str(tmp_path))
    assert caught.value.code == 5


def test_what_is_fetched_already_needs_no_room_on_the_disk(
    local_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a network lies there, whole or in part; a file of another size counts nothing."""
    folder = store.place("owner/tiny")
    importing.obtain("owner/tiny", Job())
    (folder / store.RECORD).unlink()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    size, content = weights.stat().st_size, weights.read_bytes()
    weights.unlink()
    sha = hashlib.sha256(content).hexdigest()
    weights.with_name(f".{weights.name}.{sha[:16]}.part").write_bytes(content[: size - 10])
    usage = shutil.disk_usage(folder)._replace(free=hub.RESERVE + 10)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage)
    assert importing.obtain("owner/tiny", Job()).folder == folder
    (folder / store.RECORD).unlink()
    weights.write_bytes(b"of another commit")
    with pytest.raises(TrainerError, match="downloaded") as caught:
        importing.obtain("owner/tiny", Job())
    assert "do not fit the disk" in caught.value.cause
