"""Every key of the interface. Ids are for remapping; tooltips are what the help page says.

No vital key needs ctrl: tmux, zellij and some terminals take those for themselves.
"""

from __future__ import annotations

from textual.binding import Binding, BindingType


def key(
    keys: str,
    action: str,
    label: str,
    tooltip: str,
    id: str,
    *,
    show: bool = False,
    display: str | None = None,
) -> Binding:
    """A binding with everything the footer, the help page and a keymap ask of it."""
    return Binding(keys, action, label, show=show, key_display=display, tooltip=tooltip, id=id)


PREVIOUS = "Show the pictures of the previous prompt"
NEXT = "Show the pictures of the next prompt"

PRINTED = {
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
}


def key_name(binding: Binding) -> str:
    """A key as it is printed on a keyboard."""
    return binding.key_display or PRINTED.get(binding.key, binding.key)


GLOBAL_KEYS: list[BindingType] = [
    key("question_mark", "help", "Help", "Keys and words", "app.help", show=True, display="?"),
    key("f1", "help", "Help", "Keys and words", "app.help.f1"),
    key("q", "quit", "Quit", "Leave the interface", "app.quit", show=True),
]

BACK_KEYS: list[BindingType] = [
    key("escape", "back", "Back", "Back to the dashboard", "screen.back", show=True, display="esc"),
]

DASHBOARD_KEYS: list[BindingType] = [
    key("space", "enlarge", "Large", "Show the newest picture large", "dash.picture", show=True),
    key(
        "left_square_bracket",
        "prompt(-1)",
        "Previous prompt",
        PREVIOUS,
        "dash.prompt.previous",
        display="[",
    ),
    key(
        "right_square_bracket",
        "prompt(1)",
        "Prompt",
        NEXT,
        "dash.prompt.next",
        show=True,
        display="]",
    ),
    key("f", "full", "Full", "Give the focused panel the whole screen", "dash.full", show=True),
    key("e", "events", "Events", "Show all events", "dash.events", show=True),
    key("y", "copy", "Copy", "Copy the value under the focus", "dash.copy"),
    key("o", "outside", "Open", "Open the newest picture in a viewer", "dash.open"),
]

PICTURE_KEYS: list[BindingType] = [
    key("left", "prompt(-1)", "Previous prompt", PREVIOUS, "pictures.previous"),
    key("right", "prompt(1)", "Next prompt", NEXT, "pictures.next"),
]

LARGE_KEYS: list[BindingType] = [
    key("left,h", "round(-1)", "Earlier", "The round before", "large.earlier", show=True),
    key("right,l", "round(1)", "Later", "The round after", "large.later", show=True),
    key("up,k", "prompt(-1)", "Previous prompt", "The previous prompt", "large.prompt.previous"),
    key("down,j", "prompt(1)", "Prompt", "The next prompt", "large.prompt.next", show=True),
    key("left_square_bracket", "prompt(-1)", "Previous prompt", "The previous prompt", "large.["),
    key("right_square_bracket", "prompt(1)", "Prompt", "The next prompt", "large.]"),
    key(
        "c",
        "compare",
        "Compare",
        "Swap with the base model in the same place",
        "large.compare",
        show=True,
    ),
    key("o", "outside", "Open", "Open the picture in a viewer", "large.open", show=True),
    key("y", "copy", "Copy path", "Copy the picture's path", "large.copy", show=True),
    key("space", "back", "Back", "Back to the dashboard", "large.back"),
]

EVENT_KEYS: list[BindingType] = [
    key("y", "copy", "Copy", "Copy the newest event in view", "events.copy", show=True),
    key("e", "back", "Back", "Back to the dashboard", "events.back"),
]

LIST_KEYS: list[BindingType] = [
    key("up,k", "move(-1)", "Up", "Up", "list.up"),
    key("down,j", "move(1)", "Down", "Down", "list.down"),
    key("pageup", "page(-1)", "Page up", "A page up", "list.pageup"),
    key("pagedown", "page(1)", "Page down", "A page down", "list.pagedown"),
    key("home,g", "move(-1000000)", "First", "To the first", "list.first"),
    key("end,G", "move(1000000)", "Last", "To the last", "list.last"),
]

SCROLL_KEYS: list[BindingType] = [
    key("up,k", "scroll_up", "Up", "Up", "scroll.up"),
    key("down,j", "scroll_down", "Down", "Down", "scroll.down"),
    key("home,g", "scroll_home", "First", "To the first", "scroll.first"),
    key("end,G", "scroll_end", "Last", "To the last", "scroll.last"),
]
