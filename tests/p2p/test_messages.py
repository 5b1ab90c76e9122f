"""Payloads of the round protocol: bytes that others must reproduce, and what is refused."""

from __future__ import annotations

import json
import sys
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.envelope import signed_bytes
from p2p.errors import ProtocolError
from p2p.identity import Identity
from p2p.messages import (
    MAX_ATTEMPT,
    MAX_LARGE_REMEMBERED,
    MAX_SMALL_PAYLOAD,
    MESSAGES,
    NewAttempt,
    Vote,
    chain_hash,
    parse,
    parse_result,
    vote_bytes,
)

VALUE = "ab" * 32
ROOM = "cd" * 32


def test_the_bytes_of_a_vote_and_its_signature_never_change() -> None:
    payload = vote_bytes(7, 3, "commit", VALUE)
    assert payload == b'{"a":3,"ph":"commit","r":7,"v":"' + b"ab" * 32 + b'"}'
    identity = Identity.from_seed(bytes(range(32)))
    signature = identity.sign(signed_bytes(ROOM, "vote", payload))
    assert signature.hex() == (
        "84b7839940a14c6f7429e57c6bec3c7f4c75235c56919e111ad2ba7da6ec16b2"
        "d21a2a4cc887e2706945f999f7c4067ac093aae6c6bf0c34259768380bf90b0e"
    )


def test_the_chain_is_sha256_over_the_raw_hashes() -> None:
    expected = "bba91ca85dc914b2ec3efb9e16e7267bf9193b14350d20fba8a8b406730ae30a"
    assert chain_hash("00" * 32, "ff" * 32) == expected


@given(
    st.integers(1, 100_000),
    st.integers(0, MAX_ATTEMPT),
    st.sampled_from(["prepare", "commit"]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_a_vote_survives_its_encoding(number: int, attempt: int, phase: str, value: str) -> None:
    fields = {"attempt": attempt, "phase": phase, "round": number, "value": value}
    vote = Vote.model_validate(fields)
    assert parse("vote", vote.to_bytes()) == vote
    assert json.loads(vote.to_bytes())["a"] == attempt


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":0,"ph":"prepare","r":1, "v":"%s"}' % VALUE.encode(),
        b'{"ph":"prepare","a":0,"r":1,"v":"%s"}' % VALUE.encode(),
        b'{"a":00,"ph":"prepare","r":1,"v":"%s"}' % VALUE.encode(),
        b'{"a":0,"ph":"prepare","r":0,"v":"%s"}' % VALUE.encode(),
        b'{"a":9999999,"ph":"prepare","r":1,"v":"%s"}' % VALUE.encode(),
        b'{"a":0,"ph":"prepare","r":1,"v":"%s"}\n' % VALUE.encode(),
        b'{"a":0,"ph":"precommit","r":1,"v":"%s"}' % VALUE.encode(),
    ],
)
def test_another_spelling_of_a_vote_is_no_vote(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse("vote", data)


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(kind: str, data: bytes) -> None:
    with suppress(ProtocolError):
        parse(kind, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(MESSAGES)), JSON)
def test_any_json_is_a_message_or_a_protocol_error(kind: str, value: object) -> None:
    for read in (lambda text: parse(kind, text.encode()), parse_result):
        with suppress(ProtocolError):
            read(json.dumps(value))


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"round": "1"},
        {"round": 1.0},
        {"round": True},
        {"round": 0},
        {"attempt": -1},
        {"have": ["x" * 32]},
        {"have": ["a" * 32] * 513},
        {"lock": {"attempt": 0}},
        {"parent": VALUE.upper()},
    ],
)
def test_strictness(change: dict[str, object]) -> None:
    good: dict[str, object] = {"round": 1, "attempt": 0, "parent": VALUE, "have": ["a" * 32]}
    assert isinstance(parse("newattempt", json.dumps(good).encode()), NewAttempt)
    with pytest.raises(ProtocolError):
        parse("newattempt", json.dumps(good | change).encode())


def test_unknown_types_and_double_keys_are_refused() -> None:
    with pytest.raises(ProtocolError):
        parse("gossip", b"{}")
    with pytest.raises(ProtocolError):
        parse("leave", b'{"round":1,"round":2}')


def test_what_is_remembered_of_parsing_stays_small() -> None:
    weights = sys.getsizeof(large_leave(0))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20 * MAX_LARGE_REMEMBERED):
            parse("leave", large_leave(number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2 * MAX_LARGE_REMEMBERED * weights


def large_leave(number: int) -> bytes:
    """A payload padded with blanks."""
    return b'{"round":%d%s}' % (number + 1, b" " * (2 * MAX_SMALL_PAYLOAD))
