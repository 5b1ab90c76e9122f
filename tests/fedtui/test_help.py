"""``--help`` of every command: whole sentences, words of this program, none of Python's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fedtui.cli import metavars
from fedtui.cli.app import app, run
from trainer.aggregate.modes import MODES
from trainer.aggregate.rules import RULES
from trainer.protocol import ALGORITHMS
from trainer.protocol import RULES as RULE_NAMES


def every_command(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield names
    for name, each in getattr(command, "commands", {}).items():
        yield from every_command(each, (*names, name))


COMMAND = metavars.build(app)
COMMANDS = tuple(every_command(COMMAND))


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_is_whole_and_in_plain_words(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    COMMAND.main([*names, "--help"], prog_name="fedtui", standalone_mode=False)
    shown = capsys.readouterr().out
    cut = [line for line in shown.splitlines() if line.endswith("...") and "Usage:" not in line]
    assert not cut
    for leak in ("<str>", "<int", "<float", "<path>", "list[", "{"):
        assert leak not in shown


def test_the_help_names_every_algorithm_and_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert MODES == ALGORITHMS
    assert tuple(RULES) == RULE_NAMES
    run(["room", "create", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*ALGORITHMS, *RULE_NAMES))


@pytest.mark.parametrize("names", ["generate", "combine", "room create", "room join", "data check"])
def test_a_command_with_many_options_shows_how_it_is_used(
    names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*names.split(), "--help"])
    shown = capsys.readouterr().out
    assert f"\n  Example: fedtui {names} " in shown
