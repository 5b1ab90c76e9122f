"""What reads bytes of strangers or members: each target takes any bytes, and fails on a surprise.

A surprise is any exception but the ones that the parser documents. ``seeds`` are well-formed
inputs for the fuzzer to begin with.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

from zeroconf import DNSIncoming
from zeroconf.asyncio import AsyncServiceInfo

from fedtui.exhibition import pack, unpack
from p2p.discovery import Discovery, room_tag, today
from p2p.envelope import open_envelope, open_genesis, seal, seal_genesis, strict_json
from p2p.errors import ProtocolError, TrustError
from p2p.gossip.hello import Hello
from p2p.gossip.packets import Codec, to_bytes
from p2p.identity import Identity
from p2p.joining import nearby
from p2p.joining.code import parse_code
from p2p.joining.link import InviteLink, parse_link
from p2p.joining.wire import Admitted, read, read_answer
from p2p.messages import MESSAGES, parse, vote_bytes
from p2p.operations import CHANGES, read_payload
from p2p.room import read_genesis
from p2p.sim.parts import simulated_genesis
from trainer.tensor_file import FormatError, read_header

ROOM = "ab" * 32
ADA = Identity.from_seed(bytes(32))
CODEC = Codec(ADA, ROOM)
SERVICE = "_fedtui._tcp.local."
DISCOVERY = Discovery(ADA.peer_id, ROOM, 1, on_hint=lambda *_: None, interfaces=["127.0.0.1"])
RECORD = b"".join(
    len(entry).to_bytes(1) + entry
    for entry in (
        b"v=1",
        f"id={Identity.from_seed(bytes([1]) * 32).peer_id}".encode(),
        f"rt={room_tag(ROOM, today())}".encode(),
    )
)


@dataclass(frozen=True)
class Target:
    """A parser: ``run`` returns for any bytes, or raises what a bug looks like."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def envelope(data: bytes) -> None:
    with suppress(ProtocolError):
        open_envelope(data, ROOM)


def genesis(data: bytes) -> None:
    with suppress(ProtocolError, TrustError):
        read_genesis(open_genesis(data))


def json_text(data: bytes) -> None:
    with suppress(ProtocolError):
        json.dumps(strict_json(data))


def message(data: bytes) -> None:
    """The payloads that members sign; the first byte chooses which."""
    kinds = sorted(MESSAGES) + sorted(CHANGES)
    kind = kinds[data[0] % len(kinds)] if data else kinds[0]
    with suppress(ProtocolError):
        if kind in MESSAGES:
            parse(kind, data[1:])
        else:
            read_payload(CHANGES[kind], data[1:])


def hello(data: bytes) -> None:
    with suppress(ProtocolError):
        CODEC.open_packet(ADA.peer_id, data, lambda *_: True)


def lobby(data: bytes) -> None:
    """What a newcomer and a lobby say to one another."""
    for kind in WORDS:
        with suppress(ProtocolError):
            read(kind, data)
    with suppress(ProtocolError):
        read_answer(data, Admitted)


def link(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for spelt in (text, "fedtui:" + text):
        with suppress(ProtocolError):
            parse_link(spelt)
    with suppress(ProtocolError):
        parse_code(text)


def mdns(data: bytes) -> None:
    """A packet as it comes from the network, and a record with any properties."""
    with suppress(Exception):  # The library's own parser; what it hands on is ours.
        DNSIncoming(data).answers()
    info = AsyncServiceInfo(SERVICE, f"x.{SERVICE}", port=1, properties=data)
    nearby._read(info, 7, True)
    with suppress(ProtocolError):
        DISCOVERY._read(info)


def tensor_header(data: bytes) -> None:
    with suppress(FormatError):
        read_header(BytesIO(data))


def exhibit(data: bytes) -> None:
    with suppress(ValueError):
        unpack(data, 1, 64)


WORDS = tuple(
    kind
    for kind in vars(__import__("p2p.joining.wire", fromlist=["wire"])).values()
    if isinstance(kind, type) and "say" in getattr(kind, "model_fields", {})
)
HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
LINK = InviteLink(
    room=ROOM, inviter=ADA.peer_id, secret=bytes(16), addresses=(), expires_ms=0, uses=1,
    head_round=0, head=ROOM,
)  # fmt: skip
FOUNDING = simulated_genesis(3, "majority", 1000).model_copy(update={"admins": [ADA.peer_id]})
SAID = Hello(
    incarnation=1, seq=1, round=1, head=ROOM, attempt=0, port=1, hosts=(), status={"step": 1}
)

TARGETS = MappingProxyType(
    {
        "envelope": Target(envelope, (seal(ADA, ROOM, "vote", b'{"a":1}').to_bytes(),)),
        "genesis": Target(genesis, (seal_genesis(ADA, FOUNDING.to_bytes()).to_bytes(),)),
        "json": Target(json_text, (b'{"a":[1,"b",{"c":null}],"d":true}',)),
        "message": Target(message, (b"\x0a" + vote_bytes(1, 0, "prepare", ROOM),)),
        "hello": Target(hello, (to_bytes([CODEC.speak(SAID)]),)),
        "lobby": Target(lobby, (b'{"say":"refused","reason":"expired"}', b'{"say":"hello"}')),
        "link": Target(link, (str(LINK).encode(), b"7-river-candy-bronze")),
        "mdns": Target(mdns, (b"\x03v=1\x03n=7", RECORD)),
        "tensor_header": Target(
            tensor_header, (struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),)
        ),
        "exhibit": Target(exhibit, (pack([b"\x89PNG\r\n\x1a\n" + bytes(40)]),)),
    }
)
