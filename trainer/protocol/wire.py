"""Bounded JSON lines, checked field by field against the dataclasses they become."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainer.protocol.conversation import Message, Request

MAX_LINE = 1 << 20
"""Bytes in one line; a longer one ends the conversation."""


class WireError(ValueError):
    """A line that is no message of this protocol.

    ``request`` is the id of the request that the line was meant to be, where it has one.
    """

    request: int | None = None


def encode_request(number: int, request: Request) -> bytes:
    """One line for the worker's stdin. ``number`` is chosen by the parent, unique per worker."""
    return _line({"id": number, "kind": request.kind, **asdict(request)})


def decode_request(line: bytes) -> tuple[int, Request]:
    """Raises :class:`WireError` on anything but a well-formed request."""
    data = _object(line)
    number = data.pop("id", None)
    if type(number) is not int:
        raise WireError("a request needs an integer id")
    try:
        return number, _build(_kinds(Request), data)
    except WireError as error:
        error.request = number
        raise


def encode_message(message: Message) -> bytes:
    """One line for the worker's stdout."""
    return _line({"kind": message.kind, **asdict(message)})


def decode_message(line: bytes) -> Message:
    """Raises :class:`WireError` on anything but a well-formed message."""
    message: Message = _build(_kinds(Message), _object(line))
    return message


def _line(data: dict[str, Any]) -> bytes:
    line = json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise WireError(f"a message of {len(line)} bytes is too long")
    return line


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise WireError("line too long")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise WireError("not an object")
    return data


@cache
def _kinds(base: type[Request] | type[Message]) -> dict[str, Any]:
    """The classes of the whole package by the names they have on the wire."""
    return {cls.kind: cls for cls in base.__subclasses__()}


def _build(kinds: dict[str, Any], data: dict[str, Any]) -> Any:
    kind = kinds.get(str(data.pop("kind", "")))
    if kind is None:
        raise WireError("unknown kind")
    return _dataclass(kind, data)


def _dataclass(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise WireError(f"{cls.__name__} must be an object")
    unknown = set(data) - {f.name for f in fields(cls)}
    if unknown:
        raise WireError(f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    hints = get_type_hints(cls)
    try:
        return cls(**{name: _value(hints[name], value) for name, value in data.items()})
    except TypeError as error:
        raise WireError(str(error)) from error


def _value(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return _dataclass(hint, value)
    args, origin = get_args(hint), get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise WireError("expected a list")
        return tuple(_value(args[0], item) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise WireError("expected an object")
        return {name: _value(args[1], item) for name, item in value.items()}
    if origin is Literal and value not in args:
        raise WireError(f"expected one of {', '.join(args)}, got {value!r}")
    if hint in (int, float, str, bool):
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (hint is not bool and isinstance(value, bool)):
            raise WireError(f"expected {hint.__name__}, got {value!r}")
        return float(value) if hint is float else value
    return value
