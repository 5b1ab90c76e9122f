"""Faults that were published in code of the field: ours is free of each, a copy of it is caught.

Every test runs one check twice: on what we do, which passes, and on the published fault, which
must not. Sources are in the docstrings; what they are checked against is the definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.aggregate.kernel import Pair, Wide, combine
from trainer.aggregate.products import inner_products
from trainer.aggregate.rules import RULES, Geometry, Update, by_samples
from trainer.job import Job
from trainer.loop import pull_back
from trainer.models import resolve
from trainer.protocol import AdapterSpec, RuleSpec, Train
from trainer.studio import Studio
from trainer.tensor_file import read_all

COUNTS = (20, 40, 60, 40, 40)
Effective = Callable[[Sequence[Pair], Sequence[int], float], Wide]
"""What a layer's update becomes from factors, numbers of pictures and the scale α/r."""


def ours(pairs: Sequence[Pair], counts: Sequence[int], scale: float) -> Wide:
    scaled = [Pair(pair.A, scale * pair.B) for pair in pairs]
    found = combine(scaled, by_samples(counts, 2000))
    return found.B @ found.A + found.L @ found.R


def is_mean_of_products(effective: Effective, d: int, m: int, scale: float = 2.0) -> bool:
    """The definition: s · Σ n_k B_k A_k / n, whatever the shapes."""
    rng = np.random.default_rng(0)
    pairs = [Pair(rng.standard_normal((4, m)), rng.standard_normal((d, 4))) for _ in COUNTS]
    shares = np.array(COUNTS) / sum(COUNTS)
    wanted = scale * sum(p * pair.B @ pair.A for p, pair in zip(shares, pairs, strict=True))
    try:
        found = effective(pairs, COUNTS, scale)
    except ValueError:
        return False
    return bool(np.linalg.norm(found - wanted) < 1e-12 * np.linalg.norm(wanted))


def means(pairs: Sequence[Pair], weights: Sequence[float]) -> tuple[Wide, Wide]:
    A = sum(w * pair.A for w, pair in zip(weights, pairs, strict=True))
    B = sum(w * pair.B for w, pair in zip(weights, pairs, strict=True))
    return A, B  # type: ignore[return-value]


def transposed_residual(pairs: Sequence[Pair], counts: Sequence[int], scale: float) -> Wide:
    """fedex-lora, fed_agg.py: ``transpose(residue * s, 1, 0)`` on every layer, right for GPT-2's
    Conv1D, silently wrong for the square nn.Linear of RoBERTa."""
    A, B = means(pairs, by_samples(counts))
    residual = (
        sum(p * pair.B @ pair.A for p, pair in zip(by_samples(counts), pairs, strict=True)) - B @ A
    )
    return scale * B @ A + (scale * residual).T


def dropped_scaling(pairs: Sequence[Pair], counts: Sequence[int], scale: float) -> Wide:
    """FedFlow, eq. (5): the residual is added to the base without s = α/r."""
    A, B = means(pairs, by_samples(counts))
    residual = (
        sum(p * pair.B @ pair.A for p, pair in zip(by_samples(counts), pairs, strict=True)) - B @ A
    )
    return scale * B @ A + residual


def mixed_weights(pairs: Sequence[Pair], counts: Sequence[int], scale: float) -> Wide:
    """FedFlow: means weighted by n_k / n in eq. (4), the residual by 1/K in eq. (5)."""
    A, B = means(pairs, by_samples(counts))
    residual = sum(pair.B @ pair.A for pair in pairs) / len(pairs) - B @ A
    return scale * (B @ A + residual)


def first_client_only(pairs: Sequence[Pair], counts: Sequence[int], scale: float) -> Wide:
    """FLoRA, model_aggregation.py (0912cd3): ``weighted_sindgle_weights = …`` is never added up."""
    share = by_samples(counts)[0]
    return scale * share * pairs[0].B @ pairs[0].A


@pytest.mark.parametrize(("d", "m"), [(16, 16), (16, 24), (24, 16)])
@pytest.mark.parametrize(
    "bug", [transposed_residual, dropped_scaling, mixed_weights, first_client_only]
)
def test_transposed_residual_dropped_scaling_mixed_weights_first_client(
    bug: Effective, d: int, m: int
) -> None:
    assert is_mean_of_products(ours, d, m)
    assert not is_mean_of_products(bug, d, m)


def test_client_zero_only_fails_when_members_change_places() -> None:
    """FLoRA's typo once more, as a property of its own: the order of members means nothing."""
    rng = np.random.default_rng(0)
    pairs = [Pair(rng.standard_normal((4, 9)), rng.standard_normal((7, 4))) for _ in COUNTS]

    def is_symmetric(effective: Effective) -> bool:
        one = effective(pairs, COUNTS, 1.0)
        other = effective(pairs[::-1], COUNTS[::-1], 1.0)
        return bool(np.allclose(one, other))

    assert is_symmetric(ours)
    assert not is_symmetric(first_client_only)


def test_four_members_are_enough_to_leave_one_out() -> None:
    """Flower's trimmed mean drops ⌊0.2 · n⌋ on each side: nothing at all for up to four."""
    rng = np.random.default_rng(0)
    pairs = [Pair(rng.standard_normal((2, 9)), np.zeros((7, 2)))]
    pairs += [Pair(pairs[0].A, 1 + 0.1 * rng.standard_normal((7, 2))) for _ in range(4)]
    pairs[4] = Pair(pairs[4].A, 1000 * pairs[4].B)
    x = np.array([(pair.B @ pair.A).ravel() for pair in pairs[1:]])

    def resists(result: Wide) -> bool:
        honest = x[:3].mean(0)
        return bool(np.linalg.norm(result - honest) < np.linalg.norm(honest))

    updates = [Update(str(k), 1) for k in range(4)]
    weights = RULES["rfa"](updates, Geometry(inner_products(pairs)), RuleSpec("rfa")).weights
    assert resists(np.array(weights) @ x)
    trimmed = int(0.2 * 4)
    assert not resists(np.sort(x, axis=0)[trimmed : 4 - trimmed].mean(0))


def test_the_proximal_pull_grows_with_the_distance() -> None:
    """Flower's FedProx docstring uses ``.norm(2)`` without the square: the same pull everywhere."""

    def ratio(pull: Callable[[torch.nn.Parameter, torch.Tensor], None]) -> float:
        """How much stronger the pull is ten times as far away; 10 by definition."""
        sizes = []
        for distance in (0.1, 1.0):
            anchor = torch.ones(7)
            value = torch.nn.Parameter(anchor + distance)
            value.grad = torch.zeros(7)
            pull(value, anchor)
            sizes.append(float(value.grad.norm()))
        return sizes[1] / sizes[0]

    def unsquared(value: torch.nn.Parameter, anchor: torch.Tensor) -> None:
        (0.5 * (value - anchor).norm(2)).backward()  # type: ignore[no-untyped-call]

    assert ratio(lambda value, anchor: pull_back([value], [anchor], 1.0)) == pytest.approx(10)
    assert ratio(unsquared) == pytest.approx(1)


@pytest.fixture(scope="module")
def trained(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray], Path]:
    """A room's adapter with a branch, and what one member sends after a training from it."""
    from trainer_rig import picture

    from trainer import adapter, tensor_file
    from trainer.adapter import RESIDUAL_A_SUFFIX, RESIDUAL_B_SUFFIX

    folder = tmp_path_factory.mktemp("bugs")
    pictures = folder / "pictures"
    pictures.mkdir()
    picture(1).save(pictures / "1.png")
    (pictures / "1.txt").write_text("a red house")
    spec = AdapterSpec(rank=2, alpha=2)
    layers = adapter.target_layers(resolve(str(tiny_model)), spec)
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32) * 0.1
        for name, shape in adapter.factor_shapes(layers, 2).items()
    }
    for name, (out, *rest) in layers.items():
        arrays[name + RESIDUAL_A_SUFFIX] = rng.standard_normal((1, *rest)).astype(np.float32)
        arrays[name + RESIDUAL_B_SUFFIX] = rng.standard_normal((out, 1)).astype(np.float32)
    room = tensor_file.write(folder / "room", arrays, {"fedtui.rounds": "3"}).path
    out = folder / "sent"
    request = Train(
        str(tiny_model), str(pictures), str(out), spec, 1, str(room), 1, 1e-9,
        cache=str(folder / "cache"),
    )  # fmt: skip
    Studio().train(request, Job())
    return room, arrays, out


def test_training_begins_where_the_room_is(
    trained: tuple[Path, dict[str, np.ndarray], Path],
) -> None:
    """Flower's diffusion client with SecAgg builds a fresh LoRA and never loads the room's."""
    _, arrays, out = trained
    sent, metadata = read_all(out)

    def continues(found: dict[str, np.ndarray]) -> bool:
        """One step of size 1e-9 from the room's factors ends next to them."""
        return all(np.abs(found[name] - arrays[name]).max() < 1e-6 for name in found)

    assert continues(sent)
    assert metadata["fedtui.rounds"] == "3"
    rng = np.random.default_rng(1)
    fresh = {n: rng.standard_normal(a.shape).astype(np.float32) for n, a in sent.items()}
    assert not continues(fresh)


def test_everything_that_was_trained_is_sent(
    trained: tuple[Path, dict[str, np.ndarray], Path], tiny_model: Path
) -> None:
    """Flower's quickstart filters a state dict by requires_grad, which is False there: nothing."""
    _, arrays, out = trained
    wanted = {name for name in arrays if ".lora_" in name}
    assert set(read_all(out)[0]) == wanted
    network = torch.nn.Linear(3, 3)
    assert network.weight.requires_grad
    filtered = [name for name, value in network.state_dict().items() if value.requires_grad]
    assert filtered == []
