"""What goes over the pipes comes out as it went in, and nothing else does."""

from __future__ import annotations

import json

import pytest

from trainer.protocol import (
    MAX_LINE,
    AdapterSpec,
    Cancel,
    CheckBlob,
    Combine,
    Done,
    ExportAdapter,
    Failed,
    Generate,
    LoraFile,
    Message,
    Progress,
    Ready,
    Request,
    Stop,
    Train,
    WeightedFile,
    WireError,
    decode_message,
    decode_request,
    encode_message,
    encode_request,
)

REQUESTS: list[Request] = [
    Train("m", "f", "o", AdapterSpec(4, 8, ("to_q",)), 5, learning_rate=0.5, min_snr=5.0),
    Generate("m", ("größer\n", '"'), (1, 2), "o", (LoraFile("x", 0.5),)),
    Combine((WeightedFile("a", "p", 3),), "fedavg", "q", "o"),
    CheckBlob("p", "m", AdapterSpec(), 9),
    ExportAdapter("p", "o", "m", "diffusers", {"a": "b"}),
    Cancel(7),
    Stop(),
]
MESSAGES: list[Message] = [
    Ready("full", "cpu", 3),
    Progress(1, {"step": 2, "loss": 0.5}),
    Done(1, {"path": "x", "list": [1]}),
    Failed(1, "a", "b", "c", 5, True),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.kind)
def test_requests_survive_the_wire(request_: Request) -> None:
    line = encode_request(42, request_)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_request(line) == (42, request_)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.kind)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


TRAIN = {
    "id": 1,
    "kind": "train",
    "model": "m",
    "folder": "f",
    "out": "o",
    "spec": {"rank": 4, "alpha": 4, "targets": ["to_q"]},
    "steps": 3,
}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "trian"},
        {"kind": None},
        {"stepz": 3},
        {"steps": "3"},
        {"steps": True},
        {"steps": 3.5},
        {"learning_rate": "fast"},
        {"spec": [4, 4]},
        {"spec": {"rank": 4, "size": 1}},
        {"spec": {"targets": "to_q"}},
        {"spec": {"targets": [3]}},
        {"export": "gguf"},
        {"export": ["factors"]},
        {"model": None},
    ],
)
def test_a_wrong_field_is_an_error_that_still_names_the_request(change: dict[str, object]) -> None:
    assert decode_request(json.dumps(TRAIN).encode())[0] == 1
    with pytest.raises(WireError) as caught:
        decode_request(json.dumps(TRAIN | change).encode())
    assert caught.value.request == 1


def test_a_missing_field_is_an_error() -> None:
    data = {key: value for key, value in TRAIN.items() if key != "folder"}
    with pytest.raises(WireError, match="folder"):
        decode_request(json.dumps(data).encode())


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"[]", b"3", b"null", b'{"id":1.5}', b'{"id":true,"kind":"stop"}', b"[" * 99_999],
)
def test_what_is_no_request_is_an_error_without_a_name(line: bytes) -> None:
    with pytest.raises(WireError) as caught:
        decode_request(line)
    assert caught.value.request is None


def test_lines_are_bounded_both_ways() -> None:
    with pytest.raises(WireError):
        encode_message(Done(1, {"x": "y" * MAX_LINE}))
    with pytest.raises(WireError):
        decode_message(b" " * (MAX_LINE + 1))
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_message(Progress(1, {"loss": float("nan")}))
