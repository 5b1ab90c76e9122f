"""The numbers of weight rules as people write them: ``clip=1.5``, ``iterations=50``.

A room's plan keeps them as whole numbers (:class:`fedtui.task.RuleTask`), because signed messages
hold nothing else. Every number belongs to some rules, or to the mode ``dense``; one that would
change nothing is refused rather than ignored.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtui.errors import UsageError
from fedtui.task import MILLI, RuleTask, Task
from trainer.protocol import DENSE


@dataclass(frozen=True)
class RuleOption:
    """A number that can be set: ``field`` of :class:`RuleTask`, in thousandths unless ``whole``.

    It means something under one of ``rules``, or in the mode ``dense`` where ``rules`` is empty.
    """

    name: str
    field: str
    rules: tuple[str, ...]
    whole: bool = False

    def applies(self, algorithm: str, rule: str) -> bool:
        return rule in self.rules if self.rules else algorithm == DENSE

    @property
    def where(self) -> str:
        """Where it means something, in words."""
        if not self.rules:
            return f"the algorithm {DENSE}"
        return f"the rule{'s' if len(self.rules) > 1 else ''} {', '.join(self.rules)}"

    @property
    def unit(self) -> int:
        """What a 1 in a plan stands for, as a part of 1."""
        return 1 if self.whole else MILLI

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value in a plan."""
        limits = RuleTask.model_fields[self.field].metadata
        least = next(limit.ge for limit in limits if hasattr(limit, "ge"))
        return least, next(limit.le for limit in limits if hasattr(limit, "le"))

    def written(self, rule: RuleTask) -> str:
        """The option as one would type it."""
        return f"{self.name}={getattr(rule, self.field) / self.unit:g}"


OPTIONS: tuple[RuleOption, ...] = (
    RuleOption("cap", "cap_milli", ("n_k", "clip", "fednova", "fedbuff", "threshold")),
    RuleOption("clip", "clip_milli", ("clip", "centered_clip")),
    RuleOption("passes", "clipping_steps", ("centered_clip",), whole=True),
    RuleOption("byzantine", "byzantine", ("multi_krum",), whole=True),
    RuleOption("iterations", "weiszfeld_steps", ("rfa",), whole=True),
    RuleOption("threshold", "threshold_milli", ("threshold",)),
    RuleOption("staleness", "max_staleness", ("fedbuff",), whole=True),
    RuleOption("ema", "ema_milli", ()),
    RuleOption("outer_rate", "outer_rate_milli", ()),
    RuleOption("momentum", "outer_momentum_milli", ()),
)


@dataclass(frozen=True)
class RuleChoice:
    """What a founder says of the rule; ``options`` are texts like ``clip=1.5``."""

    name: str = "n_k"
    options: tuple[str, ...] = ()


def chosen_rule(
    known: Mapping[str, Any], algorithm: str, choice: RuleChoice, contributions: int
) -> RuleTask:
    """The rule for a plan, once it is sure that the trainer knows both names, that every number
    does something, and that enough members take part.

    ``known`` is what :class:`trainer.protocol.Describe` gives. Raises :class:`UsageError`.
    """
    for kind, name, names in (
        ("algorithm", algorithm, known["algorithms"]),
        ("rule", choice.name, known["rules"]),
    ):
        if name not in names:
            raise UsageError(f"there is no {kind} {name!r}", remedy=f"one of {', '.join(names)}")
    rule = with_options(algorithm, choice)
    if rule.spec.fewest > contributions:
        raise UsageError(
            f"{contributions} participants are too few for the rule {rule.name}",
            f"it needs {rule.spec.fewest} to tolerate {rule.byzantine}",
            f"say `--min-contributions {rule.spec.fewest}` (of a demo `--nodes`), or a smaller"
            " `--rule-option byzantine=F`",
        )
    return rule


def with_options(algorithm: str, choice: RuleChoice) -> RuleTask:
    """The rule with its numbers. Raises :class:`UsageError` for one that cannot be meant."""
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    for text in choice.options:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} sets nothing", remedy="write NAME=NUMBER: clip=1.5")
        option = _named(name.strip())
        if not option.applies(algorithm, choice.name):
            possible = _possible(algorithm, choice.name)
            raise UsageError(
                f"{option.name} means nothing here: the rule is {choice.name}, the algorithm "
                f"{algorithm}",
                f"it belongs to {option.where}",
                f"leave it out, or set {', '.join(possible)}" if possible else "leave it out",
            )
        if option.name in seen:
            raise UsageError(f"{option.name} is set twice", remedy="say it once")
        seen.add(option.name)
        numbers[option.field] = _number(option, value.strip())
    return RuleTask(name=choice.name, **numbers)


def written_options(algorithm: str, task: Task) -> tuple[str, ...]:
    """The numbers that count in a room, as one would type them; FedProx's too when it is on."""
    told = [o.written(task.rule) for o in OPTIONS if o.applies(algorithm, task.rule.name)]
    if task.proximal_micro:
        told.append(f"proximal={task.proximal:g}")
    return tuple(told)


def _named(name: str) -> RuleOption:
    found = {option.name: option for option in OPTIONS}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, 1)
    raise UsageError(
        f"there is no rule option {name!r}",
        f"did you mean {near[0]}?" if near else "",
        f"one of {', '.join(found)}",
    )


def _possible(algorithm: str, rule: str) -> Sequence[str]:
    return [option.name for option in OPTIONS if option.applies(algorithm, rule)]


def _number(option: RuleOption, text: str) -> int:
    try:
        value = float(text) * option.unit
    except ValueError as error:
        raise UsageError(f"{option.name} is {text!r}", "that is no number") from error
    low, high = option.bounds
    if not math.isfinite(value) or not low <= value <= high:
        raise UsageError(
            f"{option.name} is {text}",
            f"{low / option.unit:g} to {high / option.unit:g} are possible",
        )
    if abs(value - round(value)) > 1e-6:
        finest = "whole numbers" if option.whole else "three decimals"
        raise UsageError(f"{option.name} is {text}", f"{finest} at most can be signed")
    return round(value)
