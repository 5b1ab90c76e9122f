"""Colour depth: decided before the interface is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtui.errors import UsageError
from fedtui.terminal import chosen_color, color_depth, prepare, require_terminal


@pytest.mark.parametrize(
    ("environment", "depth"),
    [
        ({"TERM": "xterm-ghostty"}, "truecolor"),
        ({"TERM": "foot"}, "truecolor"),
        ({"TERM": "xterm-direct"}, "truecolor"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, None),
        ({"TERM": "xterm-kitty", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-kitty", "TEXTUAL_COLOR_SYSTEM": "256"}, None),
        ({}, None),
    ],
)
def test_only_terminals_known_for_it_get_truecolor(
    environment: dict[str, str], depth: str | None
) -> None:
    assert color_depth(environment) == depth


def test_what_the_user_says_wins() -> None:
    assert color_depth({"COLORTERM": "truecolor"}, "16") == "standard"
    environment = {"TERM": "xterm-kitty"}
    prepare("256", environment)
    assert environment["TEXTUAL_COLOR_SYSTEM"] == "256"
    prepare("none", environment)
    assert environment["NO_COLOR"] == "1"


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_can_only_print_is_refused_with_another_way(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("fedtui.terminal.at_terminal", lambda: True)
    with pytest.raises(UsageError) as refused:
        require_terminal()
    assert term in refused.value.title
    assert "fedtui watch --plain" in refused.value.remedy


def test_the_colour_setting_is_found_without_reading_all_settings(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    assert chosen_color(config, {}) == "auto"
    config.write_text('color = "256"\n')
    assert chosen_color(config, {}) == "256"
    assert chosen_color(config, {"FEDTUI_COLOR": "none"}) == "none"
    config.write_text('color = "purple"\n')
    assert chosen_color(config, {}) == "auto"
    config.write_text("color = ")
    assert chosen_color(config, {}) == "auto"
