"""Every key of the interface. Ids are for remapping; tooltips are what the help page says.

No vital key needs ctrl: tmux, zellij and some terminals take those for themselves.
"""

from __future__ import annotations

from textual.binding import Binding, BindingType

from fedtui.tui.places import PLACES


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


HELP = "app.help"
"""The one key that is shown however narrow the window is."""

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


TO_PLACES: list[BindingType] = [
    key(
        {",": "comma", "D": "D,f12"}.get(place.key, place.key),
        f"place('{place.id}')",
        place.name,
        f"To the screen {place.name}",
        f"app.place.{place.id}",
        display=place.key,
    )
    for place in PLACES
]

GLOBAL_KEYS: list[BindingType] = [
    *TO_PLACES,
    key("question_mark", "help", "Help", "Keys and words", HELP, show=True, display="?"),
    key("f1", "help", "Help", "Keys and words", "app.help.f1"),
    key("colon", "palette", "Commands", "All commands by name", "app.palette", display=":"),
    key("w", "place('wall')", "Wall", "Large, for a projector", "app.wall"),
    key("q", "quit", "Quit", "Leave the interface", "app.quit", show=True),
]

SCREEN_KEYS: list[BindingType] = [
    key("escape", "back", "Back", "Back, or to the dashboard", "place.back", display="esc"),
    key("f", "full", "Full screen", "Give the focused panel the whole screen", "place.full"),
    key("y", "copy", "Copy", "Copy the value under the focus", "place.copy"),
]

BACK_KEYS: list[BindingType] = [
    key("escape", "back", "Back", "Back to the dashboard", "screen.back", show=True, display="esc"),
]

START = "Start the round that waits for it"

TAKE_HOME = "Pack the adapter, what it drew and who contributed, to take home"

DASHBOARD_KEYS: list[BindingType] = [
    key("s", "start", "Start round", START, "dash.start", show=True),
    key("e", "take_home", "Take home", TAKE_HOME, "dash.take_home"),
    key("space", "enlarge", "Enlarge", "Show the newest picture large", "dash.picture", show=True),
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
        "Next prompt",
        NEXT,
        "dash.prompt.next",
        show=True,
        display="]",
    ),
    key(
        "f",
        "full",
        "Full screen",
        "Give the focused panel the whole screen",
        "dash.full",
        show=True,
    ),
    key("o", "outside", "Open", "Open the newest picture in a viewer", "dash.open"),
]

PICTURE_KEYS: list[BindingType] = [
    key("left", "prompt(-1)", "Previous prompt", PREVIOUS, "pictures.previous"),
    key("right", "prompt(1)", "Next prompt", NEXT, "pictures.next"),
]

PAIR_KEYS: list[BindingType] = [
    *PICTURE_KEYS,
    key("enter", "enlarge", "Enlarge", "Show the picture large", "pair.large", show=True),
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
    key("a", "play", "Play", "Show round after round by itself", "large.play", show=True),
    key("o", "outside", "Open", "Open the picture in a viewer", "large.open", show=True),
    key("y", "copy", "Copy path", "Copy the picture's path", "large.copy", show=True),
    key("space", "back", "Back", "Back to the dashboard", "large.back"),
]

LIST_KEYS: list[BindingType] = [
    key("up,k", "move(-1)", "Up", "Up", "list.up"),
    key("down,j", "move(1)", "Down", "Down", "list.down"),
    key("pageup", "page(-1)", "Page up", "A page up", "list.pageup"),
    key("pagedown", "page(1)", "Page down", "A page down", "list.pagedown"),
    key("home,g", "move(-1000000)", "First", "To the first", "list.first"),
    key("end,G", "move(1000000)", "Last", "To the last", "list.last"),
    key("enter", "open", "Details", "Open what is under the cursor", "list.open", show=True),
]

GALLERY_KEYS: list[BindingType] = [
    key("left,h", "round(-1)", "Round", "The round before", "gallery.earlier", display="←"),
    key("right,l", "round(1)", "Round", "The round after", "gallery.later", show=True),
    key("up,k", "prompt(-1)", "Previous prompt", "The prompt before", "gallery.previous"),
    key("down,j", "prompt(1)", "Prompt", "The prompt after", "gallery.next", show=True),
    key("space,enter", "enlarge", "Enlarge", "Show the picture large", "gallery.large", show=True),
    key("p", "pin", "Pin", "Compare with this round from now on", "gallery.pin", show=True),
    key(
        "c",
        "compare",
        "Compare",
        "Swap with the pinned round in the same place",
        "gallery.compare",
        show=True,
    ),
    key("a", "play", "Play", "Show round after round by itself", "gallery.play", show=True),
    key("e", "export", "Export", "Save all pictures in one labelled file", "gallery.export"),
    key("o", "outside", "Open", "Open the picture in a viewer", "gallery.open"),
    key("m", "without", "Without mine", "The round without your contribution", "gallery.without"),
    key("W", "page", "Page", "A page of the pictures for phones", "gallery.page"),
]

WITHOUT_KEYS: list[BindingType] = [
    key("up,k", "prompt(-1)", "Previous prompt", "The prompt before", "without.previous"),
    key("down,j", "prompt(1)", "Prompt", "The prompt after", "without.next", show=True),
    key("e", "sheet", "Export", "Save all pairs in one labelled file", "without.sheet", show=True),
    key("o", "outside", "Open", "Open the picture in a viewer", "without.open", show=True),
]

LOG_KEYS: list[BindingType] = [
    key(
        "slash",
        "find",
        "Filter",
        "Only lines with a text; ! at its start: without it",
        "logs.find",
        show=True,
        display="/",
    ),
    key("l", "level", "Level", "Only lines of at least this level", "logs.level", show=True),
    key("s", "source", "Source", "Another log", "logs.source", show=True),
    key("v", "panes", "Panes", "A pane for each log, or one at a time", "logs.panes", show=True),
    key("t", "tail", "Newest", "To the newest line, and follow it", "logs.tail", show=True),
    key("L", "path", "Copy path", "Copy where the log lies", "logs.path"),
]

DATA_KEYS: list[BindingType] = [
    key("o", "choose", "Folder", "Type another folder", "data.choose", show=True),
    key("c", "caption", "Caption", "Write the picture's caption", "data.caption", show=True),
    key("x", "exclude", "Leave out", "Leave it out, or let it in", "data.exclude", show=True),
    key("u", "undo", "Undo", "Take the last caption back", "data.undo"),
    key("A", "name", "By names", "Caption by file names where none is", "data.name"),
    key("t", "train", "Use folder", "Train on this folder from now on", "data.train", show=True),
    key("O", "outside", "Open", "Open the picture in a viewer", "data.open", show=True),
]

STUDIO_KEYS: list[BindingType] = [
    key("f5", "draw", "Draw", "Draw with what is set", "studio.draw", show=True, display="F5"),
    key("f6", "seed", "New seed", "Another seed", "studio.seed", show=True, display="F6"),
    key("f7", "again", "Reuse", "Take over what made the picture", "studio.again", display="F7"),
    key("f8", "stop", "Stop", "Stop drawing", "studio.stop", display="F8"),
    key("v", "vary('across')", "Grid", "What varies across a grid", "studio.vary", show=True),
    key("V", "vary('down')", "Down", "What varies down a grid", "studio.vary.down"),
    key("left", "mark(-1)", "Picture before", "Mark the picture before", "studio.mark.before"),
    key("right", "mark(1)", "Picture after", "Mark the picture after", "studio.mark.after"),
    key(
        "left_square_bracket",
        "weight(-0.05)",
        "Less",
        "Less of the adapter",
        "studio.less",
        display="[",
    ),
    key(
        "right_square_bracket",
        "weight(0.05)",
        "More weight",
        "More of the adapter",
        "studio.more",
        show=True,
        display="]",
    ),
    key("space", "switch", "On/off", "Use the adapter or not", "studio.switch"),
    key("p", "prompt", "Prompt", "Write the prompt", "studio.prompt", show=True),
    key("e", "sheet", "Export", "Save the pictures on one labelled sheet", "studio.sheet"),
    key("o", "outside", "Open", "Open the picture in a viewer", "studio.open"),
    key(
        "less_than_sign",
        "earlier(1)",
        "Earlier",
        "The pictures drawn before",
        "studio.earlier",
        display="<",
    ),
    key(
        "greater_than_sign",
        "earlier(-1)",
        "Later",
        "The pictures drawn after",
        "studio.later",
        display=">",
    ),
]

LIBRARY_KEYS: list[BindingType] = [
    key(
        "i",
        "take",
        "Import",
        "Take in an adapter file, or download a base model",
        "library.take",
        show=True,
    ),
    key("e", "export", "Export", "Write it for ComfyUI and A1111", "library.export", show=True),
    key("u", "studio", "Use", "Draw with it in the studio", "library.use", show=True),
    key("space", "mark", "Mark", "Mark it to be merged with others", "library.mark"),
    key("m", "merge", "Merge", "Make one of those that are marked", "library.merge", show=True),
    key("x", "delete", "Delete", "Delete the file, after a question", "library.delete", show=True),
    key("p", "pictures", "Pictures", "Pictures before and after, or details", "library.pictures"),
    key(
        "left_square_bracket",
        "prompt(-1)",
        "Previous prompt",
        PREVIOUS,
        "library.prompt.previous",
        display="[",
    ),
    key(
        "right_square_bracket", "prompt(1)", "Next prompt", NEXT, "library.prompt.next", display="]"
    ),
    key(
        "d",
        "difference",
        "Compare",
        "What differs between two adapters",
        "library.compare",
        show=True,
    ),
    key("b", "bases", "Base models", "Base models, or adapters again", "library.bases", show=True),
    key("h", "hash", "Hash", "Copy its whole SHA-256", "library.hash", show=True),
    key("s", "stop_download", "Stop", "Stop the download", "library.stop", show=True),
]

PEER_KEYS: list[BindingType] = [
    key(
        "a",
        "address",
        "Add address",
        "Connect to a member at an address",
        "peers.address",
        show=True,
    ),
    key("t", "network", "Network", "The ways to the others, and traffic", "peers.ways", show=True),
    key("o", "order", "Order", "Put the members in another order", "peers.order", show=True),
]

ORDER_KEYS: list[BindingType] = [
    key("escape,o", "back", "Back", "Leave the order as it is", "order.back", display="esc"),
    key("n", "by('name')", "Name", "By name", "order.name"),
    key("s", "by('state')", "State", "By state, who needs help first", "order.state"),
    key("p", "by('progress')", "Progress", "By progress, the furthest first", "order.progress"),
    key("l", "by('loss')", "Loss", "By loss, the lowest first", "order.loss"),
    key("i", "by('pictures')", "Pictures", "By pictures, most first", "order.pictures"),
    key("h", "by('heard')", "Heard", "By when heard, the longest silent first", "order.heard"),
    key("r", "by('rtt')", "Round trip", "By round trip, the slowest first", "order.rtt"),
    key("d", "by('device')", "Device", "By device", "order.device"),
    key("c", "by('role')", "Role", "By role", "order.role"),
    key("m", "by('')", "Me first", "Me first, the others as the room lists them", "order.none"),
]

ROUND_KEYS: list[BindingType] = [
    key("s", "start", "Start round", START, "rounds.start", show=True),
    key("t", "times", "Times", "Who did what when in the round", "rounds.times", show=True),
    key("d", "difference", "Compare", "What changed between two rounds", "rounds.diff", show=True),
]

DIFFERENCE_KEYS: list[BindingType] = [
    key("escape,d", "back", "Close", "Back to the rounds", "diff.back", display="esc"),
    key("left,h", "earlier(-1)", "Earlier", "An earlier round to compare with", "diff.old.before"),
    key("right,l", "earlier(1)", "Later", "A later round to compare with", "diff.old.after"),
    key(
        "left_square_bracket",
        "later(-1)",
        "Earlier",
        "An earlier round that is compared",
        "diff.new.before",
        display="[",
    ),
    key(
        "right_square_bracket",
        "later(1)",
        "Later",
        "A later round that is compared",
        "diff.new.after",
        display="]",
    ),
]

COMPARISON_KEYS: list[BindingType] = [
    key(
        "escape,d", "back", "Close", "Back to the library", "compare.back", show=True, display="esc"
    ),
    key("left,h", "old(-1)", "Left", "Another adapter at the left", "compare.old.before"),
    key(
        "right,l",
        "old(1)",
        "Left",
        "The next one at the left",
        "compare.old",
        show=True,
        display="→",
    ),
    key(
        "left_square_bracket",
        "new(-1)",
        "Right",
        "Another adapter at the right",
        "compare.new.before",
        display="[",
    ),
    key(
        "right_square_bracket",
        "new(1)",
        "Right",
        "The next one at the right",
        "compare.new",
        show=True,
        display="]",
    ),
    key("n", "prompt(1)", "Prompt", NEXT, "compare.prompt", show=True),
    key("N", "prompt(-1)", "Previous prompt", PREVIOUS, "compare.prompt.previous"),
    key("p", "pictures", "Pictures", "Their pictures, or their facts", "compare.p", show=True),
    key("space", "enlarge", "Enlarge", "Show the right picture large", "compare.large"),
]

ROOM_KEYS: list[BindingType] = [
    key("i", "invite(False)", "Invite", "A link that lets others in", "room.invite", show=True),
    key(
        "I", "invite(True)", "Code", "A code to say aloud, for one machine", "room.code", show=True
    ),
    key("a", "approve", "Let in", "Let the newcomer in, or sign", "room.approve", show=True),
    key("x", "decline", "Send away", "Send the newcomer away", "room.decline"),
    key("v", "verify", "Verify", "The words are the same", "room.verify", show=True),
    key("m", "rights", "Rights", "What the member may do", "room.rights", show=True),
    key("M", "admin", "Admin", "Make the member an admin, or take that back", "room.admin"),
    key("A", "threshold", "Agree", "How many admins must sign a change", "room.threshold"),
    key("X", "remove", "Remove", "Remove the member from the room", "room.remove"),
    key("s", "start", "Start round", START, "room.start", show=True),
    key("p", "plan", "Plan", "What the room agreed on", "room.plan", show=True),
    key("L", "leave", "Leave", "Leave the room, after a question", "room.leave", show=True),
    key("t", "history", "Trust", "What happened that concerns trust", "room.trust", show=True),
    key("o", "rooms", "Rooms", "Other rooms of this machine, or a new one", "room.o", show=True),
]

ROOMS_KEYS: list[BindingType] = [
    key("escape,o", "back", "Stay", "Stay in the present room", "rooms.back", display="esc"),
    key("n", "make", "Make", "Make a room and work for it", "rooms.make", show=True),
    key("J", "join", "Join", "Join a room with an invite", "rooms.join", show=True),
]

DOCTOR_KEYS: list[BindingType] = [
    key("r", "examine", "Again", "Look again", "doctor.again", show=True),
]

WELCOME_KEYS: list[BindingType] = [
    key("down", "next(1)", "Next", "The next field", "welcome.next", show=True),
    key("up", "next(-1)", "Previous", "The field before", "welcome.previous"),
    key(
        "escape", "choices", "Back", "Back to the choices", "welcome.back", show=True, display="esc"
    ),
    key("f10", "quit", "Quit", "Leave", "welcome.quit", show=True, display="F10"),
]

SETTINGS_KEYS: list[BindingType] = [
    key(
        "right,l", "change(1)", "Change", "The next value", "settings.next", show=True, display="→"
    ),
    key("left,h", "change(-1)", "Before", "The value before", "settings.previous"),
    key("R", "reset", "Reset", "Put this setting back", "settings.reset", show=True),
]

WALL_KEYS: list[BindingType] = [
    key("space", "freeze", "Freeze", "Stop or go on with the slideshow", "wall.freeze"),
    key("right,l", "prompt(1)", "Prompt", "The next prompt", "wall.next"),
    key("left,h", "prompt(-1)", "Prompt", "The prompt before", "wall.previous"),
    key("n", "names", "Names", "Hide or show names", "wall.names"),
    key("i", "pictures", "Pictures", "Hide or show the pictures", "wall.pictures"),
    key("e", "take_home", "Take home", f"{TAKE_HOME}; with names where they are shown", "wall.e"),
    key("I", "invite", "Invite", "Show an invite for everybody in the room to see", "wall.invite"),
]

TAPE_KEYS: list[BindingType] = [
    key("P", "tape_pause", "Pause", "Stop or go on with the recording", "tape.pause"),
    key("greater_than_sign", "tape_skip(30)", "Skip", "Half a minute on", "tape.on", display=">"),
    key("less_than_sign", "tape_skip(-30)", "Back", "Half a minute back", "tape.back", display="<"),
    key("plus", "tape_speed(2.0)", "Faster", "Twice as fast", "tape.faster", display="+"),
    key("minus", "tape_speed(0.5)", "Slower", "Half as fast", "tape.slower", display="-"),
]

SCROLL_KEYS: list[BindingType] = [
    key("up,k", "scroll_up", "Up", "Up", "scroll.up"),
    key("down,j", "scroll_down", "Down", "Down", "scroll.down"),
    key("home,g", "scroll_home", "First", "To the first", "scroll.first"),
    key("end,G", "scroll_end", "Last", "To the last", "scroll.last"),
]
