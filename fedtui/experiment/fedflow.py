"""FedFlow's experiment: federated rounds against centralised training and against training alone.

Five participants hold 20/40/60/40/40 pictures. After every round the room's adapter and every
participant's own are measured; beside them stand one adapter trained on all pictures in one place
and each participant that trained by itself for as long.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedtui.demo import founding
from fedtui.demo.options import MODEL
from fedtui.errors import ExitCode, FedtuiError
from fedtui.experiment.federation import (
    Participant,
    Recipe,
    Split,
    Trained,
    cost_of_round,
    draw_holdout,
    draw_participants,
    federate,
    initial,
    own_state,
    split_folder,
    train,
)
from fedtui.experiment.lab import Lab
from fedtui.experiment.rows import Row, paired_ratio
from fedtui.founding import TARGETS
from fedtui.paths import sha256_of
from trainer.protocol import (
    AdapterSpec,
    CheckData,
    Describe,
    DrawnPicture,
    Evaluate,
    Generate,
    JudgeScenes,
    LoraFile,
    MeasureSet,
    RuleSpec,
)

BOTH_FACTORS = "fedex"
"""How those train who combine nothing, whatever the room's algorithm lets them train."""
PREDICTIONS_A_STEP = 28.0
"""Predictions of the model that take as long as a training step of eight pictures; measured."""
MIN_PICTURES = 6
"""Drawn pictures below which no precision can be measured (:class:`MeasureSet`)."""
BASE = ""
"""Stands for the model without an adapter."""
KINDS: Mapping[str, frozenset[str]] = {
    "night": frozenset({"night"}),
    "sea": frozenset({"sea"}),
    "desert": frozenset({"desert"}),
    "snow": frozenset({"snow"}),
    "meadow": frozenset({"day", "mountain", "grass"}),
}
"""Tags that make a picture one of a participant's own kind; participant i has kind i, in turn."""


@dataclass(frozen=True)
class Options:
    """What to run. Steps are per round and participant; ``pictures`` are drawn for every distance
    and judgement (0 leaves them out)."""

    model: str
    spec: AdapterSpec
    counts: tuple[int, ...]
    rounds: int = 3
    steps: int = 40
    batch: int = 8
    learning_rate: float = 3e-3
    algorithm: str = "fedex"
    rule: str = "n_k"
    proximal: float = 0.0
    split: Split = "kind"
    beta: float = 0.5
    holdout: int = 60
    draws: int = 8
    pictures: int = 64
    sampling_steps: int = 10
    guidance: float = 3.0
    extractor: str = "scenes"
    data: Path | None = None
    """A user's own folder, shuffled among the participants; None draws landscapes."""

    def recipe(self, seed: int) -> Recipe:
        return Recipe(
            model=self.model,
            spec=self.spec,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            seed=seed,
            algorithm=self.algorithm,
            rounds=self.rounds,
            rule=RuleSpec(self.rule),
            proximal=self.proximal,
        )


def default_options(model: str, rank: int) -> Options:
    """The demo's adapter on the built-in model, attention alone on any other."""
    chosen = model or MODEL
    targets = tuple(TARGETS) if chosen == MODEL else AdapterSpec().targets
    extractor = "scenes" if chosen == MODEL else "efficientnet-lite0"
    spec = AdapterSpec(rank, rank, targets)
    return Options(model=chosen, spec=spec, counts=founding.SHARES, extractor=extractor)


@dataclass(frozen=True)
class Arm:
    """One adapter to measure; ``drawn`` ones also draw pictures."""

    name: str
    who: str
    round: int
    adapter: str
    drawn: bool = False

    @property
    def title(self) -> str:
        """For a column of pictures."""
        if self.name == "room":
            return f"room, round {self.round}"
        return f"{self.who} alone" if self.who else self.name


@dataclass(frozen=True)
class Measured:
    """Everything of one seed; ``pictures`` are the drawn folders by arm, ``facts`` what must be
    known of the base model and of those that judged, with hashes and accuracies."""

    seed: int
    rows: tuple[Row, ...]
    pictures: Mapping[str, Path]
    adapter: Path
    adapter_sha256: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Ground:
    """What every arm is measured on."""

    holdout: Path
    reference: Path
    prompts: tuple[str, ...]


async def run(lab: Lab, options: Options, seed: int, nodes: Sequence[str]) -> Measured:
    """One seed of the experiment. Raises :class:`FedtuiError` when a step fails."""
    recipe = options.recipe(seed)
    participants, ground = await _prepared(lab, options, seed, nodes)
    start = await initial(lab, recipe)
    rounds = await federate(lab, recipe, participants)
    names = {who.node: f"participant {i + 1}" for i, who in enumerate(participants)}
    with lab.part(_cost_of_beside(options)):
        alone, central = await _beside(lab, options, recipe, participants, start)
    arms = [Arm("base", "", 0, BASE, drawn=True)]
    for each in rounds:
        arms.append(Arm("room", "", each.number, str(each.state), drawn=True))
        for one in each.own:
            state = await own_state(lab, recipe, each, one)
            arms.append(Arm("own", names[one.node], each.number, str(state)))
    arms += [
        Arm("alone", names[one.node], options.rounds, str(one.path), drawn=True) for one in alone
    ]
    arms += [
        Arm(name, "", options.rounds, str(one.path), drawn=name == "centralised")
        for name, one in central.items()
    ]
    with lab.part(_cost_of_losses(options)):
        losses = await _losses(lab, options, seed, arms, ground)
    rows = [*losses.rows]
    described = await lab.ask("naming the model", Describe(options.model))
    facts = {"base model": {name: described[name] for name in ("model", "sha256")}}
    pictures = {}
    if options.pictures:
        drawing = [arm for arm in arms if arm.drawn]
        with lab.part(len(drawing) * _cost_of_drawing(options)):
            drawn = await asyncio.gather(
                *(_drawn(lab, options, seed, arm, ground) for arm in drawing)
            )
        for arm, (folder, measured, judges) in zip(drawing, drawn, strict=True):
            rows += measured
            pictures[arm.title] = folder
            facts |= judges
    rows += [
        Row(seed, "room", "", each.number, "residual share", share)
        for each in rounds
        if (share := each.statistics.get("residual_share")) is not None
    ]
    rows += _comparisons(seed, losses.by_arm, options.rounds)
    last = rounds[-1].state
    return Measured(seed, tuple(rows), pictures, last, sha256_of(last), facts)


def cost(options: Options) -> float:
    """Of one seed, in training steps."""
    people, drawn_arms = len(options.counts), 2 + options.rounds + len(options.counts)
    rounds = options.rounds * cost_of_round(options.recipe(0), people)
    drawn = drawn_arms * _cost_of_drawing(options) if options.pictures else 0.0
    return rounds + _cost_of_beside(options) + _cost_of_losses(options) + drawn


def _cost_of_beside(options: Options) -> float:
    """Everybody alone, everything in one place for as long as all of them and as one of them."""
    return float(options.rounds * options.steps * (2 * len(options.counts) + 1))


def _cost_of_losses(options: Options) -> float:
    people = len(options.counts)
    arms = 3 + options.rounds * (1 + people) + people
    return arms * options.holdout * options.draws / PREDICTIONS_A_STEP


def _cost_of_drawing(options: Options) -> float:
    """Each sampling step predicts with the prompt and without it."""
    return 2 * options.pictures * options.sampling_steps / PREDICTIONS_A_STEP


async def _prepared(
    lab: Lab, options: Options, seed: int, nodes: Sequence[str]
) -> tuple[tuple[Participant, ...], Ground]:
    if options.data is not None:
        participants, holdout = await split_folder(lab, options.data, nodes, seed, options.holdout)
        prompts = await _captions(lab, holdout, options.pictures)
        if options.pictures and len(prompts) < MIN_PICTURES:
            raise FedtuiError(
                f"{options.data} has too few captions",
                f"{len(prompts)} of the held-out pictures have one to draw by, "
                f"{MIN_PICTURES} are needed",
                "write captions, or leave out drawn pictures with --pictures 0",
                code=ExitCode.DEVICE,
            )
        return participants, Ground(holdout, holdout, prompts)
    participants = await draw_participants(
        lab, options.counts, nodes, seed, options.split, options.beta
    )
    holdout = await draw_holdout(lab, options.holdout, seed)
    # Other scenes than those the loss is measured on: the owner is the same, the seed is not.
    count = max(4 * options.pictures, 1)
    reference = await draw_holdout(lab, count, seed + 1_000_000)
    prompts = await _captions(lab, reference, options.pictures)
    return participants, Ground(holdout, reference, prompts)


async def _captions(lab: Lab, folder: Path, count: int) -> tuple[str, ...]:
    """The first captions of a folder of this laboratory."""
    listed = await lab.ask("reading captions", CheckData(str(folder)))
    captions = [str(picture["caption"]) for picture in listed["pictures"]]
    return tuple(caption for caption in captions if caption)[:count]


async def _beside(
    lab: Lab,
    options: Options,
    recipe: Recipe,
    participants: Sequence[Participant],
    start: Path,
) -> tuple[list[Trained], dict[str, Trained]]:
    """What the room stands beside: each participant by itself, for as many steps as it took in the
    room, and training on everybody's pictures in one place, with as many steps as all participants
    took together and with as many as each of them took."""
    folder = await asyncio.to_thread(_together, lab, participants)
    everybody = Participant("everybody", folder, sum(who.samples for who in participants))
    each = options.steps * options.rounds

    def trained(what: str, who: Participant, steps: int) -> Awaitable[Trained]:
        return train(lab, what, recipe, who, start, steps=steps, mode=BOTH_FACTORS)

    # The longest goes first, so that nobody waits for it at the end.
    together, short, *alone = await asyncio.gather(
        trained("training in one place", everybody, each * len(participants)),
        trained("training in one place", everybody, each),
        *(trained("training alone", who, each) for who in participants),
    )
    return alone, {"centralised": together, "centralised short": short}


def _together(lab: Lab, participants: Sequence[Participant]) -> Path:
    """All participants' pictures in one folder."""
    names = "-".join(who.folder.name.rpartition("-")[2][:6] for who in participants)
    folder = lab.folder / f"together-{names}"
    folder.mkdir(exist_ok=True)
    for index, who in enumerate(participants):
        for path in sorted(who.folder.iterdir()):
            target = folder / f"{index:02d}-{path.name}"
            if path.is_file() and not target.exists():
                shutil.copyfile(path, target)
    return folder


@dataclass(frozen=True)
class _Losses:
    rows: tuple[Row, ...]
    by_arm: Mapping[tuple[str, str, int], Mapping[str, float]]
    """Loss of each held-out picture by (arm, who, round); own kinds apart in the rows."""


async def _losses(
    lab: Lab, options: Options, seed: int, arms: Sequence[Arm], ground: Ground
) -> _Losses:
    requests = [
        Evaluate(
            options.model,
            str(ground.holdout),
            (arm.adapter,),
            draws=options.draws,
            seed=seed,
            by_picture=True,
            cache=str(lab.folder / "cache"),
        )
        for arm in arms
    ]
    results = await asyncio.gather(
        *(
            lab.ask(f"measuring the loss of {arm.name}", request)
            for arm, request in zip(arms, requests, strict=True)
        )
    )
    rows, by_arm = [], {}
    for arm, result in zip(arms, results, strict=True):
        by_picture: dict[str, float] = result["by_picture"][arm.adapter]
        captions: dict[str, str] = result["captions"]
        by_arm[arm.name, arm.who, arm.round] = by_picture
        row = Row(seed, arm.name, arm.who, arm.round, "loss", _mean(by_picture))
        rows.append(replace(row, n=len(by_picture)))
        for kind, some in _by_kind(by_picture, captions).items():
            rows.append(replace(row, metric=f"loss on {kind}", value=_mean(some), n=len(some)))
    return _Losses(tuple(rows), by_arm)


def _by_kind(
    losses: Mapping[str, float], captions: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """The pictures of each kind, and of the participants' kinds the pictures of all the others."""
    kinds: dict[str, dict[str, float]] = {}
    for kind, tags in KINDS.items():
        own = {
            name: loss
            for name, loss in losses.items()
            if tags <= {tag.strip() for tag in captions[name].split(",")}
        }
        others = {name: loss for name, loss in losses.items() if name not in own}
        if own and others:
            kinds[kind] = own
            kinds[f"all but {kind}"] = others
    return kinds


async def _drawn(
    lab: Lab, options: Options, seed: int, arm: Arm, ground: Ground
) -> tuple[Path, list[Row], dict[str, Any]]:
    """Draws an arm's pictures and measures them against the held-out ones.

    Also returns what measured them: the extractor, the numbers of pictures, the judge's accuracy.
    """
    what = f"drawing with {arm.name}"
    request = Generate(
        model=options.model,
        prompts=ground.prompts,
        seeds=(seed,),
        out="",
        loras=(LoraFile(arm.adapter),) if arm.adapter else (),
        steps=options.sampling_steps,
        guidance=options.guidance,
    )
    folder = await lab.make(what, request, suffix="")
    measure = MeasureSet(str(folder), str(ground.reference), options.extractor, seed=seed)
    sets = await lab.ask("measuring pictures", measure)
    files = sorted(folder.glob("*.png"))
    row = Row(seed, arm.name, arm.who, arm.round, "", 0.0, n=len(files))
    rows = [
        replace(row, metric="kid", **sets["kid"]),
        replace(row, metric=_frechet_name(sets), value=sets["frechet"]["value"]),
    ]
    judges: dict[str, Any] = {
        "extractor": sets["extractor"],
        "pictures": {name: sets[name] for name in ("pictures", "reference")},
    }
    shares = {name: sets[name] for name in ("precision", "recall", "density", "coverage")}
    if options.data is None:
        drawn = zip(files, ground.prompts, strict=True)
        pictures = tuple(DrawnPicture(str(path), prompt) for path, prompt in drawn)
        judged = await lab.ask("judging pictures", JudgeScenes(pictures, seed))
        shares |= {name: judged[name] for name in ("style", "large", "objects")}
        judges["judge's accuracy"] = judged["classifier"]
    rows += [
        replace(row, metric=name, value=float(value))
        for name, value in shares.items()
        if value is not None
    ]
    return folder, rows, judges


def _frechet_name(sets: Mapping[str, Any]) -> str:
    frechet, count = sets["frechet"], min(sets["pictures"], sets["reference"])
    return f"{frechet['name']} (biased, N={count})" if frechet["biased"] else str(frechet["name"])


def _comparisons(
    seed: int,
    by_arm: Mapping[tuple[str, str, int], Mapping[str, float]],
    last: int,
) -> list[Row]:
    """The room against everything else on the same pictures: ratios below 1 favour the room."""
    rows = []
    for (arm, who, number), losses in by_arm.items():
        if arm in ("room",):
            continue
        room = by_arm["room", "", number if arm == "own" else last]
        ratio, low, high = paired_ratio(room, losses, seed)
        rows.append(
            Row(seed, arm, who, number, "room loss over this", ratio, low, high, len(losses))
        )
    return rows


def _mean(losses: Mapping[str, float]) -> float:
    return sum(losses[name] for name in sorted(losses)) / len(losses)
