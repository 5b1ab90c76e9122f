"""Settings compared seed by seed, and what a report may say of a paper's claims."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedtui.cli import experiment as command
from fedtui.experiment import ddpm, ddpm_claims, ddpm_report, paired
from fedtui.experiment.ddpm import LEFT_OUT, STEPS, Setting
from fedtui.experiment.ddpm_claims import Answer
from fedtui.experiment.paired import Verdict
from fedtui.experiment.rows import Row

SEEDS = (1, 2, 3, 4, 5)
ROUNDS = 10


def rows_of(
    settings: tuple[Setting, ...], values: dict[str, Callable[[Setting, int], float]]
) -> list[Row]:
    return [
        Row(seed, setting.label, "", ROUNDS, metric, value(setting, seed))
        for setting in settings
        for seed in SEEDS
        for metric, value in values.items()
    ]


def answered(about: str, answers: list[Answer]) -> Answer:
    [found] = [answer for answer in answers if about in answer.claim.text]
    return found


@pytest.mark.parametrize("count", [2, 5, 12, 31, 40])
def test_the_interval_is_student_s(count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    before = {seed: 0.5 + seed / 10 for seed in range(count)}
    after = {seed: value + 0.01 * (seed % 3) for seed, value in before.items()}
    found = paired.change(before, after)
    assert found is not None
    gaps = [after[seed] - before[seed] for seed in before]
    expected = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    wider = 1.0 if count <= 31 else stats.t.ppf(0.975, 30) / stats.t.ppf(0.975, count - 1)
    half = (expected.high - expected.low) / 2 * wider
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-3)
    assert found.difference.mean == pytest.approx(sum(gaps) / count)


def test_a_difference_within_seeds_is_seen_through_the_spread_between_them() -> None:
    """Compared arm by arm, two spreads of 0.16 would hide a difference of 0.01."""
    before = {seed: float(seed) / 10 for seed in SEEDS}
    after = {seed: value - 0.01 - 0.001 * (seed % 2) for seed, value in before.items()}
    found = paired.change(before, after)
    assert found is not None
    assert found.before.deviation > 10 * abs(found.difference.mean)
    assert found.verdict(wanted_up=False) is Verdict.HOLDS
    assert found.verdict(wanted_up=True) is Verdict.OPPOSITE
    assert found.as_wanted(False) == "5 of 5"


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ((0.0,) * 5, Verdict.SAME),
        ((1e-17,) * 5, Verdict.SAME),
        ((0.1, 0.1), Verdict.FEW),
        ((0.1, -0.1, 0.1, -0.1, 0.05), Verdict.OPEN),
        ((0.1, 0.11, 0.12), Verdict.HOLDS),
        ((-0.1, -0.11, -0.12), Verdict.OPPOSITE),
    ],
)
def test_verdicts(gaps: tuple[float, ...], verdict: Verdict) -> None:
    before = dict.fromkeys(range(len(gaps)), 0.7)
    found = paired.change(before, {seed: 0.7 + gap for seed, gap in enumerate(gaps)})
    assert found is not None
    assert found.verdict(wanted_up=True) is verdict


def test_only_seeds_that_both_have_are_compared() -> None:
    found = paired.change({1: 1.0, 2: 2.0}, {2: 3.0, 3: 9.0})
    assert found is not None
    assert (found.before.mean, found.after.mean, found.difference.n) == (2.0, 3.0, 1)
    assert paired.change({1: 1.0}, {2: 1.0}) is None


def test_a_trend_that_holds_and_one_that_does_not() -> None:
    """Loss falls with the passes; with more participants it falls too, against the claim."""
    settings = ddpm.grid()
    rows = rows_of(
        settings,
        {
            "loss": lambda s, seed: 0.2 + 0.1 / s.epochs - s.participants / 500 + seed / 50,
            "kid": lambda s, seed: 0.02 + seed / 100 * (-1) ** seed * s.epochs,
        },
    )
    found = ddpm_claims.answers(rows, settings, ROUNDS)
    epochs = answered("local epochs", found)
    assert epochs.in_short == "by loss holds; by kid cannot be told apart."
    assert "E=1 → E=10 (N=10 beta=0.5): loss 0.34 → 0.25" in epochs.sentences[0]
    assert "lower in 5 of 5 seeds: holds." in epochs.sentences[0]
    assert len([c for c in epochs.comparisons if c.metric == "loss"]) == 3
    many = answered("More participants", found)
    assert many.in_short.startswith("by loss the opposite holds; by kid no difference")


def test_a_coverage_at_its_ceiling_is_told_as_no_difference_and_idle_filters_are_named() -> None:
    settings = ddpm.grid()
    rows = rows_of(
        settings,
        {
            "class coverage": lambda s, seed: 1.0,
            "class entropy": lambda s, seed: 0.9 + 0.01 * seed + (0.05 if s.shared else 0.0),
            STEPS: lambda s, seed: 1000.0 * (2 if s.shared else 1),
            LEFT_OUT: lambda s, seed: 3.0 if s.threshold and s.shared else 0.0,
        },
    )
    phoenix = answered("Phoenix", ddpm_claims.answers(rows, settings, ROUNDS))
    assert phoenix.in_short == (
        "by class coverage no difference in any seed; by class entropy holds in 2 of 3 "
        "comparisons, no difference in any seed in 1."
    )
    text = " ".join(phoenix.sentences)
    assert "length of training" in text
    assert "shared=1 2000" in text
    assert "N=10 E=5 beta=0.1 threshold=0.2 left out 0 contributions a seed, so it changed" in text
    assert "shared=1 threshold=0.2 left out 3 contributions a seed." in text


def test_personal_layers_answer_a_claim_of_their_own() -> None:
    plain, shared = Setting(beta=0.1), Setting(beta=0.1, shared=1.0)
    own = Setting(beta=0.1, personal=("conv_in",))
    settings = (plain, shared, own)
    coverage = {plain: 0.5, shared: 0.8, own: 0.6}
    rows = rows_of(settings, {"class coverage": lambda s, seed: coverage[s] + seed / 100})
    found = ddpm_claims.answers(rows, settings, ROUNDS)
    sharing, keeping = answered("shared set", found), answered("Personal layers", found)
    assert [each.better for each in sharing.comparisons] == [shared]
    assert [each.better for each in keeping.comparisons] == [own]
    assert "without → personal=conv_in (N=10 E=5 beta=0.1)" in keeping.sentences[0]


def test_a_plot_has_its_lines_in_the_same_order_every_time() -> None:
    """Two options of equal worth: the order of a set is another in every process."""
    plain = Setting(beta=0.1)
    settings = (plain, *(replace(plain, threshold=part / 10) for part in range(8)))
    rows = rows_of(settings, {"class entropy": lambda s, seed: 0.5 + seed / 100})
    phoenix = answered("shared set", ddpm_claims.answers(rows, settings, ROUNDS))
    assert ddpm_report._settings(phoenix.claim, phoenix) == list(settings)


def test_a_run_without_new_options_is_told_as_ever() -> None:
    told = ddpm_report._told(ddpm.Options())
    assert "data" not in told
    assert told["settings"][0].keys() == {
        "participants", "per_round", "epochs", "beta", "shared", "threshold",
    }  # fmt: skip


def test_any_settings_answer_what_they_can() -> None:
    """Not only the papers': a user's own, and nothing is said of claims without a pair."""
    settings = (Setting(3, 10, 1, 0.5), Setting(3, 10, 2, 0.5))
    rows = rows_of(settings, {"loss": lambda s, seed: 1.0 / s.epochs + seed / 1000})
    [only] = ddpm_claims.answers(rows, settings, ROUNDS)
    assert "local epochs" in only.claim.text
    header, lines = ddpm_report.comparisons(only)
    assert len(header) == len(lines[0])
    assert "-0.5000 ± 0.0000" in lines[0]


def test_one_seed_proves_nothing() -> None:
    settings = (Setting(epochs=1), Setting(epochs=10))
    rows = [row for row in rows_of(settings, {"loss": lambda s, _: 1.0 / s.epochs}) if row.seed < 2]
    [only] = ddpm_claims.answers(rows, settings, ROUNDS)
    assert only.in_short == "by loss too few seeds to tell; by kid not measured."
    assert "interval" not in only.sentences[0]


def test_the_command_of_a_report_says_what_decides_its_numbers_and_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = "x experiment fedflow --seeds 5 --dir /home/me/lab --report=/tmp/r --workers 2 --json"
    monkeypatch.setattr(sys, "argv", [*typed.split(), "--data", "/home/me/cats", "--model=/m/sd"])
    said = command._command()
    assert said == "fedtui experiment fedflow --seeds 5 --data cats --model=sd"
