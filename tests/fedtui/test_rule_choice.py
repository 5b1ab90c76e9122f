"""The numbers of rules: typed as people write them, signed as whole numbers, shown as typed."""

from __future__ import annotations

import pytest

from fedtui.errors import UsageError
from fedtui.rule_choice import OPTIONS, RuleChoice, chosen_rule, with_options, written_options
from fedtui.task import PreviewTask, RuleTask, Task
from fedtui.tui.people import policy_lines
from fedtui.view import NodeView

KNOWN = {
    "algorithms": ["fedex", "dense"],
    "rules": ["n_k", "clip", "rfa", "centered_clip", "multi_krum", "threshold", "fedbuff"],
}


def task_of(rule: RuleTask, proximal: int = 0) -> Task:
    preview = PreviewTask(prompts=["x"])
    return Task(model="m", model_sha256="0" * 64, rule=rule, steps=1, preview=preview,
                proximal_micro=proximal)  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "rule", "typed", "field", "signed"),
    [
        ("fedex", "n_k", "cap=1.5", "cap_milli", 1500),
        ("fedex", "clip", "clip=0.25", "clip_milli", 250),
        ("fedex", "centered_clip", "clip=3", "clip_milli", 3000),
        ("fedex", "centered_clip", "passes=5", "clipping_steps", 5),
        ("fedex", "multi_krum", "byzantine=2", "byzantine", 2),
        ("fedex", "rfa", "iterations=50", "weiszfeld_steps", 50),
        ("fedex", "threshold", "threshold=-0.2", "threshold_milli", -200),
        ("fedex", "fedbuff", "staleness=7", "max_staleness", 7),
        ("dense", "rfa", "ema=0.9", "ema_milli", 900),
        ("dense", "n_k", "outer_rate=0.7", "outer_rate_milli", 700),
        ("dense", "n_k", "momentum=0.9", "outer_momentum_milli", 900),
    ],
)
def test_every_number_is_signed_as_typed_and_shown_as_typed(
    algorithm: str, rule: str, typed: str, field: str, signed: int
) -> None:
    found = with_options(algorithm, RuleChoice(rule, options=(typed,)))
    assert getattr(found, field) == signed
    plan = task_of(found).to_plan()
    assert plan["rule"][field] == signed
    assert typed in written_options(algorithm, Task.model_validate(plan))


@pytest.mark.parametrize(
    ("algorithm", "rule", "typed", "said"),
    [
        ("fedex", "clip", "clip", "sets nothing"),
        ("fedex", "clip", "clipp=2", "did you mean clip"),
        ("fedex", "clip", "clip=loud", "no number"),
        ("fedex", "clip", "clip=nan", "0.001 to 1000 are possible"),
        ("fedex", "clip", "clip=0", "0.001 to 1000 are possible"),
        ("fedex", "clip", "clip=1.2345", "three decimals"),
        ("fedex", "rfa", "iterations=2.5", "whole numbers"),
        ("fedex", "rfa", "iterations=0", "1 to 10000 are possible"),
        ("fedex", "n_k", "threshold=0.1", "belongs to the rule threshold"),
        ("fedex", "n_k", "momentum=0.9", "belongs to the algorithm dense"),
        ("fedex", "rfa", "cap=2", "set iterations"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(
    algorithm: str, rule: str, typed: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        with_options(algorithm, RuleChoice(rule, options=(typed,)))
    assert said in caught.value.render()


def test_a_number_cannot_be_said_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        with_options("fedex", RuleChoice("clip", options=("clip=1", "clip=2")))


def test_names_are_checked_before_numbers_and_members_after() -> None:
    with pytest.raises(UsageError, match="no rule 'loudest'"):
        chosen_rule(KNOWN, "fedex", RuleChoice("loudest", options=("x=1",)), 3)
    with pytest.raises(UsageError, match="too few"):
        chosen_rule(KNOWN, "fedex", RuleChoice("multi_krum", options=("byzantine=2",)), 6)
    assert chosen_rule(KNOWN, "fedex", RuleChoice("multi_krum", ("byzantine=2",)), 7).byzantine == 2


def test_a_plan_without_the_later_numbers_keeps_its_bytes() -> None:
    """Rooms of before stay the same rooms, and members with that version follow new ones."""
    assert task_of(RuleTask()).to_plan()["rule"] == {
        "name": "n_k", "cap_milli": 2000, "clip_milli": 2000, "byzantine": 1,
        "threshold_milli": 0, "max_staleness": 4, "ema_milli": 0, "outer_rate_milli": 1000,
        "outer_momentum_milli": 0,
    }  # fmt: skip
    assert "shared" not in task_of(RuleTask()).to_plan()
    assert RuleTask().spec == RuleTask(weiszfeld_steps=200, clipping_steps=3).spec


def test_the_room_shows_the_numbers_that_count() -> None:
    rule = with_options("dense", RuleChoice("clip", options=("clip=1.5", "momentum=0.9")))
    told = written_options("dense", task_of(rule, proximal=10_000))
    assert told == ("cap=2", "clip=1.5", "ema=0", "outer_rate=1", "momentum=0.9", "proximal=0.01")
    view = NodeView(algorithm="dense", rule="clip", rule_options=told)
    assert view.combines_by.startswith("dense, weights by clip (cap=2, clip=1.5, ema=0")
    words = " ".join("".join(text for text, _ in line) for line in policy_lines(view, 60))
    assert "clip=1.5" in words
    assert "proximal=0.01" in words
    assert NodeView(algorithm="fedex").combines_by == "fedex"


def test_every_option_has_bounds_and_a_place() -> None:
    for option in OPTIONS:
        low, high = option.bounds
        assert low < high
        assert option.where
