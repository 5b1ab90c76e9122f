"""One combination from files to a file: screen, measure, weigh, write, and say what happened."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.aggregate import rules
from trainer.aggregate.dense import DenseRound
from trainer.aggregate.files import ROUNDS_KEY, STEPS_KEY, Source, in_order, open_source
from trainer.aggregate.kernel import SUM_TOLERANCE
from trainer.aggregate.lowrank import LowRankRound, Outcome
from trainer.aggregate.modes import LOW_RANK, MODES
from trainer.aggregate.rules import Geometry, RuleRefused, Update, Weighting
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.protocol import CARRYING, DENSE, RuleSpec, WeightedFile
from trainer.tensor_file import FormatError, Written


@dataclass(frozen=True)
class Participant:
    """What a combination made of one contribution of so many ``bytes``.

    ``norm`` is that of its update in product space, ``cosine`` with the combined update, ``weight``
    its effective weight in the sum. ``clipped`` is the factor its update was shortened by, 1 for
    not at all; ``excluded`` says why it counts nothing.
    """

    id: str
    samples: int
    bytes: int = 0
    norm: float = 0.0
    cosine: float = 0.0
    weight: float = 0.0
    clipped: float = 1.0
    excluded: str = ""


@dataclass(frozen=True)
class Combination:
    """A round's result and how it came about.

    ``residual_share`` is ‖Σ w_k B_k A_k - B̄ Ā‖ / ‖Σ w_k B_k A_k‖, which averaging factors loses.
    ``previous`` is the weight that stayed with the adapter before. ``branch_rank`` is the largest
    rank of the residual branch, ``whole_layers`` how many layers keep it as a matrix. ``note`` is
    set when nothing could be combined and the result is the adapter before.
    """

    written: Written
    participants: tuple[Participant, ...]
    residual_share: float = 0.0
    previous: float = 0.0
    branch_rank: int = 0
    whole_layers: int = 0
    note: str = ""


def combine(
    mode: str,
    inputs: Sequence[WeightedFile],
    previous: Path,
    out: Path,
    job: Job,
    rule: RuleSpec | None = None,
    seed: int = 0,
    *,
    late: bool = False,
) -> Combination:
    """Combines checked contributions into the adapter at ``out``.

    The bytes of ``out`` are a pure function of the ids, weights and bytes of the inputs, of
    ``previous``, ``mode``, ``rule``, ``seed`` and ``late``. What a room cannot use is left out with
    a reason; when nothing is left, ``out`` is a copy of ``previous``. Raises
    :class:`TrainerError` on misuse and on files that cannot be read.
    """
    rule = rule or RuleSpec()
    check_choice(mode, rule)
    try:
        with ExitStack() as stack:
            base = open_source(stack, "the previous adapter", previous, 1)
            sources = [open_source(stack, i.id, Path(i.path), i.weight) for i in in_order(inputs)]
            oldest = int(late and mode in CARRYING)
            return _combined(mode, rule, base, sources, out, seed, oldest, job)
    except (OSError, FormatError) as error:
        raise TrainerError(
            "The contributions could not be combined",
            f"{error}.",
            "Check each file before combining.",
        ) from error


def check_choice(mode: str, rule: RuleSpec) -> None:
    """Raises :class:`TrainerError` for names nobody knows and settings nobody can use."""
    if mode not in MODES:
        raise TrainerError(
            "This way of combining is unknown",
            f"There is no mode {mode!r}.",
            f"Choose one of {', '.join(MODES)}.",
            MISUSE,
        )
    if cause := rules.impossible(rule):
        raise TrainerError("This weight rule cannot be used", cause, "Correct it.", MISUSE)


def _combined(
    mode: str,
    rule: RuleSpec,
    base: Source,
    sources: Sequence[Source],
    out: Path,
    seed: int,
    oldest: int,
    job: Job,
) -> Combination:
    refused, equals = _screened(_round(mode, rule, base, (), seed), sources, oldest)
    if not equals:
        return _unchanged(base, sources, refused, out, "no contribution could be used")
    good = [alike[0] for alike in equals]
    work = _round(mode, rule, base, good, seed)
    geometry = Geometry(work.products(job))
    updates = [_counted(alike, work.rounds) for alike in equals]
    try:
        weighting = rules.RULES[rule.name](updates, geometry, rule)
    except RuleRefused as error:
        refused |= {source.id: "left out with the whole round" for source in good}
        return _unchanged(base, sources, refused, out, str(error))
    before = weighting.previous
    if abs(before) <= SUM_TOLERANCE:
        before = 0.0
    outcome = work.write(weighting.weights, before, out, job)
    found = _described(good, updates, geometry, weighting)
    return Combination(
        outcome.written,
        tuple(found.get(s.id, _left_out(s, refused)) for s in sources),
        _share(outcome),
        before,
        outcome.branch_rank,
        outcome.whole_layers,
    )


def _round(
    mode: str, rule: RuleSpec, base: Source, sources: Sequence[Source], seed: int
) -> LowRankRound | DenseRound:
    if mode == DENSE:
        return DenseRound(base, sources, rule)
    return LowRankRound(LOW_RANK[mode], base, sources, seed)


def _screened(
    work: LowRankRound | DenseRound, sources: Sequence[Source], oldest: int
) -> tuple[dict[str, str], list[list[Source]]]:
    """Leaves out contributions that began more than ``oldest`` combinations ago. Those with equal
    numbers come together; the first stands for all."""
    refused: dict[str, str] = {}
    good: list[list[Source]] = []
    for source in sources:
        began = source.count(ROUNDS_KEY)
        alike = next((others for others in good if _same_numbers(source, others[0])), None)
        if reason := work.refusal(source):
            refused[source.id] = reason
        elif not 0 <= _age(source, work.rounds) <= oldest:
            refused[source.id] = f"it was trained after {began} combinations, not {work.rounds}"
        elif alike is not None:
            alike.append(source)
            refused[source.id] = f"the same numbers as those of {alike[0].id}: they count once"
        else:
            good.append([source])
    return refused, good


def _counted(alike: Sequence[Source], rounds: int) -> Update:
    """Equal contributions as one. Nobody can tell whose it was, so the statement counts that gives
    it most weight: else a thief could make another's update small by stating little of a copy."""
    steps = [each for source in alike if (each := source.count(STEPS_KEY))]
    return Update(
        alike[0].id,
        max(source.weight for source in alike),
        min(steps, default=None),
        min(_age(source, rounds) for source in alike),
    )


def _age(source: Source, rounds: int) -> int:
    """How many combinations ago a contribution began; one that does not say so is new."""
    began = source.count(ROUNDS_KEY)
    return 0 if began is None else rounds - began


def _same_numbers(one: Source, other: Source) -> bool:
    """Whether all tensors are equal, whatever the files say around them. The last tensor alone
    tells most files apart."""
    if one.header.shapes != other.header.shapes:
        return False
    names = reversed(list(one.header.tensors))
    return all(np.array_equal(one.read(name), other.read(name)) for name in names)


def _described(
    sources: Sequence[Source],
    updates: Sequence[Update],
    geometry: Geometry,
    weighting: Weighting,
) -> dict[str, Participant]:
    cross, square = geometry.towards(weighting.weights)
    length = math.sqrt(square)
    found: dict[str, Participant] = {}
    for k, source in enumerate(sources):
        norm = geometry.norm(k)
        found[source.id] = Participant(
            source.id,
            updates[k].samples,
            _size(source),
            norm,
            cross[k] / (norm * length) if norm * length > 0 else 0.0,
            weighting.weights[k],
            weighting.clipped.get(k, 1.0),
            weighting.excluded.get(k, ""),
        )
    return found


def _left_out(source: Source, refused: Mapping[str, str]) -> Participant:
    reason = refused.get(source.id, "")
    return Participant(source.id, source.weight, _size(source), excluded=reason)


def _size(source: Source) -> int:
    return source.path.stat().st_size


def _share(outcome: Outcome) -> float:
    return outcome.residual / outcome.product if outcome.product > 0 else 0.0


def _unchanged(
    base: Source, sources: Sequence[Source], refused: Mapping[str, str], out: Path, note: str
) -> Combination:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.part")
    shutil.copyfile(base.path, draft)
    draft.replace(out)
    with out.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Combination(
        Written(out, digest, out.stat().st_size),
        tuple(_left_out(s, refused) for s in sources),
        previous=1.0,
        note=note,
    )
