"""How the interface looks and which keys it takes; every change is seen at once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fedtui.tui import keymap
from fedtui.tui.facts import heading, said
from fedtui.tui.keymap import SETTINGS_KEYS, key_name
from fedtui.tui.lines import Line, wrapped
from fedtui.tui.look import CHOICES, Look
from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.themes import THEMES
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Column, Table, one

if TYPE_CHECKING:
    from fedtui.tui.app import FedtuiApp

MEANINGS: Mapping[str, str] = {
    "theme": "Colours. fedtui, fedtui-light and fedtui-wall are made for this program, the last "
    "one for projectors; the others come with the terminal library. ansi-dark and ansi-light "
    "take the terminal's own colours.",
    "density": "Comfortable draws frames around panels; compact leaves them out, for small "
    "windows.",
    "pictures": "auto takes what the terminal's colours allow: quadrants (four pixels a cell) "
    "with full colour, dithered half blocks with 256. half is for fonts with ugly quadrants, "
    "shades for terminals that know ASCII only, off for slow lines. kitty and sixel show the large "
    "view in true pixels, from the next start on, where the terminal says that it can and "
    "textual-image is installed; not inside tmux or over ssh, where fedtui --pictures insists.",
    "characters": "unicode draws curves in braille; blocks is for fonts that lack braille; ascii "
    "for terminals that know nothing else.",
}
ELSEWHERE = (
    "Name, folder, device, threads, interfaces and port are settings of the node: they are in "
    "config.toml of the profile (fedtui locate), or FEDTUI_NAME and so on in the environment."
)


@dataclass(frozen=True)
class Setting:
    """A row: ``field`` of the look, or the key of the action with this ``binding``."""

    name: str
    value: str
    field: str = ""
    binding: Binding | None = None


def every_binding() -> tuple[Binding, ...]:
    """All keys of the interface, in the order of the key map."""
    found: dict[str, Binding] = {}
    for name in dir(keymap):
        if name.endswith("_KEYS"):
            for each in getattr(keymap, name):
                if isinstance(each, Binding) and each.id:
                    found.setdefault(each.id, each)
    return tuple(found.values())


def settings(look: Look) -> tuple[Setting, ...]:
    """What can be chosen, with what is chosen."""
    rows = [Setting(name, str(getattr(look, name)), field=name) for name in ("theme", *CHOICES)]
    rows += [
        Setting(f"key {each.id}", look.keys.get(each.id or "", each.key), binding=each)
        for each in every_binding()
    ]
    return tuple(rows)


COLUMNS: tuple[Column[Setting], ...] = (
    Column("setting", 0, 14, 32, lambda s, w: one(s.name, w)),
    Column("value", 0, 10, 24, lambda s, w: one(s.value, w, "accent")),
)


class SettingsScreen(LiveScreen):
    """A list and what each entry means."""

    PLACE = "settings"
    BINDINGS: ClassVar[list[BindingType]] = SETTINGS_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Setting] = Table(COLUMNS, lambda s: s.name, id="settings")
        self.sheet = Sheet(id="meaning")

    @property
    def ours(self) -> FedtuiApp:
        """The application, by its own type."""
        return cast("FedtuiApp", self.app)

    def body(self) -> ComposeResult:
        """Choices and meanings."""
        self.table.add_class("panel")
        self.sheet.add_class("panel")
        yield Split(self.table, self.sheet)

    def on_mount(self) -> None:
        """Shows what is chosen."""
        self.table.entitle((("Settings", "muted"),), (("← → change", "muted"),))
        self._fill()

    def _fill(self) -> None:
        self.table.fill(settings(self.ours.look))
        self._explain()

    def on_table_moved(self, message: Table.Moved) -> None:
        """Explains the setting under the cursor."""
        message.stop()
        self._explain()

    def on_table_opened(self, message: Table.Opened) -> None:
        """The next value, or a new key."""
        message.stop()
        self.action_change(1)

    def _explain(self) -> None:
        chosen = self.table.selected
        if chosen is not None:
            self.sheet.entitle(((chosen.name, "strong"),))
            self.sheet.show(lambda width: meaning(chosen, self._choices(chosen.field), width))

    def _choices(self, field: str) -> tuple[str, ...]:
        if field == "theme":
            own = tuple(theme.name for theme in THEMES)
            return own + tuple(sorted(set(self.app.available_themes) - set(own)))
        return CHOICES.get(field, ())

    def action_change(self, step: int) -> None:
        """The next or the previous value; for a key, asks for the new one."""
        chosen = self.table.selected
        if chosen is None:
            return
        if chosen.binding is not None:
            self.app.push_screen(KeyScreen(chosen.binding), self._take_key)
            return
        choices = self._choices(chosen.field)
        at = choices.index(chosen.value) if chosen.value in choices else 0
        self.ours.change_look(**{chosen.field: choices[(at + step) % len(choices)]})
        self._fill()

    def _take_key(self, pressed: str | None) -> None:
        chosen = self.table.selected
        if not pressed or chosen is None or chosen.binding is None:
            return
        identity = str(chosen.binding.id)
        taken = taken_by(pressed, identity, self.ours.look)
        if taken:
            self.notify(
                f"{pressed} is the key of {taken.id}: {taken.tooltip}. Change that one first.",
                title="This key is taken",
                severity="warning",
                markup=False,
            )
            return
        self.ours.change_look(keys={**self.ours.look.keys, identity: pressed})
        self._fill()

    def action_reset(self) -> None:
        """Puts the setting under the cursor back."""
        chosen = self.table.selected
        if chosen is None:
            return
        if chosen.binding is not None:
            keys = {k: v for k, v in self.ours.look.keys.items() if k != chosen.binding.id}
            self.ours.change_look(keys=keys)
        else:
            self.ours.change_look(**{chosen.field: getattr(Look(), chosen.field)})
        self._fill()


def taken_by(pressed: str, identity: str, look: Look) -> Binding | None:
    """The other action with this key on the same screen, or everywhere."""
    group = identity.split(".")[0]
    for each in every_binding():
        other = str(each.id)
        near = other.split(".")[0] in (group, "app", "place") or group in ("app", "place")
        if other != identity and near and pressed in look.keys.get(other, each.key).split(","):
            return each
    return None


def meaning(chosen: Setting, choices: tuple[str, ...], width: int) -> list[Line]:
    """What a setting does and which values it takes."""
    if chosen.binding is not None:
        lines = wrapped(f"{chosen.binding.tooltip}.", width - 1)
        lines += [(), *said("as made", key_name(chosen.binding), width)]
        return [*lines, (), *wrapped("enter asks for another key, R puts it back.", width, "muted")]
    lines = wrapped(MEANINGS[chosen.field], width - 1)
    lines += [(), heading("Values")]
    for value in choices:
        mine = value == chosen.value
        lines.append((("▸ " if mine else "  ", "accent"), (value, "strong" if mine else "text")))
    return [*lines, (), *wrapped(ELSEWHERE, width - 1, "muted")]


class KeyScreen(ModalScreen[str]):
    """Waits for one key and returns its name."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss('')", show=False, priority=True)
    ]

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._told = f"{binding.tooltip}.\n\nPress the new key. esc keeps {key_name(binding)}."

    def compose(self) -> ComposeResult:
        """One sentence."""
        with Vertical(id="dialog"):
            yield Static(Content("A new key"), id="question")
            yield Static(Content(self._told), id="consequences")

    def on_key(self, event: events.Key) -> None:
        """Takes whatever is pressed."""
        event.stop()
        event.prevent_default()
        self.dismiss(event.key)
