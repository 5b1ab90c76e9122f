"""Federated diffusion from scratch: whole weights, as Tun et al. and Phoenix train them.

Real handwritten digits are shared out among N participants by Dirichlet(β) over their classes; ten
of them take part in a round and train for E passes over their own; the server's part is FedAvg of
all weights with a moving average (Tun et al., arXiv 2311.16538). Phoenix (arXiv 2306.04098) adds a
small set of pictures that everybody has, and leaves out participants that disagree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from fedtui.experiment.federation import HELD_OUT, Participant, Recipe, Trained, combine, train
from fedtui.experiment.lab import Lab
from fedtui.experiment.rows import Row
from fedtui.paths import sha256_of
from trainer.protocol import (
    AdapterSpec,
    DigitData,
    Evaluate,
    ExportWhole,
    Generate,
    InitWhole,
    JudgeDigits,
    MeasureSet,
    NewModel,
    RuleSpec,
)

SIDE = 8
"""Pixels a side: the digits' own."""
MODE = "dense"
DRAW_BATCH = 50
DIGITS, SHARED_PART = 1433, 0.1
"""Those that are not held out, and how many of them a shared set has."""
COST_OF_MEASURING = 70.0
"""In training steps; measured, with 200 drawings."""
CENTRALISED = "centralised"
STEPS = "training steps"
"""Of all participants together, up to a round."""
LEFT_OUT = "left out"
"""Contributions that the threshold filter left out, up to a round."""


@dataclass(frozen=True)
class Setting:
    """One federation. ``shared`` is the part of the common tenth that everybody adds to its own;
    ``threshold`` the least agreement (a cosine) with the others, None for no filter."""

    participants: int = 10
    per_round: int = 10
    epochs: int = 5
    beta: float = 0.5
    shared: float = 0.0
    threshold: float | None = None

    @property
    def label(self) -> str:
        parts = [f"N={self.participants}", f"E={self.epochs}", f"beta={self.beta:g}"]
        if self.shared:
            parts.append(f"shared={self.shared:g}")
        if self.threshold is not None:
            parts.append(f"threshold={self.threshold:g}")
        return " ".join(parts)


@dataclass(frozen=True)
class Options:
    """What to run and how to measure it: ``pictures`` are drawn after every ``measure_every``-th
    round and the last."""

    rounds: int = 20
    batch: int = 32
    learning_rate: float = 1e-3
    ema: float = 0.5
    pictures: int = 200
    sampling_steps: int = 25
    measure_every: int = 5
    settings: tuple[Setting, ...] = field(default_factory=lambda: grid())


def grid() -> tuple[Setting, ...]:
    """One factor at a time around N = 10, E = 5, β = 0.5; then Phoenix's options at β = 0.1."""
    middle, uneven = Setting(), Setting(beta=0.1)
    return (
        middle,
        replace(middle, epochs=1),
        replace(middle, epochs=10),
        replace(middle, participants=30),
        replace(middle, participants=50),
        uneven,
        replace(middle, beta=5.0),
        replace(uneven, shared=1.0),
        replace(uneven, threshold=0.2),
        replace(uneven, shared=1.0, threshold=0.2),
    )


@dataclass(frozen=True)
class Measured:
    """One federation of one seed: its rows, the last pictures drawn, and the last weights' hash."""

    label: str
    seed: int
    rows: tuple[Row, ...]
    drawn: Path
    weights_sha256: str
    extractor: Mapping[str, Any]


async def run(lab: Lab, options: Options, setting: Setting, seed: int) -> Measured:
    """One federation, measured. Raises :class:`FedtuiError` when a step fails."""
    model, holdout = await _ground(lab, seed)
    participants = await _participants(lab, setting, seed)
    recipe = _recipe(options, setting, model, seed)
    state = await lab.make("the first weights", InitWhole(str(model), ""))
    subject = _Subject(setting.label, model, holdout, seed)
    parts: list[Measured] = []
    steps = left_out = 0
    for number in range(1, options.rounds + 1):
        chosen = _chosen(participants, setting.per_round, seed, number)
        with lab.part(_cost_of_round(options, setting)):
            own = await asyncio.gather(
                *(_train(lab, recipe, setting, who, state, number) for who in chosen)
            )
            done = await combine(lab, recipe, number, state, chosen, own)
        state = done.state
        steps += sum(_steps(recipe, setting, who) for who in chosen)
        left_out += sum(bool(who["excluded"]) for who in done.statistics["participants"])
        if number % options.measure_every == 0 or number == options.rounds:
            counted = {STEPS: steps, LEFT_OUT: left_out}
            with lab.part(COST_OF_MEASURING):
                parts.append(await _measure(lab, options, subject, state, number, counted))
    return replace(parts[-1], rows=tuple(row for part in parts for row in part.rows))


async def centralised(lab: Lab, options: Options, setting: Setting, seed: int) -> Measured:
    """All digits in one place, for as many steps as the participants of ``setting`` together.

    There are no rounds and so no moving average over them.
    """
    model, holdout = await _ground(lab, seed)
    everybody = (await _participants(lab, Setting(participants=1, per_round=1), seed))[0]
    participants = await _participants(lab, setting, seed)
    recipe = _recipe(options, setting, model, seed)
    steps = sum(
        _steps(recipe, setting, who)
        for number in range(1, options.rounds + 1)
        for who in _chosen(participants, setting.per_round, seed, number)
    )
    first = await lab.make("the first weights", InitWhole(str(model), ""))
    with lab.part(options.rounds * _cost_of_round(options, setting)):
        trained = await train(lab, "training in one place", recipe, everybody, first, steps=steps)
    subject = _Subject(CENTRALISED, model, holdout, seed)
    with lab.part(COST_OF_MEASURING):
        return await _measure(lab, options, subject, trained.path, options.rounds, {STEPS: steps})


def cost(options: Options) -> float:
    """Of one seed with all settings and :func:`centralised`, in training steps."""
    trained = [options.rounds * _cost_of_round(options, each) for each in options.settings]
    measured = len(options.settings) * -(-options.rounds // options.measure_every) + 1
    return sum(trained) + trained[0] + measured * COST_OF_MEASURING


def _cost_of_round(options: Options, setting: Setting) -> float:
    """About: who got few digits or none is not known beforehand."""
    part = 1.0 / setting.participants + setting.shared * SHARED_PART
    people = min(setting.participants, setting.per_round)
    return setting.epochs * people * part * DIGITS / options.batch


async def _ground(lab: Lab, seed: int) -> tuple[Path, Path]:
    model = await lab.make("a model that knows nothing", NewModel("", SIDE, seed), suffix="")
    holdout = await lab.make("the held-out digits", DigitData("", HELD_OUT), suffix="")
    return model, holdout


async def _participants(lab: Lab, setting: Setting, seed: int) -> tuple[Participant, ...]:
    """Those that got any digits at all."""
    found = []
    for index in range(setting.participants):
        request = DigitData("", index, setting.participants, setting.beta, setting.shared, seed)
        folder, result = await lab.result("sharing out digits", request, suffix="")
        if result["written"]:
            found.append(Participant(f"participant-{index + 1:02d}", folder, result["written"]))
    return tuple(found)


def _recipe(options: Options, setting: Setting, model: Path, seed: int) -> Recipe:
    rule = RuleSpec(cap_milli=0, ema_milli=round(options.ema * 1000))
    if setting.threshold is not None:
        rule = replace(rule, name="threshold", threshold_milli=round(setting.threshold * 1000))
    return Recipe(
        model=str(model),
        spec=AdapterSpec(),
        steps=0,
        batch=options.batch,
        learning_rate=options.learning_rate,
        seed=seed,
        algorithm=MODE,
        rounds=options.rounds,
        rule=rule,
    )


def _chosen(
    participants: Sequence[Participant], count: int, seed: int, number: int
) -> list[Participant]:
    """Who takes part in a round: the same for the same seed."""
    draw = Random(f"{seed}/round/{number}")
    ranked = sorted(participants, key=lambda who: (draw.random(), who.node))
    return sorted(ranked[:count], key=lambda who: who.node)


def _steps(recipe: Recipe, setting: Setting, who: Participant) -> int:
    """Of E passes over a participant's pictures."""
    return max(1, round(setting.epochs * who.samples / recipe.batch))


async def _train(
    lab: Lab, recipe: Recipe, setting: Setting, who: Participant, state: Path, number: int
) -> Trained:
    steps = _steps(recipe, setting, who)
    what = f"round {number}: training"
    return await train(lab, what, recipe, who, state, steps=steps, round_number=number)


@dataclass(frozen=True)
class _Subject:
    """What is measured, with which seed and against which digits."""

    label: str
    model: Path
    holdout: Path
    seed: int


async def _measure(
    lab: Lab,
    options: Options,
    subject: _Subject,
    weights: Path,
    number: int,
    counted: Mapping[str, int],
) -> Measured:
    """Loss and drawings of weights after a round; ``counted`` values become rows as they are."""
    export = ExportWhole(str(subject.model), str(weights), "")
    folder = await lab.make("the model of the round", export, suffix="")
    request = Generate(
        model=str(folder),
        prompts=("",),
        seeds=tuple(range(options.pictures)),
        out="",
        steps=options.sampling_steps,
        guidance=0.0,
        batch=DRAW_BATCH,
    )
    drawn = await lab.make(f"round {number}: drawing", request, suffix="")
    holdout, seed = str(subject.holdout), subject.seed
    loss, digits, sets = await asyncio.gather(
        lab.ask("measuring the loss", Evaluate(str(folder), holdout, ("",), draws=4, seed=seed)),
        lab.ask("reading the digits", JudgeDigits(str(drawn))),
        lab.ask(
            "measuring pictures",
            MeasureSet(str(drawn), holdout, "pixels", resamples=500, seed=seed),
        ),
    )
    row = Row(seed, subject.label, "", number, "loss", float(loss["losses"][""]))
    rows = (
        replace(row, n=loss["pictures"]),
        replace(row, metric="kid", n=options.pictures, **sets["kid"]),
        *(
            replace(row, metric=metric, value=float(value), n=options.pictures)
            for metric, value in (
                ("class coverage", digits["coverage"]),
                ("class entropy", digits["entropy"]),
                ("judge's accuracy", digits["accuracy"]),
                ("precision", sets["precision"]),
                ("recall", sets["recall"]),
                ("coverage", sets["coverage"]),
            )
        ),
        *(replace(row, metric=name, value=float(count)) for name, count in counted.items()),
    )
    return Measured(subject.label, seed, rows, drawn, sha256_of(weights), sets["extractor"])
