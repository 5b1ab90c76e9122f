"""What stands for a value in ``--help``: N or TEXT, where typer would name types of Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperArgument
from typer.models import ArgumentInfo, OptionInfo

WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def build(app: typer.Typer) -> Any:
    """The command of an application, with a word for every value that has none of its own."""
    _name_values(app)
    command = typer.main.get_command(app)
    _plain_arguments(command)
    return command


class _Argument(TyperArgument):
    """An argument as usage lines have always shown them: NAME, [NAME], NAME..."""

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        del ctx
        name = str(self.metavar or self.name)
        name += "..." if self.nargs != 1 and not name.endswith("...") else ""
        return [name if self.required else f"[{name}]"]

    def display_type_rich(self, ctx: Any) -> None:
        """Nothing behind the name, which says it."""
        del ctx


def _name_values(app: typer.Typer) -> None:
    for command in app.registered_commands:
        _name(command.callback)
    if app.registered_callback is not None:
        _name(app.registered_callback.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _name_values(group.typer_instance)


def _name(callback: Callable[..., Any] | None) -> None:
    if callback is None:
        return
    hints = get_type_hints(callback, include_extras=True)
    # Annotations that are strings are made into objects anew for everybody who asks.
    callback.__annotations__ = hints
    for parameter, hint in hints.items():
        if get_origin(hint) is not Annotated:
            continue
        kind, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, ArgumentInfo):
                note.metavar = note.metavar or parameter.strip("_").upper()
            elif isinstance(note, OptionInfo):
                note.metavar = note.metavar or WORDS.get(_single(kind))


def _single(kind: Any) -> Any:
    """``str`` of ``str``, ``str | None``, ``list[str]`` and ``list[str] | None``."""
    for part in get_args(kind):
        if part in WORDS or get_origin(part) is list:
            return _single(part)
    return kind


def _plain_arguments(command: Any) -> None:
    for parameter in command.params:
        if type(parameter) is TyperArgument:
            parameter.__class__ = _Argument
    for each in getattr(command, "commands", {}).values():
        _plain_arguments(each)
