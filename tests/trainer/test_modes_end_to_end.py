"""Every mode with the real trainer, without a network: init, train, check, combine, train again."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from trainer_rig import MakePictures

from trainer import arithmetic
from trainer.aggregate.modes import MODES
from trainer.aggregate.rules import RULES
from trainer.job import Job
from trainer.protocol import (
    AdapterSpec,
    CheckBlob,
    Combine,
    Evaluate,
    ExportAdapter,
    InitAdapter,
    RuleSpec,
    Train,
    WeightedFile,
)
from trainer.studio import Studio
from trainer.tensor_file import read_all, write

SPEC = AdapterSpec(rank=2, alpha=2)


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.mark.parametrize("mode", MODES)
def test_two_rounds_of_every_mode(
    mode: str, studio: Studio, tiny_model: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    model, job = str(tiny_model), Job()
    folders = [str(make_pictures(f"m{n}", 2, first=20 * n)) for n in range(3)]
    state = str(tmp_path / "state-0")
    arithmetic.init_adapter(InitAdapter(model, SPEC, 5, state, mode), job)
    sent: list[set[str]] = []
    for number in (1, 2):
        inputs = []
        for member, folder in enumerate(folders):
            out = str(tmp_path / f"sent-{number}-{member}")
            studio.train(
                Train(model, folder, out, SPEC, 2, state, 1, 1e-3, round=number, node=str(member),
                      cache=str(tmp_path / "cache"), mode=mode), job,
            )  # fmt: skip
            verdict = arithmetic.check_blob(CheckBlob(out, model, SPEC, 1 << 28, mode), job)
            assert verdict == {"ok": True, "reason": ""}
            inputs.append(WeightedFile(str(member), out, 10 + member))
        sent.append(set(read_all(Path(inputs[0].path))[0]))
        after = str(tmp_path / f"state-{number}")
        told = arithmetic.combine(
            Combine(tuple(inputs), mode, state, after, RuleSpec("rfa"), seed=5), job
        )["statistics"]
        assert not told["note"]
        assert all(each["weight"] > 0 and not each["excluded"] for each in told["participants"])
        state = after
    if mode == "rolora":
        assert all("lora_B" in name for name in sent[0])
        assert all("lora_A" in name for name in sent[1])
    losses = studio.evaluate(Evaluate(model, folders[0], ("", state), draws=2), job)["losses"]
    assert losses[state] != losses[""]
    exported = tmp_path / "export.safetensors"
    arithmetic.export_adapter(ExportAdapter(state, str(exported), model), job)
    if mode != "dense":
        again = studio.evaluate(Evaluate(model, folders[0], (str(exported),), draws=2), job)
        assert again["losses"][str(exported)] == pytest.approx(losses[state], rel=1e-5)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_round_of_every_rule(rule: str, tiny_model: Path, tmp_path: Path) -> None:
    model, job = str(tiny_model), Job()
    state = str(tmp_path / "state")
    arithmetic.init_adapter(InitAdapter(model, SPEC, 5, state), job)
    before, _ = read_all(Path(state))
    rng = np.random.default_rng(0)
    spec = RuleSpec(rule, threshold_milli=-1000)
    inputs = []
    for member in range(max(3, spec.fewest)):
        arrays = {n: a + rng.standard_normal(a.shape).astype("f4") for n, a in before.items()}
        path = write(tmp_path / str(member), arrays, {"fedtui.steps": "40"}).path
        inputs.append(WeightedFile(str(member), str(path), 5))
    out = str(tmp_path / "out")
    told = arithmetic.combine(Combine(tuple(inputs), "fedex", state, out, spec), job)
    shares = told["statistics"]["participants"]
    total = sum(each["weight"] for each in shares) + told["statistics"]["previous"]
    assert total == pytest.approx(1)
    again = arithmetic.combine(Combine(tuple(inputs[::-1]), "fedex", state, out, spec), job)
    assert again["sha256"] == told["sha256"]


def test_o13_a_proximal_weight_of_zero_changes_nothing_and_a_large_one_holds_back(
    studio: Studio, tiny_model: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    model, folder = str(tiny_model), str(make_pictures())
    state = tmp_path / "state"
    arithmetic.init_adapter(InitAdapter(model, SPEC, 5, str(state)), Job())
    start, results = read_all(state)[0], []
    for number, proximal in enumerate((None, 0.0, 100.0)):
        out = tmp_path / str(number)
        more = {} if proximal is None else {"proximal": proximal}
        studio.train(
            Train(model, folder, str(out), SPEC, 12, str(state), 1, 1e-3, **more),
            Job(),  # type: ignore[arg-type]
        )
        results.append(read_all(out)[0])
    moved = [sum(float(((arrays[n] - start[n]) ** 2).sum()) for n in start) for arrays in results]
    assert moved[0] == moved[1]
    assert moved[2] < 0.5 * moved[0]


@pytest.mark.parametrize("factors", [False, True])
def test_o16_one_step_of_sgd_together_is_one_step_on_all_pictures(factors: bool) -> None:
    """For whole weights and for averaged factors; fedex adds the residual, which is O(η²)."""
    from trainer.aggregate.kernel import Pair, combine

    torch.manual_seed(0)
    counts = (2, 5, 3)
    x, y = torch.randn(10, 6, dtype=torch.float64), torch.randn(10, 4, dtype=torch.float64)
    W0 = torch.randn(4, 6, dtype=torch.float64)
    A0, B0 = torch.randn(2, 6, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)

    def step(rows: slice, rate: float) -> list[np.ndarray]:
        values = [A0.clone(), B0.clone()] if factors else [W0.clone()]
        for value in values:
            value.requires_grad_(True)
        weight = W0 + values[1] @ values[0] if factors else values[0]
        ((x[rows] @ weight.T - y[rows]) ** 2).sum(1).mean().backward()  # type: ignore[no-untyped-call]
        return [(v - rate * v.grad).detach().numpy() for v in values]  # type: ignore[operator]

    shares = [n / 10 for n in counts]
    edges = np.cumsum([0, *counts])
    residuals = []
    for rate in (1e-2, 1e-3):
        own = [step(slice(a, b), rate) for a, b in itertools.pairwise(edges)]
        central = step(slice(0, 10), rate)
        for part, wanted in enumerate(central):
            mean = sum(p * each[part] for p, each in zip(shares, own, strict=True))
            assert np.abs(mean - wanted).max() < 1e-10
        if factors:
            found = combine([Pair(*each) for each in own], shares)
            residuals.append(np.linalg.norm(found.L @ found.R))
    if factors:
        assert residuals[0] / residuals[1] == pytest.approx(100, rel=0.05)
