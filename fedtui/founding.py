"""Founding a room: its first member, the model everybody must have, the first plan, the genesis."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedtui import rooms, shared
from fedtui.errors import UsageError
from fedtui.keeping import publish_copy
from fedtui.keys import keep
from fedtui.paths import Profile
from fedtui.room_plan import RoomPlan
from fedtui.rule_choice import RuleChoice, chosen_rule
from fedtui.task import (
    MICRO,
    MILLI,
    AdapterTask,
    DataTask,
    PreviewTask,
    RuleTask,
    SharedTask,
    Task,
    refused,
)
from fedtui.training import TrainerProcess
from fedtui.trust import TrustBook
from p2p.blobs.chunks import BlobRef, describe
from p2p.envelope import seal_genesis
from p2p.errors import ProtocolError
from p2p.identity import Identity
from p2p.limits import MIB
from p2p.room import Continuation, Genesis, Member, Plan, Policy, Role
from p2p.text import clean_text
from trainer.protocol import (
    ATTENTION,
    CARRYING,
    CONVOLUTIONS,
    TEXT_ATTENTION,
    Describe,
    InitAdapter,
)

BUILT_IN: str = "tiny-landscapes"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2"]
"""Attention alone learns where things are; a style's texture lives in the convolutions."""
PREVIEW_PROMPTS = 4
WHOLE = "dense"
BUILT_IN_RATE = 3e-3
"""LoRA factors take ten times what full weights take; three rounds are short."""
OTHER_RATE = 1e-4
"""What LoRA trainings of published models commonly use."""
WHOLE_SHARE = 0.1
"""Of a rate for factors, when whole weights are trained."""


@dataclass(frozen=True)
class RoomChoices:
    """What a founder decides. ``deadline_s`` is in seconds; ``learning_rate`` None takes what
    suits the model.

    A round waits until ``min_contributions`` participants are there, however long, and asks ``ask``
    of them for a contribution (None: everybody). Layers whose
    names contain a word of ``personal`` stay with each member; ``proximal`` is FedProx's μ.
    ``rule_options`` are numbers of the rule, like ``clip=1.5`` (:mod:`fedtui.rule_choice`). As many
    admins as ``threshold`` must sign a change of the members; with ``start_on_request`` each round
    waits until somebody who may starts it. ``late`` is what becomes of contributions that come
    after their round was decided. ``convolutions`` and ``text_encoder`` are adapted beside
    attention. ``alpha`` 0 takes the rank, for a scale of 1; ``rank_stabilised`` divides it by the
    rank's root, and ``dropout`` leaves out so many of the adapter's inputs at each step. ``data``
    is what all make of their pictures. Voters are not made fewer than ``min_voters``, whoever is
    away; no contribution may have more than ``max_blob_mib`` MiB.
    """

    name: str
    model: str = BUILT_IN
    algorithm: str = "fedex"
    rule: str = "n_k"
    rule_options: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    proximal: float = 0.0
    convolutions: bool = False
    text_encoder: bool = False
    data: DataTask = field(default_factory=DataTask)
    shared: Path | None = None
    shared_note: str = ""
    rounds: int = 3
    min_contributions: int = 2
    ask: int | None = None
    deadline_s: int = 900
    steps: int = 40
    batch: int = 8
    rank: int = 8
    alpha: int = 0
    dropout: float = 0.0
    rank_stabilised: bool = False
    learning_rate: float | None = None
    prompts: tuple[str, ...] = ()
    quorum: Literal["majority", "two_thirds"] = "majority"
    min_voters: int = 2
    max_blob_mib: int = 256
    threshold: int = 1
    start_on_request: bool = False
    late: Literal["drop", "carry"] = "drop"
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate of one step."""
        if self.learning_rate is not None:
            return self.learning_rate
        usual = BUILT_IN_RATE if self.model == BUILT_IN else OTHER_RATE
        return usual * WHOLE_SHARE if self.algorithm == WHOLE else usual


async def found_planned(profile: Profile, me: str, name: str, plan: RoomPlan) -> rooms.Room:
    """Founds what somebody planned at the screen, who is called ``me``. See :func:`found_room`."""
    choices = RoomChoices(
        name=name,
        model=plan.model or BUILT_IN,
        rounds=plan.rounds,
        steps=plan.steps,
        min_contributions=plan.needed,
        start_on_request=plan.on_request,
        prompts=(plan.prompt,) if plan.prompt else (),
    )
    identity = Identity.load_or_create(profile.identity)
    room = await found_room(profile, identity, me, choices)
    TrustBook(profile.trust).note("created", identity.peer_id, me, room=room.id)
    return room


async def found_room(
    profile: Profile, identity: Identity, member: str, choices: RoomChoices
) -> rooms.Room:
    """Makes a room whose only member and admin is ``identity`` under the name ``member``, and
    makes it the profile's current one.

    Raises :class:`FedtuiError` when a choice does not do or the model cannot be used.
    """
    arithmetic = TrainerProcess("arithmetic", log=profile.arithmetic_log)
    try:
        return await _found(profile, identity, member, choices, arithmetic)
    finally:
        await arithmetic.stop()


async def _found(
    profile: Profile,
    identity: Identity,
    member: str,
    choices: RoomChoices,
    arithmetic: TrainerProcess,
) -> rooms.Room:
    if choices.ask is not None and choices.ask < choices.min_contributions:
        raise UsageError(
            f"a round cannot ask {choices.ask} and need {choices.min_contributions}",
            remedy="raise --ask, or lower --min-contributions",
        )
    if choices.text_encoder and choices.algorithm == WHOLE:
        raise UsageError(
            f"a room of {WHOLE} weights has no adapter of a text encoder",
            remedy="leave --text-encoder out, or choose another --algorithm",
        )
    if choices.algorithm == WHOLE and (choices.alpha or choices.dropout or choices.rank_stabilised):
        raise UsageError(
            f"a room of {WHOLE} weights has no adapter",
            "alpha, dropout and rank stabilisation are of adapters",
            "leave --alpha, --dropout and --rslora out, or choose another --algorithm",
        )
    if choices.personal and choices.algorithm == WHOLE:
        raise UsageError(
            f"the algorithm {WHOLE} has no personal layers",
            "it trains and sends every weight",
            "leave out --personal, or train an adapter",
        )
    if choices.late == "carry" and choices.algorithm not in CARRYING:
        raise UsageError(
            f"late contributions cannot be carried over with {choices.algorithm}",
            "they were trained beside another base than the round they would count in has",
            f"choose --late drop, or one of {', '.join(sorted(CARRYING))}",
        )
    model = await arithmetic.request(Describe(choices.model))
    rule = chosen_rule(
        model,
        choices.algorithm,
        RuleChoice(choices.rule, choices.rule_options),
        choices.min_contributions,
    )
    prompts = list(choices.prompts or model["prompts"][:PREVIEW_PROMPTS])
    if not prompts:
        raise UsageError(
            "a room needs at least one prompt to draw previews of",
            f"{choices.model} brings none of its own",
            "say --prompt TEXT, several times if you like",
        )
    agreed = None
    if choices.shared is not None:
        agreed = await shared.described(arithmetic, choices.shared, choices.shared_note)
    task = _checked_task(choices, rule, prompts, model["sha256"], agreed)
    draft = profile.root / f"initial-{secrets.token_hex(4)}.safetensors"
    try:
        await arithmetic.request(
            InitAdapter(task.model, task.adapter.spec, task.seed, str(draft), choices.algorithm)
        )
        initial = await asyncio.to_thread(describe, draft)
        if initial.size > choices.max_blob_mib * MIB:
            raise UsageError(
                f"contributions to this room have {initial.size / MIB:,.0f} MiB",
                f"it would take none above {choices.max_blob_mib}",
                "raise --max-blob, or train fewer weights (--rank, another --algorithm)",
            )
        genesis = Genesis(
            room_name=_cleaned(choices.name, "room"),
            created_ms=max(0, int(time.time() * 1000)),
            admins=[identity.peer_id],
            admin_threshold=choices.threshold,
            policy=Policy(
                quorum=choices.quorum,
                min_voters=choices.min_voters,
                max_blob=choices.max_blob_mib * MIB,
            ),
            members=[Member.of(identity, _cleaned(member, "member"), "admin")],
            plan=Plan(
                rounds=choices.rounds,
                deadline_ms=choices.deadline_s * 1000,
                min_contributions=choices.min_contributions,
                ask=choices.ask,
                algorithm=choices.algorithm,
                start_on_request=choices.start_on_request or None,
                late="carry" if choices.late == "carry" else None,
                task=task.to_plan(),
            ),
            initial_blob=initial.sha256,
            initial_size=initial.size,
            initial_chunks=initial.chunks,
            nonce=secrets.token_hex(16),
        )
        room = rooms.enter(profile, seal_genesis(identity, genesis.to_bytes()))
        await asyncio.to_thread(draft.replace, room.paths.initial)
        if choices.shared is not None:
            shared.choose(room.paths, choices.shared)
    except ValueError as error:
        raise refused(error) from error
    finally:
        draft.unlink(missing_ok=True)
    return room


async def continue_room(
    profile: Profile,
    identity: Identity,
    room: rooms.Room,
    survivors: list[Member],
    head: Continuation,
    state: tuple[BlobRef, Path],
) -> rooms.Room:
    """Forks a room that lost its quorum: a new one with the ``survivors`` as founding members,
    that goes on from the last result (``state``: its name and its bytes) with the rounds left.

    The profile goes on working for the old one: nobody has been told of the fork yet. Raises
    :class:`FedtuiError` when nothing is left to do, OSError when the disk refuses, which leaves no
    half of a room.
    """
    left = room.genesis.plan.rounds - head.round
    if left < 1:
        raise UsageError("all rounds of the room are done", remedy="make a new room")
    blob, path = state
    genesis = room.genesis.model_copy(
        update={
            "created_ms": max(0, int(time.time() * 1000)),
            "admins": [identity.peer_id],
            "admin_threshold": 1,
            "members": [
                member.model_copy(update={"role": _role_after(member, identity.peer_id)})
                for member in survivors
            ],
            "plan": room.genesis.plan.model_copy(update={"rounds": left}),
            "initial_blob": blob.sha256,
            "initial_size": blob.size,
            "initial_chunks": blob.chunks,
            "nonce": secrets.token_hex(16),
            "continues": head,
        }
    )
    made = rooms.keep(profile, seal_genesis(identity, genesis.to_bytes()))
    try:
        keep(profile, made.paths, identity)
        await asyncio.to_thread(publish_copy, path, made.paths.initial, blob.sha256)
    except BaseException:
        shutil.rmtree(made.paths.root, ignore_errors=True)
        raise
    return made


def _role_after(member: Member, admin: str) -> Role:
    if member.peer_id == admin:
        return "admin"
    return "participant" if member.role == "admin" else member.role


def _checked_task(
    choices: RoomChoices,
    rule: RuleTask,
    prompts: list[str],
    model_sha256: str,
    agreed: SharedTask | None,
) -> Task:
    try:
        return Task(
            model=choices.model,
            model_sha256=model_sha256,
            adapter=AdapterTask(
                rank=choices.rank,
                alpha=choices.alpha or choices.rank,
                targets=_targets(choices),
                personal=list(choices.personal),
                text_targets=list(TEXT_ATTENTION) if choices.text_encoder else [],
                dropout_milli=round(choices.dropout * MILLI),
                rank_stabilised=choices.rank_stabilised,
            ),
            data=choices.data,
            shared=agreed,
            rule=rule,
            steps=choices.steps,
            batch=choices.batch,
            learning_rate_micro=round(choices.rate * MICRO),
            proximal_micro=round(choices.proximal * 1_000_000),
            seed=choices.seed,
            preview=PreviewTask(prompts=prompts),
        )
    except ValueError as error:
        raise refused(error) from error


def _targets(choices: RoomChoices) -> list[str]:
    """The denoiser's layers that get an adapter."""
    if choices.convolutions:
        return [*ATTENTION, *CONVOLUTIONS]
    return TARGETS if choices.model == BUILT_IN else list(ATTENTION)


def _cleaned(name: str, what: str) -> str:
    try:
        return clean_text(name)
    except ProtocolError as error:
        raise UsageError(f"the {what}'s name has no visible character") from error
