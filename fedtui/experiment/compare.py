"""A sweep: the same federation with other algorithms, rules, lengths, splits and attackers.

A TOML file names the settings; a list means one federation for each of its values, several lists
one for each combination. Every federation of a seed has the same pictures, first adapter and
held-out pictures, so that differences between them are differences of the settings.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from fedtui.demo import founding
from fedtui.errors import UsageError
from fedtui.experiment import fedflow
from fedtui.experiment.federation import (
    ADAPTER_ALGORITHMS,
    BACKDOOR,
    Participant,
    Round,
    Split,
    draw_holdout,
    draw_participants,
    federate,
    poisoned,
)
from fedtui.experiment.lab import Lab
from fedtui.experiment.rows import Row
from trainer.protocol import RULES, Evaluate

MAX_FEDERATIONS = 10_000
BOUNDS = {
    "steps": (1, 1_000_000),
    "rounds": (1, 1_000),
    "rank": (1, 256),
    "learning_rate": (0.0, 1.0),
    "proximal": (0.0, 1.0),
    "beta": (0.001, 1_000.0),
    "attackers": (1, len(founding.SHARES) - 1),
    "factor": (-1e6, 1e6),
    "holdout": (1, 4_096),
    "draws": (1, 256),
}
"""The least and the greatest value of every number: what is wrong is said before the first hour."""
CHOICES = {"algorithm": ADAPTER_ALGORITHMS, "rule": RULES}
NO_ATTACK = "none"
LOSS = "loss"
BACKDOOR_LOSS = "loss on the backdoor"
"""On held-out pictures as the backdoor wants them: low where it works."""


@dataclass(frozen=True)
class Setting:
    """One federation of a sweep. ``attackers`` of the participants, the last ones, hand in lies.

    ``attack`` is none, scale, sign_flip, noise, free_rider or backdoor; ``factor`` is its size.
    """

    algorithm: str = "fedex"
    rule: str = "n_k"
    steps: int = 40
    rounds: int = 3
    rank: int = 8
    learning_rate: float = 3e-3
    proximal: float = 0.0
    split: Split = "kind"
    beta: float = 0.5
    attack: Literal["none", "scale", "sign_flip", "noise", "free_rider", "backdoor"] = "none"
    attackers: int = 1
    factor: float = 50.0


@dataclass(frozen=True)
class Sweep:
    """All federations: every setting with every seed. ``varied`` are the settings' names."""

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    varied: tuple[str, ...]
    holdout: int = 60
    draws: int = 8

    @property
    def backdoor(self) -> bool:
        """Whether any setting has a backdoor, so that all are asked what they learnt of it."""
        return any(setting.attack == BACKDOOR for setting in self.settings)

    def label(self, setting: Setting) -> str:
        """What tells a setting from the others of the sweep."""
        parts = [f"{name}={getattr(setting, name)}" for name in self.varied]
        return " ".join(parts) or setting.algorithm


def read(path: Path) -> Sweep:
    """A sweep file. Raises :class:`UsageError` with the key that is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}",
            error.strerror or "",
            "name a TOML file of settings; docs/experiments.md shows one",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is no TOML file", str(error)) from error
    return parse(data, str(path))


def parse(data: Mapping[str, Any], name: str) -> Sweep:
    """The sweep that a table describes. Raises :class:`UsageError`."""
    known = {field.name: field for field in fields(Setting)}
    unknown = sorted(data.keys() - known.keys() - {"seeds", "holdout", "draws"})
    if unknown:
        raise UsageError(
            f"{name} has an unknown key {unknown[0]!r}",
            remedy=f"one of {', '.join(['seeds', *known, 'holdout', 'draws'])}",
        )
    seeds = tuple(_numbers(data.get("seeds", [1]), "seeds", name))
    axes = {key: _values(key, data[key], name) for key in known if key in data}
    combined = [
        Setting(**dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    ]
    # Without an attack its size and number mean nothing: such settings are one and the same.
    settings = tuple(dict.fromkeys(map(_plain, combined)))
    if not seeds or len(settings) * len(seeds) > MAX_FEDERATIONS:
        raise UsageError(
            f"{name} asks for {len(settings) * len(seeds)} federations",
            remedy=f"1 to {MAX_FEDERATIONS} are possible",
        )
    varied = tuple(key for key, values in axes.items() if len(values) > 1)
    counts = {key: _count(key, data[key], name) for key in ("holdout", "draws") if key in data}
    return Sweep(settings, seeds, varied, **counts)


def _plain(setting: Setting) -> Setting:
    if setting.attack == NO_ATTACK:
        return replace(setting, attackers=0, factor=0.0)
    return setting


def _values(key: str, given: Any, name: str) -> list[Any]:
    values = given if isinstance(given, list) else [given]
    kind = type(getattr(Setting(), key))
    accepted = (int, float) if kind is float else (kind,)
    wrong = [v for v in values if not isinstance(v, accepted) or isinstance(v, bool)]
    if wrong or not values:
        raise UsageError(f"{name}: {key} is {given!r}", f"it should be {kind.__name__}")
    choices = CHOICES.get(key) or get_args(get_type_hints(Setting)[key])
    if choices and (odd := [value for value in values if value not in choices]):
        raise UsageError(f"{name}: {key} is {odd[0]!r}", f"one of {', '.join(choices)}")
    for value in values:
        _check_bounds(key, value, name)
    return [kind(value) for value in values]


def _count(key: str, given: Any, name: str) -> int:
    if type(given) is not int:
        raise UsageError(f"{name}: {key} is {given!r}", "it should be one whole number")
    _check_bounds(key, given, name)
    return given


def _check_bounds(key: str, value: Any, name: str) -> None:
    if key in BOUNDS:
        least, most = BOUNDS[key]
        if not (math.isfinite(value) and least <= value <= most):
            raise UsageError(f"{name}: {key} is {value!r}", f"{least:g} to {most:g} are possible")


def _numbers(given: Any, key: str, name: str) -> Sequence[int]:
    values = list(range(1, given + 1)) if type(given) is int else given
    if not isinstance(values, list) or any(type(v) is not int or v < 0 for v in values):
        raise UsageError(f"{name}: {key} is {given!r}", "a number of seeds, or a list of them")
    if len(set(values)) < len(values):
        raise UsageError(
            f"{name}: {key} is {given!r}",
            "the same seed twice is the same result, not a second one",
        )
    return values


async def run(lab: Lab, sweep: Sweep, names: Mapping[int, Sequence[str]]) -> tuple[Row, ...]:
    """Every federation of the sweep; ``names`` are the participants' by seed.

    Raises :class:`FedtuiError` when a step fails.
    """
    rows: list[Row] = []
    total = len(sweep.seeds) * len(sweep.settings)
    lab.forecast.expect(len(sweep.seeds) * sum(_cost(sweep, each) for each in sweep.settings))
    for number, (seed, setting) in enumerate(itertools.product(sweep.seeds, sweep.settings), 1):
        lab.prefix = f"{number} of {total}, seed {seed}, {sweep.label(setting)}: "
        rows += await _one(lab, sweep, setting, seed, names[seed])
    return tuple(rows)


async def _one(
    lab: Lab, sweep: Sweep, setting: Setting, seed: int, nodes: Sequence[str]
) -> list[Row]:
    options = replace(
        fedflow.default_options("", setting.rank),
        rounds=setting.rounds,
        steps=setting.steps,
        learning_rate=setting.learning_rate,
        algorithm=setting.algorithm,
        rule=setting.rule,
        proximal=setting.proximal,
    )
    participants = await draw_participants(
        lab, options.counts, nodes, seed, setting.split, setting.beta
    )
    holdout = await draw_holdout(lab, sweep.holdout, seed)
    rounds = await federate(lab, options.recipe(seed), _with_attackers(participants, setting))
    label = sweep.label(setting)
    rows = [
        Row(seed, label, "", each.number, "residual share", float(share))
        for each in rounds
        if (share := each.statistics.get("residual_share")) is not None
    ]
    measured = {LOSS: holdout}
    if sweep.backdoor:
        measured[BACKDOOR_LOSS] = await poisoned(lab, holdout, beside=False)
    with lab.part(_cost_of_measuring(sweep, setting)):
        for metric, folder in measured.items():
            rows += await _losses(lab, sweep, options.model, rounds, seed, metric, folder, label)
    return rows


def _cost(sweep: Sweep, setting: Setting) -> float:
    """Of a federation and of measuring it, in training steps."""
    return setting.rounds * setting.steps * len(founding.SHARES) + _cost_of_measuring(
        sweep, setting
    )


def _cost_of_measuring(sweep: Sweep, setting: Setting) -> float:
    predictions = setting.rounds * sweep.holdout * sweep.draws * (2 if sweep.backdoor else 1)
    return predictions / fedflow.PREDICTIONS_A_STEP


async def _losses(
    lab: Lab,
    sweep: Sweep,
    model: str,
    rounds: Sequence[Round],
    seed: int,
    metric: str,
    folder: Path,
    label: str,
) -> list[Row]:
    """The denoising loss of every round's state on a folder's pictures, as rows of ``metric``."""
    cache = str(lab.folder / "cache")
    results = await asyncio.gather(
        *(
            lab.ask(
                "measuring the loss",
                Evaluate(model, str(folder), (str(each.state),), draws=sweep.draws, seed=seed,
                         cache=cache),
            )
            for each in rounds
        )
    )  # fmt: skip
    return [
        Row(seed, label, "", each.number, metric, float(result["losses"][str(each.state)]),
            n=result["pictures"])
        for each, result in zip(rounds, results, strict=True)
    ]  # fmt: skip


def _with_attackers(
    participants: Sequence[Participant], setting: Setting
) -> tuple[Participant, ...]:
    """The last ones lie: neither the one with most nor the one with fewest pictures."""
    honest = len(participants) - (setting.attackers if setting.attack != NO_ATTACK else 0)
    return tuple(
        who if index < honest else replace(who, attack=setting.attack, factor=setting.factor)
        for index, who in enumerate(participants)
    )
