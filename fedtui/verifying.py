"""Recomputing what a room decided: every committed round here, or one exported adapter anywhere."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedtui import provenance
from fedtui.errors import FedtuiError, TrustError
from fedtui.history import proven
from fedtui.paths import sha256_of
from fedtui.rooms import Room
from fedtui.task import read_task
from fedtui.training import TrainerProcess
from fedtui.workload import AdapterWorkload
from p2p.errors import P2PError
from p2p.rounds.proof import History, ProvenRound
from p2p.workload import Input
from trainer.protocol import DENSE, RestoreAdapter

Outcome = Literal["equal", "kept", "skipped", "missing"]
"""Recomputed with equal bytes; result here but inputs gone; nothing to compute; no files here."""


@dataclass(frozen=True)
class RoundVerdict:
    """What was found about a committed round whose certificate holds."""

    round: int
    outcome: Outcome
    result: str
    inputs: int
    signers: int


@dataclass(frozen=True)
class FileVerdict:
    """What was found about an exported adapter. ``exact``: the committed bytes are in it; else
    it was cut, or holds a moving average, and only the exporter says where it came from."""

    room: str
    round: int
    committed: str
    exporter: str
    exact: bool
    rank: int
    error: str


async def verify_room(
    room: Room,
    arithmetic: TrainerProcess,
    only: int | None = None,
    tell: Callable[[RoundVerdict], None] = lambda verdict: None,
) -> list[RoundVerdict]:
    """Checks the ledger and recomputes its rounds from the files here, the oldest first.

    Raises :class:`TrustError` at the first round whose certificate, hashes or result do not hold,
    :class:`FedtuiError` when the ledger cannot be read.
    """
    # A running node commits a round before it keeps its adapter: adapters are looked for first.
    kept = await asyncio.to_thread(_kept_adapters, room)
    history = await asyncio.to_thread(proven, room)
    await asyncio.to_thread(_check_kept, room, history, kept)
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="fedtui-verify-") as folder:
        workload = AdapterWorkload(
            arithmetic,
            Path(folder) / "work",
            max_blob=room.genesis.policy.max_blob,
        )
        for each in history.rounds:
            if only in (None, each.result.round):
                verdict = await _recomputed(room, workload, each)
                tell(verdict)
                verdicts.append(verdict)
    return verdicts


def _kept_adapters(room: Room) -> dict[int, Path]:
    """The files under names that people use: the first adapter as 0, those of rounds after it."""
    found = {0: room.paths.initial} if room.paths.initial.is_file() else {}
    for path in room.paths.adapters.glob("round-*.safetensors"):
        number = path.stem.removeprefix("round-")
        if number.isdecimal():
            found[int(number)] = path
    return found


def _check_kept(room: Room, history: History, kept: Mapping[int, Path]) -> None:
    """Raises :class:`TrustError` for a genesis or adapter that is not what the ledger names."""
    genesis = room.paths.genesis
    if genesis.read_bytes() != room.envelope.to_bytes():
        raise TrustError(f"{genesis.name} is damaged", "it is not spelt as it was signed")
    committed = {proven.result.round: proven.result.result_blob for proven in history.rounds}
    committed[0] = room.genesis.initial_blob
    for number, path in sorted(kept.items()):
        if number not in committed:
            raise TrustError(
                f"the ledger ends before round {number}",
                f"{path} says that there was one",
                "the ledger was cut, or the file is not of this room",
            )
        if sha256_of(path) != committed[number]:
            raise TrustError(
                f"the adapter of round {number} is damaged",
                f"{path} is not what was committed",
                "remove it: a running node makes it again",
            )


async def _recomputed(room: Room, workload: AdapterWorkload, proven: ProvenRound) -> RoundVerdict:
    result = proven.result

    def verdict(outcome: Outcome) -> RoundVerdict:
        return RoundVerdict(
            result.round, outcome, result.result_blob, len(result.inputs), len(proven.signers)
        )

    if result.skipped:
        return verdict("skipped")
    names = [result.result_blob, proven.previous.sha256, *(item.blob for item in result.inputs)]
    files = {name: await asyncio.to_thread(_intact, room, name, result.round) for name in names}
    if None in files.values():
        return verdict("missing" if files[result.result_blob] is None else "kept")
    inputs = [
        Input(item.peer, _there(files[item.blob]), item.weight)
        for item in sorted(result.inputs, key=lambda item: item.peer)
    ]
    try:
        again = await workload.combine(
            inputs, room.genesis.plan, _there(files[proven.previous.sha256])
        )
    except P2PError as error:
        raise FedtuiError(f"round {result.round} cannot be recomputed", error.cause) from error
    if await asyncio.to_thread(sha256_of, again) != result.result_blob:
        raise TrustError(
            f"round {result.round} is not what its inputs give",
            f"{len(result.inputs)} contributions give another file than the committed one",
            "compare with other members; this machine or the room's voters computed wrongly",
        )
    again.unlink()
    return verdict("equal")


def _there(path: Path | None) -> Path:
    assert path is not None
    return path


def _intact(room: Room, sha256: str, round_number: int) -> Path | None:
    """The file of a blob, None where it is not here. Raises :class:`TrustError` when it rotted."""
    path = room.paths.blob(sha256)
    try:
        digest = sha256_of(path)
    except FileNotFoundError:
        return None
    if digest != sha256:
        raise TrustError(
            f"a file of round {round_number} is damaged",
            f"{path} is not what its name says",
            "remove it: a running node fetches it again from the others",
        )
    return path


async def verify_file(adapter: Path, arithmetic: TrainerProcess) -> FileVerdict:
    """Checks an exported adapter against the record beside it.

    Raises :class:`TrustError` when anything does not hold, :class:`UsageError` without a record.
    """
    record = await asyncio.to_thread(provenance.read, adapter)
    statement = record.statement
    plan = record.history.genesis.plan
    task = read_task(plan.task)
    whole = plan.algorithm == DENSE
    exact = not statement.rank and not (whole and task.rule.ema_milli)
    if exact:
        with tempfile.TemporaryDirectory(prefix="fedtui-verify-") as folder:
            out = str(Path(folder) / "restored")
            rank = 0 if whole else task.adapter.rank
            request = RestoreAdapter(str(adapter), task.model, rank, out)
            restored = await arithmetic.request(request)
        if restored["sha256"] != statement.committed:
            raise TrustError(
                f"{adapter.name} is not what the room committed",
                f"it holds {restored['sha256'][:12]}…, round {statement.round} is "
                f"{statement.committed[:12]}…",
            )
    return FileVerdict(
        record.room_id,
        statement.round,
        statement.committed,
        record.signer,
        exact,
        statement.rank,
        statement.error,
    )
