"""What a node can be asked to do: named operations with checked arguments.

An operation is an async function and a frozen dataclass of its arguments. Arguments arrive as JSON
from a program of the node's own user; a missing, unknown or wrong one is an error that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from fedtui.errors import UsageError

Result = dict[str, Any]
_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of a byte in a file's name that is no UTF-8; JSON has no way to say it."""
A = TypeVar("A")


class _Operation(NamedTuple):
    arguments: type[Any]
    run: Callable[[Any], Awaitable[Result]]


class Operations:
    """The operations of one node, by name."""

    def __init__(self) -> None:
        self._known: dict[str, _Operation] = {}

    def add(self, name: str, arguments: type[A], run: Callable[[A], Awaitable[Result]]) -> None:
        """Offers ``run`` under ``name``; ``arguments`` is a dataclass of JSON values.

        The result must be JSON values; a :class:`~fedtui.errors.FedtuiError` reaches the caller
        with its three parts.
        """
        if name in self._known:
            raise ValueError(f"there is an operation {name!r} already")
        self._known[name] = _Operation(arguments, run)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._known))

    def arguments_of(self, name: str) -> type[Any]:
        """The dataclass of an operation's arguments. Raises :class:`KeyError`."""
        return self._known[name].arguments

    async def run(self, name: str, values: dict[str, Any]) -> Result:
        """Runs an operation. Raises :class:`~fedtui.errors.FedtuiError`."""
        operation = self._known.get(name)
        if operation is None:
            raise UsageError(
                f"this node cannot {name!r}",
                "it is of another version, or has no room yet",
                f"it can: {', '.join(self.names) or 'nothing'}",
            )
        return await operation.run(_checked(operation.arguments, name, values))


def _checked(kind: type[A], name: str, values: dict[str, Any]) -> A:
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UsageError(f"{name} takes no {key!r}", remedy=f"it takes {', '.join(known)}")
    try:
        # Strict as JSON is: true is no number, "3" neither; an array is a tuple.
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        if any(_SURROGATE.search(value) for value in values.values() if isinstance(value, str)):
            raise UsageError(
                "a name in this is no text",
                "a file is called by bytes that are not UTF-8",
                "rename the file, or use the command in a shell",
            ) from error
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{name}: {where} is wrong", str(first["msg"])) from error
