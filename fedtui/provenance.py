"""The record beside an exported adapter: a room's history that anybody can check.

``adapter.safetensors`` gets ``adapter.fedtui.json``: the genesis, every commit up to the round with
its quorum certificate, and a statement, signed by whoever exported, which bytes were written. The
history needs no trust in the exporter, and neither does an exact export: the committed bytes can be
put together from it again. Of a truncated one, only the exporter says where it came from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.limits import PROVENANCE_BYTES
from fedtui.rooms import Room
from p2p.durable import publish
from p2p.envelope import decode_base64, encode_base64, open_envelope, open_genesis, seal
from p2p.errors import P2PError, ProtocolError
from p2p.identity import Identity
from p2p.operations import read_payload
from p2p.room import Digest, Message
from p2p.rounds.proof import History, prove, read_ledger

SUFFIX = ".fedtui.json"
FORMAT = "fedtui provenance 1"


class Statement(Message):
    """What was exported. ``history`` binds genesis and commits, ``rank`` 0 means exact."""

    kind: ClassVar[str] = "export"

    history: Digest
    round: Annotated[int, Field(ge=1, le=100_000)]
    committed: Digest
    file: Digest
    size: Annotated[int, Field(ge=1, lt=1 << 53)]
    rank: Annotated[int, Field(ge=0, le=4096)]
    error: Annotated[str, StringConstraints(pattern=r"^[0-9.e+-]{1,24}$")]


@dataclass(frozen=True)
class Record:
    """A checked record: the history up to the round, and the statement with its signer."""

    history: History
    statement: Statement
    signer: str
    room_id: str


def record_path(adapter: Path) -> Path:
    """Where the record of an exported adapter lies."""
    return adapter.with_name(adapter.name.removesuffix(".safetensors") + SUFFIX)


def write(
    room: Room, identity: Identity, round_number: int, adapter: Path, rank: int, error: float
) -> Path:
    """Writes the record of an adapter that was just exported.

    Raises :class:`FedtuiError` when the ledger cannot be read or holds no such round.
    """
    try:
        commits = read_ledger(room.paths.root, room.id)[:round_number]
        history = prove(room.envelope, commits)
    except P2PError as problem:
        raise FedtuiError(problem.title, problem.cause, problem.remedy) from problem
    if len(history.rounds) < round_number:
        raise FedtuiError(f"the ledger here does not reach round {round_number}")
    genesis = room.envelope.to_bytes().decode()
    texts = [encode_base64(commit) for commit in commits]
    data = adapter.read_bytes()
    statement = Statement(
        history=_digest(genesis, texts),
        round=round_number,
        committed=history.rounds[-1].result.result_blob,
        file=hashlib.sha256(data).hexdigest(),
        size=len(data),
        rank=rank,
        error=f"{error:.6g}",
    )
    sealed = seal(identity, room.id, Statement.kind, statement.to_bytes())
    path = record_path(adapter)
    publish(path, _encoded(genesis, texts, sealed.to_bytes().decode()))
    return path


def read(adapter: Path) -> Record:
    """Reads and checks the record of an adapter, without looking at what the adapter holds.

    Raises :class:`UsageError` when there is no record, :class:`TrustError` when anything in it, or
    the adapter's bytes, is not as it was signed.
    """
    path = record_path(adapter)
    try:
        with path.open("rb") as file:
            data = file.read(PROVENANCE_BYTES + 1)
        digest, size = _hash(adapter)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read",
            error.strerror or "",
            "`fedtui export` writes both files; keep them together",
        ) from error
    try:
        return _checked(data, digest, size)
    except P2PError as error:
        raise TrustError(f"{adapter.name} is not proven", error.cause) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrustError(f"{path.name} is damaged", str(error)[:200]) from error


def _checked(data: bytes, digest: str, size: int) -> Record:
    if len(data) > PROVENANCE_BYTES:
        raise ProtocolError("the record is too large")
    fields: dict[str, Any] = json.loads(data)
    genesis, texts, sealed = fields["genesis"], fields["commits"], fields["statement"]
    if data != _encoded(genesis, texts, sealed):
        raise ProtocolError("the record is not written as fedtui writes it")
    envelope = open_genesis(genesis.encode())
    statement_envelope = open_envelope(sealed.encode(), envelope.id, type_=Statement.kind)
    for text, again in ((genesis, envelope), (sealed, statement_envelope)):
        if text != again.to_bytes().decode():
            raise ProtocolError("an envelope is not in its canonical spelling")
    statement = read_payload(Statement, statement_envelope.payload)
    if statement.history != _digest(genesis, texts):
        raise ProtocolError("the statement is about another history")
    if (statement.file, statement.size) != (digest, size):
        raise ProtocolError("the adapter's bytes are not those that were exported")
    history = prove(envelope, [decode_base64(text) for text in texts])
    if len(history.rounds) != statement.round:
        raise ProtocolError("the history does not end at the round that was exported")
    if history.rounds[-1].result.result_blob != statement.committed:
        raise ProtocolError("the statement names another result than the round's")
    known = history.facts.members.keys() | {member.peer_id for member in history.genesis.members}
    if statement_envelope.signer not in known:
        raise ProtocolError("the exporter is no member of the room")
    return Record(history, statement, statement_envelope.signer, envelope.id)


def _encoded(genesis: str, commits: list[str], statement: str) -> bytes:
    fields = {"format": FORMAT, "genesis": genesis, "commits": commits, "statement": statement}
    return (json.dumps(fields, indent=1) + "\n").encode()


def _digest(genesis: str, commits: list[str]) -> str:
    return hashlib.sha256("\n".join((genesis, *commits)).encode()).hexdigest()


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
