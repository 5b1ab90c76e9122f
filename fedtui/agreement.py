"""What a room agreed on, in words: its plan, its policy, and who may still change what.

Everything here was signed by the founder and is part of the room's id, but for the terms that name
a change: nobody can raise the rounds of a room or exchange its model afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fedtui.rooms import Room
from fedtui.rule_choice import written_options
from fedtui.task import DataTask
from p2p.limits import MIB

SAY_WHEN = "rounds wait until somebody with that right starts them"


@dataclass(frozen=True)
class Term:
    """One thing agreed on. ``change`` names the command that alters it; empty: fixed for good."""

    group: str
    name: str
    value: str
    meaning: str = ""
    change: str = ""


def terms(room: Room, admins: int, threshold: int) -> tuple[Term, ...]:
    """All terms of a room in reading order; ``admins`` and ``threshold`` are those of now."""
    return (*_round_terms(room), *_training_terms(room), *_member_terms(room, admins, threshold))


def _round_terms(room: Room) -> Iterator[Term]:
    plan = room.genesis.plan
    by_hand = bool(plan.start_on_request)
    yield Term("Rounds", "rounds", f"{plan.rounds}", "of the room's whole life")
    yield Term(
        "Rounds",
        "begin",
        SAY_WHEN if by_hand else "by themselves",
        change="fedtui room start" if by_hand else "",
    )
    yield Term(
        "Rounds",
        "needed",
        f"{plan.min_contributions} contributions",
        "a round waits for so many participants, however long",
    )
    if plan.ask is not None:
        yield Term("Rounds", "asked", f"{plan.ask} participants", "another choice each round")
    yield Term(
        "Rounds",
        "deadline",
        f"{plan.deadline_ms / 1000:g} s",
        "a limit for stragglers, no estimate",
    )
    late = "half of it counts in the next round" if plan.late else "it is not used"
    yield Term("Rounds", "what is late", late)


def _training_terms(room: Room) -> Iterator[Term]:
    task, algorithm = room.task, room.genesis.plan.algorithm
    yield Term(
        "Training", "model", task.model, f"the same bytes everywhere: {task.model_sha256[:12]}…"
    )
    yield Term("Training", "combined by", algorithm, "`docs/algorithms.md` has the formula")
    options = ", ".join(written_options(algorithm, task))
    yield Term("Training", "weights by", f"{task.rule.name}{f' ({options})' if options else ''}")
    adapter = task.adapter
    if algorithm != "dense":
        yield Term("Training", "adapter", f"rank {adapter.rank}, alpha {adapter.alpha}")
    if adapter.personal:
        told = "layers that stay with each member"
        yield Term("Training", "personal", ", ".join(adapter.personal), told)
    yield Term("Training", "steps", f"{task.steps} a round, {task.batch} pictures each")
    yield Term("Training", "learning rate", f"{task.learning_rate:g}")
    if made := ", ".join(_picture_words(task.data)):
        yield Term("Training", "pictures", made, "what everybody makes of their own")
    if task.shared is not None:
        note = task.shared.note or "given round by hand"
        yield Term("Training", "shared", f"{task.shared.pictures}", note)
    for number, prompt in enumerate(task.preview.prompts, 1):
        yield Term("Training", f"preview {number}", prompt)


def _picture_words(data: DataTask) -> Iterator[str]:
    if data.trigger:
        yield f"captions begin with {data.trigger!r}"
    if data.dropout_milli:
        yield f"{data.dropout_milli / 10:g} % of steps without caption"
    if data.shuffle:
        yield "tags shuffled"
    if data.buckets:
        yield "buckets of aspect ratios"
    if data.crops > 1:
        yield f"{data.crops} crops of each"
    if data.flip:
        yield "mirrored too"


def _member_terms(room: Room, admins: int, threshold: int) -> Iterator[Term]:
    policy = room.genesis.policy
    share = {"majority": "more than half", "two_thirds": "more than two thirds"}[policy.quorum]
    against = {
        "majority": "withstands members that crash or sleep",
        "two_thirds": "also fewer than a third that lie",
    }[policy.quorum]
    yield Term("Members", "quorum", f"{share} of the voters", against)
    yield Term("Members", "voters", f"never fewer than {policy.min_voters}")
    yield Term("Members", "largest file", f"{policy.max_blob // MIB} MiB", "of one contribution")
    of = f"{threshold} of {admins} admin{'' if admins == 1 else 's'}"
    if admins < threshold:
        of = f"{threshold} admins, or all while there are fewer"
    yield Term(
        "Members",
        "signatures",
        of,
        "for whoever comes, goes or gets rights",
        "fedtui room threshold",
    )
    yield Term("Members", "rights", "each member's own", change="fedtui room permit")
