"""Cheap stand-ins for what the simulator does not examine: signatures and arithmetic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from p2p.blobs.chunks import BlobRef, ChunkList
from p2p.envelope import Envelope, decode_base64
from p2p.errors import ProtocolError
from p2p.room import Genesis, Member, Message, Plan, Policy
from p2p.rounds.effects import Part
from p2p.rounds.quorum import Rule

ROOM_ID: Final = hashlib.sha256(b"simulated room").hexdigest()
BLOB_SIZE: Final = 1024
_NAMES: Final = "abcdefghijklmnopqrstuvwxyz"


def blob_of(sha256: str) -> BlobRef:
    """A blob of one chunk, of which nobody looks at the bytes."""
    return BlobRef(sha256, BLOB_SIZE, ChunkList.of_one(sha256).digest)


INITIAL: Final = blob_of(hashlib.sha256(b"initial").hexdigest())


class SimSigner:
    """Signatures that are hashes: nobody in a simulation forges one, so they need no secret."""

    def __init__(self, peer_id: str) -> None:
        self._peer_id = peer_id

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def seal(self, message: Message) -> Envelope:
        payload = message.to_bytes()
        signature = _signature(self._peer_id, message.kind, payload)
        return Envelope(message.kind, payload, self._peer_id, signature, ROOM_ID)

    def open(self, text: str) -> Envelope:
        return _open(text)

    def verify(self, peer: str, kind: str, payload: bytes, signature: bytes) -> bool:
        return signature == _signature(peer, kind, payload)

    def check_certificate(self, certificate: str, peer: str) -> None:
        """Simulated members have no certificate."""


@lru_cache(maxsize=4096)
def _open(text: str) -> Envelope:
    fields = json.loads(text)
    payload, signature = decode_base64(fields["p"]), decode_base64(fields["s"])
    if signature != _signature(fields["k"], fields["t"], payload):
        raise ProtocolError("a quoted envelope was never sealed")
    return Envelope(fields["t"], payload, fields["k"], signature, ROOM_ID)


def open_simulated(data: bytes, _room_id: str) -> Envelope:
    """As :func:`p2p.envelope.open_envelope`, for the signatures of this simulator."""
    return _open(data.decode())


def _signature(peer: str, kind: str, payload: bytes) -> bytes:
    return hashlib.sha512(b"|".join((peer.encode(), kind.encode(), payload))).digest()


def peer_ids(count: int) -> tuple[str, ...]:
    return tuple(_NAMES[index] * 52 for index in range(count))


def simulated_genesis(
    count: int,
    rule: Rule,
    deadline_ms: int,
    *,
    admin: int = 0,
    min_voters: int = 2,
    carry: bool = False,
) -> Genesis:
    """A room of ``count`` founders, of whom the one numbered ``admin`` decides who joins."""
    peers = peer_ids(count)
    return Genesis(
        room_name="simulated",
        created_ms=0,
        admins=[peers[admin]],
        policy=Policy(quorum=rule, min_voters=min_voters, max_blob=1 << 20),
        members=[Member(peer_id=peer, name=peer[:1], certificate="") for peer in peers],
        plan=Plan(
            rounds=100_000,
            deadline_ms=deadline_ms,
            min_contributions=1,
            late="carry" if carry else None,
            task={},
        ),
        initial_blob=INITIAL.sha256,
        initial_size=INITIAL.size,
        initial_chunks=INITIAL.chunks,
        nonce="0" * 32,
    )


def contribution_blob(peer: str, round_number: int, parent: str, bad: bool) -> BlobRef:
    """What a node trains: a name that fails the check of everybody starts with zeros."""
    digest = hashlib.sha256(f"{peer}|{round_number}|{parent}".encode()).hexdigest()
    return blob_of("0000" + digest[4:] if bad else "1" + digest[1:])


def is_bad(blob: str) -> bool:
    return blob.startswith("0000")


def combine(parts: Iterable[Part], previous: BlobRef) -> BlobRef:
    """The result: a pure function of inputs and previous result, as the product's."""
    text = "|".join(f"{part.id}:{part.blob}:{part.weight}" for part in parts)
    return blob_of(hashlib.sha256(f"{previous.sha256}|{text}".encode()).hexdigest())
