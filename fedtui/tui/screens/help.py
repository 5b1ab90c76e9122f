"""Keys of the screen below, and the words the interface uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fedtui.tui.keymap import BACK_KEYS, key, key_name
from fedtui.tui.lines import Line, left, wrapped
from fedtui.tui.widgets.sheet import Sheet

GLOSSARY = (
    ("adapter", "A small file that changes how the model draws. The room makes one together."),
    (
        "round",
        "Everybody learns from their own pictures; one member combines what was learned; the "
        "others check the result and agree; everybody goes on from it.",
    ),
    ("room", "Its members, the model they started from, what they agreed on, and its history."),
    (
        "contribution",
        "What one member learned in a round, signed. Never its pictures.",
    ),
    (
        "aggregator",
        "◆ The member that combines the contributions of a round, another one each time: a task, "
        "no prize. Everybody computes its result again; it is never trusted.",
    ),
    (
        "my loss",
        "How wrong this machine's predictions were while it trained; lower is better. The curve is "
        "of its steps, the line and the number below it are the mean of a round's steps, and the "
        "arrow compares the mean of the newest round with that of the first.",
    ),
    (
        "seed",
        "The number that a picture's starting noise is made from. The same prompt and seed in "
        "every round: what differs is what the room has learned.",
    ),
    (
        "quorum",
        "So many voters must agree before a result counts: 3 of 5, say. Not everybody has to be "
        "there, but more than half.",
    ),
    (
        "prepare, commit",
        "The two votes of a voter: I computed the same (agree); it is decided (signed).",
    ),
    ("attempt", "One try at finishing a round. The next attempt has the next aggregator."),
    ("preview", "Pictures drawn after each commit. r0 is from before any training."),
    ("heard, rtt", "When a member was last heard, and how long its answer took."),
)

STATES = (
    ("● TRAIN  ↑ UPLOAD  ✓ SENT", "training, sending its contribution, sent"),
    ("○ READY  ○ IDLE  ◌ WATCH  ◌ LOADING", "waiting, nothing to do, only watching, starting"),
    ("? SUSPECT  ✗ LOST  ✗ LEFT", "late, gone without a word, gone with one"),
    ("◌ UNSEEN", "not met since this machine started"),
)

WORD = 18
"""Cells for the word that is explained."""

HIDDEN = frozenset({"ctrl+c", "ctrl+q", "super+c", "tab", "shift+tab"})
"""The library's own keys, told in one line of ours."""


class HelpScreen(ModalScreen[None]):
    """A page over the screen it explains."""

    AUTO_FOCUS = "Sheet"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK_KEYS,
        key("question_mark,f1", "back", "Back", "Close the help", "help.close"),
    ]

    def __init__(self, bindings: dict[str, ActiveBinding], hint: str) -> None:
        super().__init__()
        self._keys = key_rows(bindings)
        self._hint = hint

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with Vertical(id="help"):
            page = Sheet(self._text)
            page.border_title = "Help"
            page.border_subtitle = "esc closes"
            yield page

    def action_back(self) -> None:
        """Closes the page."""
        self.dismiss()

    def _text(self, width: int) -> Sequence[Line]:
        width -= 1  # a blank before the scrollbar
        rows = [*self._keys, ("tab, shift+tab", "From panel to panel"), ("ctrl+p", "All commands")]
        lines = [section("Keys"), *entries(rows, width)]
        if self._hint:
            lines += [(), section("Leaving"), *wrapped(self._hint, width)]
        lines += [(), section("Words"), *entries(GLOSSARY, width)]
        lines += [(), section("Members"), *entries(STATES, width, 37 if width > 70 else WORD)]
        return lines


def section(name: str) -> Line:
    """A heading."""
    return ((name, "accent"),)


def entries(rows: Sequence[tuple[str, str]], width: int, word: int = WORD) -> list[Line]:
    """Words at the left, explanations beside them, broken to the width."""
    lines: list[Line] = []
    for name, text in rows:
        if cell_len(name) > word:
            lines.append(((name, "strong"),))
            name = ""
        broken = wrapped(text, max(10, width - word - 2))
        for i, line in enumerate(broken):
            lines.append(((left(name if i == 0 else "", word + 2), "strong"), *line))
    return lines


def key_rows(bindings: dict[str, ActiveBinding]) -> list[tuple[str, str]]:
    """The keys that work on a screen, those of one action together, as they are mapped now."""
    rows: dict[str, list[str]] = {}
    for active in bindings.values():
        binding = active.binding
        if binding.id is None or binding.key in HIDDEN:
            continue
        shown = key_name(binding)
        keys = rows.setdefault(binding.tooltip or binding.description, [])
        if shown not in keys:
            keys.append(shown)
    return [(", ".join(keys), told) for told, keys in rows.items()]
