"""Federated diffusion from scratch: whole weights, as Tun et al. and Phoenix train them.

Pictures are shared out among N participants by Dirichlet(β) over their classes; ten of them take
part in a round and train for E passes over their own; the server's part is FedAvg of all weights
with a moving average (Tun et al., arXiv 2311.16538). Phoenix (arXiv 2306.04098) adds a small set of
pictures that everybody has, layers that stay with their participant, and leaves out participants
that disagree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from fedtui.experiment.ddpm_data import DATA, DIGITS, Data
from fedtui.experiment.ddpm_homes import Homes
from fedtui.experiment.federation import Participant, Recipe, Trained, combine, train
from fedtui.experiment.lab import Lab
from fedtui.experiment.rows import Row
from fedtui.paths import sha256_of
from trainer.protocol import (
    AdapterSpec,
    Evaluate,
    ExportWhole,
    GatherPictures,
    Generate,
    InitWhole,
    MeasureSet,
    NewModel,
    RuleSpec,
)

MODE = "dense"
DRAW_BATCH = 50
SHARED_PART = 0.1
"""Of the pictures that are not held out, how many a shared set has."""
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
    ``threshold`` the least agreement (a cosine) with the others, None for no filter. Weights whose
    names contain a word of ``personal`` never leave their participant."""

    participants: int = 10
    per_round: int = 10
    epochs: int = 5
    beta: float = 0.5
    shared: float = 0.0
    threshold: float | None = None
    personal: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        parts = [f"N={self.participants}", f"E={self.epochs}", f"beta={self.beta:g}"]
        if self.shared:
            parts.append(f"shared={self.shared:g}")
        if self.threshold is not None:
            parts.append(f"threshold={self.threshold:g}")
        if self.personal:
            parts.append(f"personal={'+'.join(self.personal)}")
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
    data: str = DIGITS.name

    @property
    def ground(self) -> Data:
        """What is trained on."""
        return DATA[self.data]


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
    model, holdout = await _ground(lab, options.ground, seed)
    participants = await _participants(lab, options.ground, setting, seed)
    recipe = _recipe(options, setting, model, seed)
    state = await lab.make("the first weights", InitWhole(str(model), ""))
    homes = Homes(setting.personal, state)
    subject = _Subject(setting.label, model, holdout, seed)
    parts: list[Measured] = []
    steps = left_out = 0
    for number in range(1, options.rounds + 1):
        chosen = _chosen(participants, setting.per_round, seed, number)
        with lab.part(_cost_of_round(options, setting)):
            own = await asyncio.gather(
                *(_train(lab, recipe, setting, who, state, homes, number) for who in chosen)
            )
            done = await combine(lab, recipe, number, state, chosen, own)
        state = done.state
        steps += sum(_steps(recipe, setting, who) for who in chosen)
        left_out += sum(bool(who["excluded"]) for who in done.statistics["participants"])
        if number % options.measure_every == 0 or number == options.rounds:
            counted = {STEPS: steps, LEFT_OUT: left_out}
            with lab.part(COST_OF_MEASURING):
                drawers = await homes.everybody(lab, state)
                parts.append(await _measure(lab, options, subject, state, drawers, number, counted))
    return replace(parts[-1], rows=tuple(row for part in parts for row in part.rows))


async def check(lab: Lab, options: Options, seed: int) -> None:
    """Raises :class:`FedtuiError` when the words of a setting keep no layer personal, or all."""
    model, _ = await _ground(lab, options.ground, seed)
    first = await lab.make("the first weights", InitWhole(str(model), ""))
    for setting in options.settings:
        await Homes(setting.personal, first).start(lab, "", first)


async def centralised(lab: Lab, options: Options, setting: Setting, seed: int) -> Measured:
    """All pictures in one place, for as many steps as the participants of ``setting`` together.

    There are no rounds and so no moving average over them.
    """
    model, holdout = await _ground(lab, options.ground, seed)
    alone = Setting(participants=1, per_round=1)
    everybody = (await _participants(lab, options.ground, alone, seed))[0]
    participants = await _participants(lab, options.ground, setting, seed)
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
        weights = trained.path
        return await _measure(
            lab, options, subject, weights, (weights,), options.rounds, {STEPS: steps}
        )


def cost(options: Options) -> float:
    """Of one seed with all settings and :func:`centralised`, in training steps."""
    trained = [options.rounds * _cost_of_round(options, each) for each in options.settings]
    measured = len(options.settings) * -(-options.rounds // options.measure_every) + 1
    return sum(trained) + trained[0] + measured * COST_OF_MEASURING


def _cost_of_round(options: Options, setting: Setting) -> float:
    """About: who got few pictures or none is not known beforehand."""
    part = 1.0 / setting.participants + setting.shared * SHARED_PART
    people = min(setting.participants, setting.per_round)
    return setting.epochs * people * part * options.ground.pictures / options.batch


async def _ground(lab: Lab, data: Data, seed: int) -> tuple[Path, Path]:
    request = NewModel("", data.side, seed)
    model = await lab.make("a model that knows nothing", request, suffix="")
    holdout = await lab.make(f"the held-out {data.name}", data.held_out(), suffix="")
    return model, holdout


async def _participants(
    lab: Lab, data: Data, setting: Setting, seed: int
) -> tuple[Participant, ...]:
    """Those that got any pictures at all."""
    found = []
    for index in range(setting.participants):
        request = data.share(index, setting.participants, setting.beta, setting.shared, seed)
        folder, result = await lab.result(f"sharing out {data.name}", request, suffix="")
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
    lab: Lab,
    recipe: Recipe,
    setting: Setting,
    who: Participant,
    state: Path,
    homes: Homes,
    number: int,
) -> Trained:
    """A participant's contribution to a round: what it trained, but for what stays with it."""
    steps = _steps(recipe, setting, who)
    what = f"round {number}: training"
    start = await homes.start(lab, who.node, state)
    trained = await train(lab, what, recipe, who, start, steps=steps, round_number=number)
    return replace(trained, path=await homes.leave(lab, who.node, trained.path, state))


@dataclass(frozen=True)
class _Subject:
    """What is measured, with which seed and against which pictures."""

    label: str
    model: Path
    holdout: Path
    seed: int


async def _measure(
    lab: Lab,
    options: Options,
    subject: _Subject,
    weights: Path,
    drawers: Sequence[Path],
    number: int,
    counted: Mapping[str, int],
) -> Measured:
    """Loss and drawings of weights after a round; ``counted`` values become rows as they are.

    With personal layers there is no one model: the loss is the mean over the models of ``drawers``,
    which draw the pictures in equal parts.
    """
    models = await asyncio.gather(*(_model(lab, subject, each) for each in drawers))
    drawn = await _drawn(lab, options, models, number)
    data, holdout, seed = options.ground, str(subject.holdout), subject.seed
    *losses, classes, sets = await asyncio.gather(
        *(
            lab.ask("measuring the loss", Evaluate(str(each), holdout, ("",), draws=4, seed=seed))
            for each in models
        ),
        lab.ask(f"reading the {data.name}", data.reads(str(drawn))),
        lab.ask(
            "measuring pictures",
            MeasureSet(str(drawn), holdout, data.extractor, resamples=500, seed=seed),
        ),
    )
    loss = fmean(float(each["losses"][""]) for each in losses)
    row = Row(seed, subject.label, "", number, "loss", loss)
    rows = (
        replace(row, n=losses[0]["pictures"]),
        replace(row, metric="kid", n=options.pictures, **sets["kid"]),
        *(
            replace(row, metric=metric, value=float(value), n=options.pictures)
            for metric, value in (
                ("class coverage", classes["coverage"]),
                ("class entropy", classes["entropy"]),
                ("judge's accuracy", classes["accuracy"]),
                ("precision", sets["precision"]),
                ("recall", sets["recall"]),
                ("coverage", sets["coverage"]),
            )
        ),
        *(replace(row, metric=name, value=float(count)) for name, count in counted.items()),
    )
    return Measured(subject.label, seed, rows, drawn, sha256_of(weights), sets["extractor"])


async def _model(lab: Lab, subject: _Subject, weights: Path) -> Path:
    """The model folder of a state, which draws with its averages."""
    export = ExportWhole(str(subject.model), str(weights), "")
    return await lab.make("the model of the round", export, suffix="")


async def _drawn(lab: Lab, options: Options, models: Sequence[Path], number: int) -> Path:
    """A folder of pictures that the models drew, about as many each. No two from one seed, so that
    models that are alike do not draw alike."""
    borders = [options.pictures * part // len(models) for part in range(len(models) + 1)]
    requests = [
        Generate(
            model=str(model),
            prompts=("",),
            seeds=tuple(range(first, last)),
            out="",
            steps=options.sampling_steps,
            guidance=0.0,
            batch=DRAW_BATCH,
        )
        for model, (first, last) in zip(models, pairwise(borders), strict=True)
        if last > first
    ]
    what = f"round {number}: drawing"
    folders = await asyncio.gather(*(lab.make(what, each, suffix="") for each in requests))
    if len(folders) == 1:
        return folders[0]
    gather = GatherPictures(tuple(map(str, folders)), "")
    return await lab.make("putting the drawings together", gather, suffix="")
