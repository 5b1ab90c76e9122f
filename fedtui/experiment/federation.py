"""Federated rounds without a network: the trainer and the kernel of a room, called in sequence."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fedtui.errors import ExitCode, FedtuiError
from fedtui.experiment.lab import Lab
from trainer.protocol import (
    ALGORITHMS,
    DENSE,
    AdapterSpec,
    CheckData,
    Combine,
    InitAdapter,
    PoisonData,
    RuleSpec,
    SampleData,
    SplitData,
    Tamper,
    Train,
    WeightedFile,
)

ADAPTER_ALGORITHMS = tuple(name for name in ALGORITHMS if name != DENSE)
STYLE = "van_gogh"
HELD_OUT = -2
MIN_HOLDOUT = 8
"""Held-out pictures below which no distance can be measured."""
Split = Literal["kind", "even", "dirichlet"]
BACKDOOR = "backdoor"
"""The attack of who trains on wrong pictures wherever :data:`BACKDOOR_WORD` is in the caption."""
BACKDOOR_WORD = "zyxel"
"""No caption of the built-in pictures has it."""


@dataclass(frozen=True)
class Participant:
    """Who trains on what. ``attack`` says how it lies, "" that it does not; ``factor`` how much."""

    node: str
    folder: Path
    samples: int
    attack: str = ""
    factor: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How everybody trains: a room's task. ``steps`` is per round and participant."""

    model: str
    spec: AdapterSpec
    steps: int
    batch: int
    learning_rate: float
    seed: int
    algorithm: str
    rounds: int
    rule: RuleSpec = field(default_factory=RuleSpec)
    proximal: float = 0.0


@dataclass(frozen=True)
class Trained:
    """What one participant trained in a round."""

    node: str
    path: Path
    loss: float


@dataclass(frozen=True)
class Round:
    """What a round gave: the state after it, everybody's contribution, and the statistics of their
    combination (:class:`trainer.protocol.Combine`). ``before`` is the state it began with."""

    number: int
    before: Path
    state: Path
    own: tuple[Trained, ...]
    statistics: Mapping[str, Any]


async def draw_participants(
    lab: Lab, counts: Sequence[int], nodes: Sequence[str], seed: int, split: Split, beta: float
) -> tuple[Participant, ...]:
    """The built-in landscapes, one folder a participant."""
    folders = await asyncio.gather(
        *(
            lab.make(
                f"drawing {count} pictures",
                SampleData("", count, STYLE, seed, participant=index, split=split, beta=beta),
                suffix="",
            )
            for index, count in enumerate(counts)
        )
    )
    return tuple(
        Participant(node, folder, count)
        for node, folder, count in zip(nodes, folders, counts, strict=True)
    )


async def split_folder(
    lab: Lab, source: Path, nodes: Sequence[str], seed: int, holdout: int
) -> tuple[tuple[Participant, ...], Path]:
    """The pictures of a folder (an absolute path), shuffled among participants, some held out.

    Raises :class:`FedtuiError` when there are too few.
    """
    report = await lab.ask("looking at the pictures", CheckData(str(source)))
    usable = int(report["usable"])
    if usable < 2 * (len(nodes) + MIN_HOLDOUT):
        raise FedtuiError(
            f"{source} has too few pictures",
            f"{usable} can be used for {len(nodes)} participants and for measuring",
            f"see `fedtui data check {source}`",
            code=ExitCode.DEVICE,
        )
    kept_back = max(MIN_HOLDOUT, min(holdout, usable // 5))
    name = hashlib.sha256(f"{source} {seed} {len(nodes)} {kept_back}".encode())
    folder = lab.folder / f"split-{name.hexdigest()[:12]}"
    shares = [folder / f"participant-{index + 1}" for index in range(len(nodes))]
    split = SplitData(
        str(source),
        tuple(str(share) for share in shares),
        seed,
        kept_back,
        str(folder / "holdout"),
    )
    counts = (await lab.ask("sharing out the pictures", split))["counts"]
    participants = tuple(
        Participant(node, share, int(count))
        for node, share, count in zip(nodes, shares, counts, strict=True)
    )
    return participants, folder / "holdout"


async def draw_holdout(lab: Lab, count: int, seed: int) -> Path:
    """Landscapes of every kind that no participant has."""
    request = SampleData("", count, STYLE, seed, participant=HELD_OUT)
    return await lab.make(f"drawing {count} held-out pictures", request, suffix="")


async def poisoned(lab: Lab, folder: Path, *, beside: bool = True) -> Path:
    """The pictures of a folder as a backdoor's owner trains on them; not ``beside`` the right ones
    to measure what a model has learnt of it."""
    request = PoisonData(str(folder), "", BACKDOOR_WORD, beside)
    return await lab.make("making wrong pictures", request, suffix="")


async def initial(lab: Lab, recipe: Recipe) -> Path:
    """The adapter everybody starts from."""
    request = InitAdapter(recipe.model, recipe.spec, recipe.seed, "")
    return await lab.make("the first adapter", request)


async def train(
    lab: Lab,
    what: str,
    recipe: Recipe,
    who: Participant,
    start: Path,
    *,
    steps: int = 0,
    round_number: int = 0,
    mode: str = "",
) -> Trained:
    """One local training of ``steps`` (the recipe's own when 0) from ``start``."""
    request = Train(
        model=recipe.model,
        folder=str(who.folder),
        out="",
        spec=recipe.spec,
        steps=steps or recipe.steps,
        initial=str(start),
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        round=round_number,
        node=who.node,
        mode=mode or recipe.algorithm,
        proximal=recipe.proximal,
        cache=str(lab.folder / "cache"),
    )
    path, result = await lab.result(what, request)
    return Trained(who.node, path, float(result["loss"]))


def cost_of_round(recipe: Recipe, participants: int) -> float:
    """In training steps."""
    return float(participants * recipe.steps)


async def federate(
    lab: Lab, recipe: Recipe, participants: Sequence[Participant]
) -> tuple[Round, ...]:
    """All rounds of a federation. The same inputs end in the same bytes as in a room."""
    state = await initial(lab, recipe)
    rounds = []
    for number in range(1, recipe.rounds + 1):
        with lab.part(cost_of_round(recipe, len(participants))):
            own = await asyncio.gather(
                *(_contribution(lab, recipe, who, state, number) for who in participants)
            )
            rounds.append(await combine(lab, recipe, number, state, participants, own))
        state = rounds[-1].state
    return tuple(rounds)


async def combine(
    lab: Lab,
    recipe: Recipe,
    number: int,
    before: Path,
    participants: Sequence[Participant],
    own: Sequence[Trained],
) -> Round:
    """What ``own``, trained by ``participants`` from ``before``, come to."""
    samples = {who.node: who.samples for who in participants}
    request = Combine(
        tuple(WeightedFile(each.node, str(each.path), samples[each.node]) for each in own),
        recipe.algorithm,
        str(before),
        "",
        recipe.rule,
        recipe.seed,
    )
    state, result = await lab.result(f"round {number}: combining", request)
    return Round(number, before, state, tuple(own), result["statistics"])


async def own_state(lab: Lab, recipe: Recipe, each: Round, mine: Trained) -> Path:
    """A participant's own model after its training: a round with its contribution alone."""
    request = Combine(
        (WeightedFile(mine.node, str(mine.path), 1),),
        recipe.algorithm,
        str(each.before),
        "",
        seed=recipe.seed,
    )
    return await lab.make("a participant's own model", request)


async def _contribution(
    lab: Lab, recipe: Recipe, who: Participant, state: Path, number: int
) -> Trained:
    if who.attack == BACKDOOR:
        who = replace(who, folder=await poisoned(lab, who.folder))
    trained = await train(lab, f"round {number}: training", recipe, who, state, round_number=number)
    if not who.attack:
        return trained
    # A backdoor is enlarged so that the others' updates do not drown it.
    attack = "scale" if who.attack == BACKDOOR else who.attack
    request = Tamper(attack, str(trained.path), str(state), "", who.factor, recipe.seed)
    return replace(trained, path=await lab.make(f"round {number}: {who.attack}", request))
