"""Small runs of every experiment with the real trainer, and what they must agree on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedtui.errors import FedtuiError
from fedtui.experiment import compare, compare_report, ddpm, ddpm_report, fedflow, fedflow_report
from fedtui.experiment.lab import Lab
from fedtui.experiment.room import node_names
from fedtui.experiment.rows import select

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TINY = replace(
    fedflow.default_options("", 2),
    counts=(3, 4),
    rounds=2,
    steps=2,
    batch=2,
    holdout=6,
    draws=2,
    pictures=6,
    sampling_steps=2,
)


async def test_fedflow_measures_every_arm_and_repeats_to_the_byte(tmp_path: Path) -> None:
    nodes = node_names(1, 2)
    async with Lab(tmp_path / "lab", workers=2) as lab:
        lab.forecast.expect(fedflow.cost(TINY))
        first = await fedflow.run(lab, TINY, 1, nodes)
        assert lab.forecast.share == pytest.approx(1.0)
        page = await fedflow_report.write(lab, TINY, [first], "fedtui", tmp_path / "one")
        made = lab.made
        again = await fedflow.run(lab, TINY, 1, nodes)
        await fedflow_report.write(lab, TINY, [again], "fedtui", tmp_path / "two")
        assert lab.made == made
    assert {row.arm for row in first.rows} == {
        "base", "room", "own", "alone", "centralised", "centralised short",
    }  # fmt: skip
    assert [row.round for row in select(first.rows, metric="loss", arm="room")] == [1, 2]
    assert len(select(first.rows, metric="loss", arm="own")) == 4
    assert select(first.rows, metric="kid", arm="room")
    assert select(first.rows, metric="residual share", arm="room")
    results = [(tmp_path / name / "results.json").read_bytes() for name in ("one", "two")]
    assert results[0] == results[1]
    text = page.read_text(encoding="utf-8")
    assert "data:image/png" in text
    assert str(tmp_path) not in text
    facts = json.loads(results[0])["facts"]
    assert facts["extractor"]["sha256"][:16] in text
    assert facts["extractor"].keys() >= {"name", "side", "resize", "value_range"}
    assert facts["pictures"] == {"pictures": 6, "reference": 24}
    assert facts["judge's accuracy"]["style"] > 0.9
    assert len(facts["base model"]["sha256"]) == 64
    assert first.adapter_sha256 in text


async def test_one_worker_and_two_end_in_the_same_adapter(tmp_path: Path) -> None:
    bare = replace(TINY, pictures=0, rounds=1)
    hashes = []
    for workers in (1, 2):
        async with Lab(tmp_path / str(workers), workers=workers) as lab:
            hashes.append((await fedflow.run(lab, bare, 1, node_names(1, 2))).adapter_sha256)
    assert hashes[0] == hashes[1]


SHORT = {"rounds": 1, "steps": 2, "rank": 2, "holdout": 6, "draws": 2}


async def test_an_attacker_hurts_the_mean_more_than_the_median_and_a_backdoor_is_measured(
    tmp_path: Path,
) -> None:
    sweep = compare.parse(
        SHORT | {"rule": ["n_k", "rfa"], "attack": ["none", "scale"], "factor": 200}, "test"
    )
    backdoor = compare.parse(SHORT | {"attack": ["none", "backdoor"], "factor": 5}, "test")
    async with Lab(tmp_path / "lab", workers=2) as lab:
        rows = await compare.run(lab, sweep, {1: node_names(1, 5)})
        assert lab.forecast.share == pytest.approx(1.0)
        poisoned = await compare.run(lab, backdoor, {1: node_names(1, 5)})
    loss = {row.arm: row.value for row in select(rows, metric="loss")}
    honest = loss["rule=n_k attack=none"]
    assert loss["rule=n_k attack=scale"] > 1.05 * honest
    assert loss["rule=rfa attack=scale"] < 1.05 * honest
    learnt = {row.arm: row.value for row in select(poisoned, metric=compare.BACKDOOR_LOSS)}
    assert learnt.keys() == {"attack=none", "attack=backdoor"}
    assert learnt["attack=backdoor"] != learnt["attack=none"]
    header, lines = compare_report.final_table(backdoor, poisoned)
    assert header[-3:] == ["held-out loss", compare.BACKDOOR_LOSS, "seeds"]
    assert len(lines) == 2


async def test_digits_are_learnt_by_a_federation_of_whole_weights(tmp_path: Path) -> None:
    setting = ddpm.Setting(participants=30, per_round=2, epochs=1)
    options = ddpm.Options(
        rounds=2, batch=8, pictures=10, sampling_steps=2, measure_every=1, settings=(setting,)
    )
    async with Lab(tmp_path / "lab", workers=2) as lab:
        lab.forecast.expect(ddpm.cost(options))
        measured = await ddpm.run(lab, options, setting, 1)
        together = await ddpm.centralised(lab, options, setting, 1)
        assert lab.forecast.share == pytest.approx(1.0)
        page = await ddpm_report.write(
            lab, options, [measured, together], "fedtui", tmp_path / "report"
        )
    losses = select(measured.rows, metric="loss")
    assert [row.round for row in losses] == [1, 2]
    assert losses[1].value < losses[0].value
    trained = select(measured.rows, metric=ddpm.STEPS, round_number=2)[0].value
    # Two of thirty take part in a round: one place trains as long as those, not as all thirty.
    assert select(together.rows, metric=ddpm.STEPS)[0].value == trained
    assert str(tmp_path) not in page.read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "report" / "results.json").read_text())["facts"]
    assert len(facts["weights"][setting.label]["1"]) == 64
    assert facts["extractor"]["name"] == "pixels"


async def test_personal_layers_stay_at_home_and_everybody_draws(tmp_path: Path) -> None:
    """Landscapes, two participants: the room's own copy of what is personal never moves."""
    words = ("conv_in", "conv_out")
    setting = ddpm.Setting(participants=2, per_round=2, epochs=1, beta=5.0, personal=words)
    options = ddpm.Options(
        rounds=2, batch=200, pictures=10, sampling_steps=2, measure_every=2, settings=(setting,),
        data="landscapes",
    )  # fmt: skip
    async with Lab(tmp_path / "lab", workers=1) as lab:
        await ddpm.check(lab, options, 1)
        measured = await ddpm.run(lab, options, setting, 1)
        page = await ddpm_report.write(lab, options, [measured], "fedtui", tmp_path / "report")
        wrong = replace(options, settings=(replace(setting, personal=("conv_inn",)),))
        with pytest.raises(FedtuiError, match="No layer would stay personal"):
            await ddpm.check(lab, wrong, 1)
    [first] = (tmp_path / "lab").glob("init_whole-*")
    states = sorted((tmp_path / "lab").glob("combine-*"))
    assert len(states) == 2
    start = load_file(first)
    for state in states:
        reached = load_file(state)
        same = {name for name in start if np.array_equal(start[name], reached[name])}
        assert same == {name for name in start if any(word in name for word in words)}
    # A second round's training began at the room's weights with the participant's own layers.
    trained = [load_file(path) for path in (tmp_path / "lab").glob("train-*")]
    assert len(trained) == 4
    assert len({each["conv_in.weight"].tobytes() for each in trained}) == 4
    assert len(list(measured.drawn.glob("*.png"))) == 10
    assert {path.name[:3] for path in measured.drawn.glob("*.png")} == {"00-", "01-"}
    assert select(measured.rows, metric="judge's accuracy")[0].value > 0.97
    assert setting.label.endswith("personal=conv_in+conv_out")
    text = page.read_text(encoding="utf-8")
    assert "everybody who has trained draws an equal part" in text
    assert "Generated landscapes (16 x 16 pixels" in text
    told = json.loads((tmp_path / "report" / "results.json").read_text())["options"]
    assert told["data"] == "landscapes"
    assert told["settings"][0]["personal"] == list(words)
