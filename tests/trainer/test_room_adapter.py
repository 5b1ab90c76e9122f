"""A room's adapter does the same wherever it goes: training, pictures, other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from trainer import adapter, device, frozen_branch, injection, lora_file, room_adapter, tensor_file
from trainer.adapter import DENSE_SUFFIX, RESIDUAL_A_SUFFIX, RESIDUAL_B_SUFFIX
from trainer.arithmetic import (
    combine_adapters,
    export_adapter,
    inspect_adapter,
    restore_adapter,
)
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.lora_file import Factors
from trainer.mix import alone
from trainer.models import resolve
from trainer.protocol import (
    AdapterSpec,
    CombineAdapters,
    ExportAdapter,
    InspectAdapter,
    RestoreAdapter,
    RuleSpec,
    WeightedFile,
)
from trainer.room_adapter import Branch, RoomAdapter
from trainer.tensor_file import read_all

SPEC = AdapterSpec(rank=2, alpha=2, targets=("to_q", "to_k", "proj_in", "conv1"))


@pytest.fixture(scope="module")
def room(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random factors with branches: of low rank, whole, and none, on matrices and convolutions."""
    rng = np.random.default_rng(0)
    layers = adapter.target_layers(resolve(str(tiny_model)), SPEC)
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32) * 0.2
        for name, shape in adapter.factor_shapes(layers, 2).items()
    }
    for number, (name, (out, *rest)) in enumerate(layers.items()):
        ones = (1,) * len(rest[1:])
        if number % 3 == 0:
            arrays[name + RESIDUAL_A_SUFFIX] = 0.2 * rng.standard_normal((3, *rest)).astype("f4")
            arrays[name + RESIDUAL_B_SUFFIX] = 0.2 * rng.standard_normal((out, 3, *ones)).astype(
                "f4"
            )
        elif number % 3 == 1:
            arrays[name + DENSE_SUFFIX] = 0.1 * rng.standard_normal((out, *rest)).astype("f4")
    path = tmp_path_factory.mktemp("room") / "room"
    return tensor_file.write(path, arrays, {"fedtui.rounds": "7"}).path


def predicted(model: object, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    states = model.text_states("a red house")[None]  # type: ignore[attr-defined]
    noisy = torch.randn((1, 4, 8, 8), generator=draw)
    with torch.no_grad():
        found: torch.Tensor = model.predict(noisy, torch.tensor([300]), states)  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> object:
    base = resolve(str(tiny_model))
    return base.family.load(base, device.configure())


def test_o14_the_exact_export_draws_what_the_room_draws(
    room: Path, tiny_model: Path, loaded: object, tmp_path: Path
) -> None:
    """Through the public loader of diffusers, on the untouched base."""
    base = resolve(str(tiny_model))
    plain = predicted(loaded)
    with alone(str(room), base).on(loaded):  # type: ignore[arg-type]
        wanted = predicted(loaded)
    assert (predicted(loaded) == plain).all(), "the base must be as it was"
    assert (wanted - plain).abs().max() > 1e-2
    for dialect in ("kohya", "diffusers"):
        out = tmp_path / f"{dialect}.safetensors"
        told = export_adapter(
            ExportAdapter(str(room), str(out), str(tiny_model), dialect),
            Job(),  # type: ignore[arg-type]
        )
        assert told["error"] == 0.0
        with alone(str(out), base).on(loaded):  # type: ignore[arg-type]
            assert (predicted(loaded) - wanted).abs().max() < 1e-4
        pipeline = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
        pipeline.load_lora_weights(str(out))
        found = pipeline.unet(
            torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0)),
            torch.tensor([300]),
            loaded.text_states("a red house")[None],  # type: ignore[attr-defined]
        ).sample.detach()
        assert (found - wanted).abs().max() < 1e-4


def test_o14_folding_is_exact_in_float64(room: Path) -> None:
    found = room_adapter.read(room)
    for name, factors in found.exact().items():
        own, branch = found.factors[name], found.branches.get(name)
        wanted = _whole(own) + (_branch(branch) if branch else 0.0)
        assert np.abs(_whole(factors) - wanted).max() < 1e-12


def _whole(factors: Factors) -> np.ndarray:
    A = factors.A.astype(np.float64).reshape(factors.rank, -1)
    return factors.B.astype(np.float64).reshape(-1, factors.rank) @ A


def _branch(branch: Branch) -> np.ndarray:
    if branch.factors is not None:
        return _whole(branch.factors)
    assert branch.whole is not None
    return branch.whole.astype(np.float64).reshape(branch.whole.shape[0], -1)


def test_an_exact_export_gives_the_rooms_bytes_back(
    room: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for dialect in ("kohya", "diffusers"):
        out = str(tmp_path / dialect)
        export_adapter(ExportAdapter(str(room), out, str(tiny_model), dialect), Job())  # type: ignore[arg-type]
        again = RestoreAdapter(out, str(tiny_model), SPEC.rank, str(tmp_path / "again"))
        restore_adapter(again, Job())
        assert (tmp_path / "again").read_bytes() == room.read_bytes()
    cut = str(tmp_path / "cut")
    export_adapter(ExportAdapter(str(room), cut, str(tiny_model), rank=1), Job())
    with pytest.raises(TrainerError, match="no exact export"):
        restore_adapter(RestoreAdapter(cut, str(tiny_model), 2, cut + "2"), Job())


@pytest.mark.parametrize("rank", [1, 4, 64])
def test_o18_a_cut_export_loses_the_tail_and_says_how_much(
    room: Path, tiny_model: Path, tmp_path: Path, rank: int
) -> None:
    out = tmp_path / "cut"
    told = export_adapter(ExportAdapter(str(room), str(out), str(tiny_model), rank=rank), Job())
    cut = lora_file.read(out, resolve(str(tiny_model))).components["unet"]
    lost = total = tail = 0.0
    for name, factors in room_adapter.read(room).exact().items():
        whole = _whole(factors)
        assert cut[name].rank <= rank
        lost += float(((_whole(cut[name]) - whole) ** 2).sum())
        tail += float((np.linalg.svd(whole, compute_uv=False)[rank:] ** 2).sum())
        total += float((whole**2).sum())
    assert told["error"] == pytest.approx((tail / total) ** 0.5, abs=1e-7)
    assert lost == pytest.approx(tail, abs=1e-5 * total)


def test_o15_the_first_forward_of_training_is_the_rooms_model(
    room: Path, tiny_model: Path, loaded: object
) -> None:
    """Exactly: the same factors, the same branch, the same order of operations."""
    from trainer.protocol import Train
    from trainer.start import begin

    base = resolve(str(tiny_model))
    with alone(str(room), base).on(loaded):  # type: ignore[arg-type]
        wanted = predicted(loaded)
    start = begin(Train(str(tiny_model), "", "", SPEC, 1, initial=str(room)), base)
    factors, branches = {"unet": start.layers}, {"unet": start.branches}
    with injection.attached(loaded, factors, 1.0, branches):  # type: ignore[arg-type]
        assert (predicted(loaded) == wanted).all()


@pytest.mark.parametrize("size", [3e-5, 1e-5, 3e-6])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_o19_sixteen_bit_bases_keep_the_residual(size: float, kind: str) -> None:
    """As a branch at least 99.9 % of it works; folded into the weights most of it is lost."""
    torch.manual_seed(0)
    layer: torch.nn.Module = (
        torch.nn.Linear(48, 40, bias=False)
        if kind == "linear"
        else torch.nn.Conv2d(24, 40, 3, padding=1, bias=False)
    )
    weight = layer.weight.detach().to(torch.bfloat16)  # type: ignore[operator]
    E = (size * torch.randn(weight.shape)).numpy()
    folded = (weight.float() + torch.from_numpy(E)).to(torch.bfloat16).float() - weight.float()
    lost = np.linalg.norm(folded.numpy() - E) / np.linalg.norm(E)
    assert lost > 0.5
    # Beside a base of zero the output holds the branch alone, rounded to 16 bits like any other.
    network = torch.nn.Sequential(layer).to(torch.bfloat16)
    network[0].weight.data.zero_()  # type: ignore[union-attr]
    x = torch.randn((64, 48) if kind == "linear" else (4, 24, 8, 8))
    x, whole = x.to(torch.bfloat16), torch.from_numpy(E)
    if kind == "linear":
        wanted = torch.nn.functional.linear(x.float(), whole)
    else:
        wanted = torch.nn.functional.conv2d(x.float(), whole, padding=1)
    with frozen_branch.added(network, {"0": Branch(whole=E)}), torch.no_grad():
        found = network(x).float()
    kept = float((found * wanted).sum() / (wanted**2).sum())
    assert kept == pytest.approx(1, abs=1e-3)
    assert not network[0].weight.any()  # type: ignore[union-attr]


def test_low_rank_and_whole_branches_do_the_same(tiny_model: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((6, 5), (6, 5, 3, 3)):
        out, *rest = shape
        A = rng.standard_normal((2, *rest)).astype("f4")
        B = rng.standard_normal((out, 2, *(1 for _ in rest[1:]))).astype("f4")
        low = Branch(Factors(A, B))
        whole = Branch(whole=low.as_matrix())
        assert whole.as_matrix().shape == shape
        assert np.abs(_whole(whole.as_factors()) - _whole(low.as_factors())).max() < 1e-6
        for dtype in (torch.float32, torch.bfloat16):
            layer = torch.nn.Linear(5, 6) if len(shape) == 2 else torch.nn.Conv2d(5, 6, 3)
            network = torch.nn.Sequential(layer).to(dtype)
            x = torch.randn((3, 5) if len(shape) == 2 else (2, 5, 8, 8)).to(dtype)
            results = []
            for branch in (low, whole, low.scaled(0.5).plus(low.scaled(0.5))):
                with frozen_branch.added(network, {"0": branch}), torch.no_grad():
                    results.append(network(x).float())
            assert (results[0] - network(x).float()).abs().max() > 0.1
            for other in results[1:]:
                assert (results[0] - other).abs().max() < 0.05 * results[0].abs().max()


def test_a_branch_for_another_model_is_refused(tiny_model: Path, loaded: object) -> None:
    branch = Branch(whole=np.zeros((2, 2), np.float32))
    network = loaded.components["unet"]  # type: ignore[attr-defined]
    with pytest.raises(TrainerError, match="fit"), frozen_branch.added(network, {"no": branch}):
        pass


# --- combining files of any dialect --------------------------------------------------------------
def test_files_of_other_programs_are_combined_exactly(tiny_model: Path, tmp_path: Path) -> None:
    """Other dialects, ranks and alphas; the result is one LoRA file whose product is the mean."""
    base = resolve(str(tiny_model))
    layers = adapter.target_layers(base, SPEC)
    rng = np.random.default_rng(0)
    inputs, products = [], []
    for number, (rank, dialect) in enumerate(((2, "kohya"), (5, "diffusers"), (3, "kohya"))):
        factors = {
            name: Factors(
                rng.standard_normal((rank, *rest)).astype("f4"),
                rng.standard_normal((out, rank, *(1 for _ in rest[1:]))).astype("f4"),
            )
            for name, (out, *rest) in layers.items()
        }
        path = tmp_path / f"{number}.safetensors"
        made = lora_file.LoraAdapter({"unet": factors}, "factors", {})
        lora_file.write(path, made, dialect, base, {})  # type: ignore[arg-type]
        if dialect == "kohya":  # another alpha: half the strength
            arrays, metadata = read_all(path)
            arrays = {n: a / 2 if n.endswith(".alpha") else a for n, a in arrays.items()}
            tensor_file.write(path, arrays, metadata)
        scale = 0.5 if dialect == "kohya" else 1.0
        products.append({name: scale * _whole(each) for name, each in factors.items()})
        inputs.append(WeightedFile(f"{number} file", str(path), (20, 40, 60)[number]))
    out = tmp_path / "out.safetensors"
    for mode in ("fedex", "stack"):
        told = combine_adapters(
            CombineAdapters(tuple(inputs), str(tiny_model), mode, str(out)), Job()
        )
        found = lora_file.read(out, base).components["unet"]
        for name in layers:
            wanted = sum(
                w * each[name] for w, each in zip((1 / 6, 2 / 6, 3 / 6), products, strict=True)
            )
            assert np.abs(_whole(found[name]) - wanted).max() < 1e-5 * np.abs(wanted).max()
        assert [each["samples"] for each in told["statistics"]["participants"]] == [20, 40, 60]
        assert told["statistics"]["residual_share"] > 0.1
    only = CombineAdapters((inputs[0],), str(tiny_model), "fedex", str(out), RuleSpec("multi_krum"))
    with pytest.raises(TrainerError, match="not combined"):
        combine_adapters(only, Job())
    with pytest.raises(TrainerError, match="combines no LoRA"):
        combine_adapters(CombineAdapters((inputs[0],), str(tiny_model), "ffa", str(out)), Job())


@pytest.mark.parametrize(
    ("personal", "said"),
    [(("conv_1",), "No layer would stay personal"), (("",), "Nothing is left to train together")],
)
def test_a_word_that_keeps_nothing_or_everything_personal_is_refused(
    personal: tuple[str, ...], said: str, tiny_model: Path, tmp_path: Path
) -> None:
    """A misspelt word would send what its member believes to stay at home."""
    from trainer.arithmetic import init_adapter
    from trainer.errors import TrainerError
    from trainer.protocol import InitAdapter

    spec = AdapterSpec(2, 2, SPEC.targets, personal=personal)
    with pytest.raises(TrainerError, match=said):
        init_adapter(InitAdapter(str(tiny_model), spec, 0, str(tmp_path / "a0")), Job())


def test_personal_layers_stay_out_of_contributions_and_continue(
    tiny_model: Path, tmp_path: Path
) -> None:
    from trainer_rig import picture

    from trainer.arithmetic import check_blob, init_adapter
    from trainer.protocol import CheckBlob, InitAdapter, Train
    from trainer.studio import Studio

    (tmp_path / "pictures").mkdir()
    picture(1).save(tmp_path / "pictures" / "1.png")
    spec = AdapterSpec(2, 2, SPEC.targets, personal=("conv1", "mid_block"))
    model, initial = str(tiny_model), str(tmp_path / "a0")
    init_adapter(InitAdapter(model, spec, 0, initial), Job())
    shared = set(read_all(Path(initial))[0])
    assert not any("conv1" in name or "mid_block" in name for name in shared)
    own = tmp_path / "own"
    sizes = []
    for round_ in (1, 2):
        out = str(tmp_path / f"out{round_}")
        Studio().train(
            Train(model, str(tmp_path / "pictures"), out, spec, 2, initial, 1, round=round_,
                  cache=str(tmp_path / "cache"), personal=str(own)), Job(),
        )  # fmt: skip
        assert check_blob(CheckBlob(out, model, spec, 1 << 30), Job())["ok"]
        assert set(read_all(Path(out))[0]) == shared
        kept = room_adapter.read(own)
        assert all("conv1" in name or "mid_block" in name for name in kept.factors)
        sizes.append(sum(float(np.abs(f.B).sum()) for f in kept.factors.values()))
    assert 0 < sizes[0] < sizes[1]
    room = RoomAdapter({}, {}, 0)
    assert room.exact() == {}


def test_a_rooms_own_file_is_told_of_by_the_ranks_of_its_export(tmp_path: Path) -> None:
    """With a branch of low rank, with a whole matrix, and without one; also read whole."""
    layers = dict(list(resolve("tiny-landscapes").layers("unet").items())[:3])
    (first, second, third), shapes = layers, list(layers.values())
    factors = {
        name: Factors(
            np.ones((2, *shape[1:]), np.float32),
            np.ones((shape[0], 2, *(1 for _ in shape[2:])), np.float32),
        )
        for name, shape in layers.items()
    }
    low = Branch(Factors(np.repeat(factors[second].A, 2, 0), np.repeat(factors[second].B, 2, 1)))
    whole = Branch(whole=np.ones(shapes[2], np.float32))
    adapter_ = RoomAdapter(factors, {second: low, third: whole}, 3)
    path = room_adapter.write(tmp_path / "room", adapter_).path
    found = inspect_adapter(InspectAdapter(str(path), "tiny-landscapes", whole=True), Job())
    exact = adapter_.exact()
    assert found["ranks"] == {exact[name].rank: 1 for name in (first, second, third)}
    assert (found["modules"], found["matching"], found["dialect"]) == (3, 3, "room")
    assert inspect_adapter(InspectAdapter(str(path)), Job())["matching"] == 0
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainerError):
        inspect_adapter(InspectAdapter(str(path)), Job())
