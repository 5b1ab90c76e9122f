"""Founding the demo's room: identities, pictures, the first adapter, the genesis, the profiles.

Pictures, training and identities follow from the seed, so that the same demo ends in the same
adapter. Its room is a new one each time, so that two demos on one machine never meet. Identities
made from a public seed protect nothing: the demo's nodes listen on loopback only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from asyncio import to_thread
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import rooms
from fedtui.control.address import LOOPBACK
from fedtui.demo.options import MODEL, DemoOptions, DemoPaths
from fedtui.errors import ExitCode, FedtuiError
from fedtui.founding import PREVIEW_PROMPTS, TARGETS, RoomChoices
from fedtui.paths import Profile, make_private
from fedtui.rule_choice import RuleChoice, chosen_rule
from fedtui.task import MICRO, AdapterTask, PreviewTask, Task
from fedtui.training import TrainerProcess
from p2p.blobs.chunks import BlobRef, describe
from p2p.envelope import Envelope, seal_genesis
from p2p.identity import Identity
from p2p.room import Genesis, Member, Plan, Policy
from trainer.protocol import CheckData, Describe, InitAdapter, SampleData, SplitData

NAMES = (
    "Ada", "Grace", "Alan", "Barbara", "Edsger", "Hedy", "Donald", "Katherine",
    "Claude", "Radia", "Linus", "Margaret", "Niklaus", "Sophie", "Tim", "Shafi",
)  # fmt: skip
SHARES = (20, 40, 60, 40, 40)
"""Pictures per participant, as in the FedFlow paper; repeated for further participants."""
STYLE = "van_gogh"
HOLDOUT = 24
"""Held-out pictures of the built-in experiment; of a user's folder a fifth, at most as many."""
PREVIEW_STEPS = 20
QUICK_PREVIEW_STEPS = 2
BATCH = 8
DEADLINE_MS = 15 * 60 * 1000
HELD_OUT = -2


@dataclass(frozen=True)
class Participant:
    """One node of the demo."""

    index: int
    name: str
    identity: Identity
    profile: Profile
    data: Path


@dataclass(frozen=True)
class Founded:
    """A demo that is ready to start."""

    paths: DemoPaths
    room: rooms.Room
    participants: tuple[Participant, ...]

    def name_of(self, peer_id: str) -> str:
        names = {p.identity.peer_id: p.name for p in self.participants}
        return names.get(peer_id, peer_id[:8])


async def found(options: DemoOptions, paths: DemoPaths, arithmetic: TrainerProcess) -> Founded:
    """Writes a room and its profiles below ``paths``, and a user's own pictures split among them.

    The built-in pictures take a minute for many nodes, so :func:`draw_share` writes them one
    participant at a time. Raises :class:`FedtuiError` when the user's pictures do not do.
    """
    participants = tuple(
        Participant(i, NAMES[i], demo_identity(options.seed, i), paths.profile(i), paths.data(i))
        for i in range(options.nodes)
    )
    model = await arithmetic.request(Describe(MODEL))
    choice = RuleChoice(options.rule, options.rule_options)
    rule = chosen_rule(model, options.algorithm, choice, options.nodes)
    prompts = await _split(options, paths, arithmetic) if options.data else []
    task = Task(
        model=MODEL,
        model_sha256=model["sha256"],
        adapter=AdapterTask(targets=TARGETS),
        rule=rule,
        steps=options.steps,
        batch=BATCH,
        learning_rate_micro=round(RoomChoices("", algorithm=options.algorithm).rate * MICRO),
        proximal_micro=round(options.proximal * MICRO),
        seed=options.seed,
        preview=PreviewTask(
            prompts=(prompts or model["prompts"][:PREVIEW_PROMPTS])[: 1 if options.quick else None],
            steps=QUICK_PREVIEW_STEPS if options.quick else PREVIEW_STEPS,
        ),
    )
    await arithmetic.request(
        InitAdapter(MODEL, task.adapter.spec, options.seed, str(paths.initial), options.algorithm)
    )
    envelope = _genesis(options, participants, task, await to_thread(describe, paths.initial))
    entered = [_write_profile(each, envelope) for each in participants]
    return Founded(paths, entered[0], participants)


async def draw_share(
    options: DemoOptions, paths: DemoPaths, index: int, arithmetic: TrainerProcess
) -> None:
    """Writes the built-in pictures of one participant; a user's own were split at the founding."""
    if options.data is None:
        share = SHARES[index % len(SHARES)]
        await arithmetic.request(
            SampleData(str(paths.data(index)), share, STYLE, options.seed, participant=index)
        )


async def draw_holdout(options: DemoOptions, paths: DemoPaths, arithmetic: TrainerProcess) -> None:
    """Writes the built-in pictures that no participant has."""
    if options.data is None:
        await arithmetic.request(
            SampleData(str(paths.holdout), HOLDOUT, STYLE, options.seed, participant=HELD_OUT)
        )


async def _split(options: DemoOptions, paths: DemoPaths, arithmetic: TrainerProcess) -> list[str]:
    """Shares out a user's own pictures; returns some of their captions as prompts."""
    report = await arithmetic.request(CheckData(str(options.data)))
    usable = int(report["usable"])
    holdout = min(HOLDOUT, usable // 5)
    if usable - holdout < options.nodes:
        raise FedtuiError(
            f"{options.data} has too few pictures",
            f"{usable} can be used, {options.nodes} nodes need one each",
            f"see `fedtui data check {options.data}`",
            code=ExitCode.DEVICE,
        )
    folders = tuple(str(paths.data(i)) for i in range(options.nodes))
    await arithmetic.request(
        SplitData(str(options.data), folders, options.seed, holdout, str(paths.holdout))
    )
    return _distinct_captions(report)


def _distinct_captions(report: dict[str, Any]) -> list[str]:
    captions = (str(picture["caption"])[:300] for picture in report["pictures"])
    return list(dict.fromkeys(caption for caption in captions if caption))[:PREVIEW_PROMPTS]


def _genesis(
    options: DemoOptions,
    participants: tuple[Participant, ...],
    task: Task,
    initial: BlobRef,
) -> Envelope:
    founder = participants[0].identity
    members = [
        Member(
            peer_id=each.identity.peer_id,
            name=each.name,
            role="admin" if each.index == 0 else "participant",
            certificate=base64.b64encode(each.identity.certificate_der()).decode(),
        )
        for each in participants
    ]
    genesis = Genesis(
        room_name="demo",
        created_ms=options.seed,
        admins=[founder.peer_id],
        policy=Policy(min_voters=min(2, options.nodes)),
        members=members,
        plan=Plan(
            rounds=options.rounds,
            deadline_ms=DEADLINE_MS,
            algorithm=options.algorithm,
            min_contributions=task.rule.spec.fewest,
            task=task.to_plan(),
        ),
        initial_blob=initial.sha256,
        initial_size=initial.size,
        initial_chunks=initial.chunks,
        nonce=secrets.token_hex(16),
    )
    return seal_genesis(founder, genesis.to_bytes())


def _write_profile(each: Participant, envelope: Envelope) -> rooms.Room:
    make_private(each.profile.root)
    descriptor = os.open(each.profile.identity, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(each.identity.private_key_pem())
    # JSON strings are TOML strings too.
    settings = {
        "name": json.dumps(each.name),
        "data": json.dumps(str(each.data)),
        "host": json.dumps(LOOPBACK),
        "interfaces": json.dumps([LOOPBACK]),
        "threads": "1",
        "previews": json.dumps(each.index == 0),
    }
    lines = [f"{key} = {value}" for key, value in settings.items()]
    each.profile.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rooms.enter(each.profile, envelope)


def demo_identity(seed: int, index: int) -> Identity:
    """The identity of a demo's node: worth nothing as a secret, and the same for the same seed."""
    return Identity.from_seed(_derived(seed, f"identity {index}"))


def _derived(seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"fedtui demo\0{seed}\0{purpose}".encode()).digest()
