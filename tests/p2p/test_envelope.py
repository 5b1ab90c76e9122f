"""Signed messages: what is accepted, what is refused, and the bytes others must reproduce."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.envelope import (
    GENESIS_ROOM,
    Envelope,
    decode_base64,
    encode_base64,
    open_envelope,
    open_genesis,
    seal,
    seal_genesis,
    signed_bytes,
    strict_json,
)
from p2p.errors import LimitError, ProtocolError
from p2p.identity import Identity
from p2p.limits import MAX_JSON_DEPTH, MAX_JSON_INTEGER, MAX_JSON_NODES, MAX_MESSAGE_BYTES

ROOM = "ab" * 32
OTHER_ROOM = "cd" * 32
ADA = Identity.from_seed(bytes(range(32)))
BOB = Identity.from_seed(bytes(32))


# --- golden vectors -------------------------------------------------------------------------
def test_the_signed_bytes_are_golden() -> None:
    assert signed_bytes(ROOM, "vote", b'{"a":1}') == (
        b"fedtui/v1\x00" + b"\x00\x04vote" + bytes.fromhex(ROOM) + b"\x00\x00\x00\x07" + b'{"a":1}'
    )


def test_an_envelope_has_golden_bytes_and_id() -> None:
    envelope = seal(ADA, ROOM, "vote", b'{"a":1}')
    assert envelope.id == "50291d10bc21b088466fa2367988a90d2678cd07c134a5a964c2939f42203e9f"
    assert envelope.to_bytes() == (
        b'{"t":"vote","p":"eyJhIjoxfQ","k":"aoqqpp7tzyil4hlq3umoos6atft6jvrqtosq2xy53sdgiesvgg4a",'
        b'"s":"YpxyozuL3apbUD6dSZ1UhEIY5Y5iV3OhfSkvY4JX1e5L5Nsjuu3meOruGTAghJ_8MkFrU236PHZTqEJlOiB9Dw"}'
    )


# --- acceptance -----------------------------------------------------------------------------
@given(st.binary(max_size=1000), st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True))
def test_what_is_sealed_opens_unchanged(payload: bytes, type_: str) -> None:
    envelope = seal(ADA, ROOM, type_, payload)
    opened = open_envelope(envelope.to_bytes(), ROOM)
    assert opened == envelope
    assert opened.signer == ADA.peer_id
    assert opened.to_bytes() == envelope.to_bytes()


def test_the_wire_may_be_spelled_differently_without_changing_the_id() -> None:
    envelope = seal(ADA, ROOM, "vote", b"{}")
    spaced = json.dumps(json.loads(envelope.to_bytes()), indent=1, sort_keys=True).encode()
    assert open_envelope(spaced, ROOM).id == envelope.id


def test_a_genesis_names_its_own_room() -> None:
    genesis = seal_genesis(ADA, b'{"room_name":"x"}')
    assert open_genesis(genesis.to_bytes()).id == genesis.id
    assert genesis.room == GENESIS_ROOM
    with pytest.raises(ProtocolError):
        open_genesis(seal(ADA, GENESIS_ROOM, "vote", b"{}").to_bytes())
    with pytest.raises(ProtocolError):
        open_envelope(genesis.to_bytes(), genesis.id)


# --- refusal --------------------------------------------------------------------------------
def test_a_signature_is_worthless_in_another_room() -> None:
    with pytest.raises(ProtocolError, match="signature"):
        open_envelope(seal(ADA, ROOM, "vote", b"{}").to_bytes(), OTHER_ROOM)


def test_a_signature_is_worthless_for_another_type_payload_or_signer() -> None:
    envelope = seal(ADA, ROOM, "vote", b"{}")
    for forged in (
        replace(envelope, type="proposal"),
        replace(envelope, payload=b"[]"),
        replace(envelope, signer=BOB.peer_id),
        replace(envelope, type="vot", payload=b"e{}"),
    ):
        with pytest.raises(ProtocolError, match="signature"):
            open_envelope(forged.to_bytes(), ROOM)


def test_another_type_than_expected_is_refused() -> None:
    data = seal(ADA, ROOM, "vote", b"{}").to_bytes()
    assert open_envelope(data, ROOM, type_="vote").type == "vote"
    with pytest.raises(ProtocolError, match="type"):
        open_envelope(data, ROOM, type_="proposal")


def wire(**changes: Any) -> bytes:
    fields = json.loads(seal(ADA, ROOM, "vote", b"{}").to_bytes()) | changes
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        wire(x=""),
        wire(s=None),
        wire(p=1),
        wire(p={}),
        wire(t=""),
        wire(t="Vote"),
        wire(t="a" * 33),
        wire(t="vote\n"),
        wire(k="a" * 52),
        wire(k="A" * 52),
        wire(s=""),
        wire(s="AA"),
        wire(p="e30="),
        wire(p="e31"),
        wire(p="e3 0"),
        wire(p="é"),
        wire()[:-1],
        wire() + b" 1",
        b"\xef\xbb\xbf" + wire(),
        wire().decode().encode("utf-16"),
        wire().replace(b'{"t"', b'{"t":"vote","t"'),
    ],
)
def test_malformed_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        open_envelope(data, ROOM)


def test_size_is_checked_before_anything_else() -> None:
    data = seal(ADA, ROOM, "vote", bytes(MAX_MESSAGE_BYTES)).to_bytes()
    with pytest.raises(LimitError):
        open_envelope(data, ROOM)
    assert open_envelope(data, ROOM, max_bytes=len(data)).type == "vote"


@given(st.binary(max_size=400))
def test_any_bytes_are_an_envelope_or_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        open_envelope(data, ROOM)


@given(st.data())
def test_a_damaged_envelope_never_passes_for_another_statement(data: st.DataObject) -> None:
    envelope = seal(ADA, ROOM, "vote", b'{"round":3}')
    wire_bytes = bytearray(envelope.to_bytes())
    at = data.draw(st.integers(0, len(wire_bytes) - 1))
    wire_bytes[at] = data.draw(st.integers(0, 255))
    try:
        opened = open_envelope(bytes(wire_bytes), ROOM)
    except ProtocolError:
        return
    assert opened == envelope


@pytest.mark.parametrize("room", ["", "ab", "AB" * 32, "g" * 64, "ab" * 32 + "\n"])
def test_a_room_id_has_one_form(room: str) -> None:
    with pytest.raises(ProtocolError):
        signed_bytes(room, "vote", b"")


def test_equal_statements_of_two_members_share_their_id() -> None:
    assert seal(ADA, ROOM, "vote", b"{}").id == seal(BOB, ROOM, "vote", b"{}").id
    assert isinstance(seal(ADA, ROOM, "vote", b"{}"), Envelope)


# --- base64 ---------------------------------------------------------------------------------
@given(st.binary())
def test_base64_round_trips(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data


@given(st.text(max_size=40))
def test_base64_has_one_spelling(text: str) -> None:
    try:
        assert encode_base64(decode_base64(text)) == text
    except ProtocolError:
        return


# --- strict JSON ----------------------------------------------------------------------------
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_JSON_INTEGER, MAX_JSON_INTEGER) | st.text("abé"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_strict_json_reads_what_json_writes(value: Any) -> None:
    try:
        assert strict_json(json.dumps(value).encode(), max_depth=99) == value
    except ProtocolError:
        pytest.fail("a harmless value was refused")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_json_or_a_protocol_error(data: bytes) -> None:
    try:
        strict_json(data)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"1.0",
        b"1e3",
        b"-0.0",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        str(MAX_JSON_INTEGER + 1).encode(),
        str(-MAX_JSON_INTEGER - 1).encode(),
        b"9" * 900_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
        b"[" + b"0," * MAX_JSON_NODES + b"0]",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        '"e\u0301"'.encode(),
        '{"e\u0301":1}'.encode(),
        rb'"\ud800"',
        rb'{"\udfff":1}',
        b'"\xff"',
        b'"\x00"',
        b"{} {}",
        b"[1,]",
        b"'a'",
        b"",
    ],
)
def test_json_that_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        strict_json(data)


def test_json_at_its_limits_is_accepted() -> None:
    deep = b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH
    assert strict_json(deep)
    assert strict_json(str(MAX_JSON_INTEGER).encode()) == MAX_JSON_INTEGER
    assert strict_json(str(-MAX_JSON_INTEGER).encode()) == -MAX_JSON_INTEGER
    assert len(strict_json(b"[" + b"0," * (MAX_JSON_NODES - 2) + b"0]")) == MAX_JSON_NODES - 1
    assert strict_json(rb'"\ud83d\ude00"') == "\U0001f600"


def test_the_id_is_a_sha256_of_the_signed_bytes() -> None:
    envelope = seal(ADA, ROOM, "vote", b"{}")
    assert envelope.id == hashlib.sha256(signed_bytes(ROOM, "vote", b"{}")).hexdigest()
    assert base64.urlsafe_b64decode(json.loads(envelope.to_bytes())["s"] + "==") == (
        envelope.signature
    )
