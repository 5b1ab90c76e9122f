"""What could keep this machine from taking part, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import BindingType

from fedtui.tui.facts import heading
from fedtui.tui.keymap import DOCTOR_KEYS
from fedtui.tui.lines import Ink, Line, wrapped
from fedtui.tui.messages import CheckDone
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.live import Value
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.table import Column, Table, one

if TYPE_CHECKING:
    from fedtui.doctor import Check
    from fedtui.tui.app import FedtuiApp

SIGNS: dict[str, tuple[str, Ink]] = {
    "ok": ("✓ ok", "ok"),
    "warning": ("! look", "warning"),
    "failed": ("✗ fails", "error"),
}
GRADES = ("failed", "warning", "ok")
EMPTY = "Looking at this machine…"
NONE = "There is no machine to look at here."
COLUMNS: tuple[Column[Check], ...] = (
    Column("state", 0, 8, 8, lambda c, w: one(SIGNS[c.grade][0], w, SIGNS[c.grade][1])),
    Column("check", 0, 10, 12, lambda c, w: one(c.name, w)),
    Column("found", 1, 20, 90, lambda c, w: one(c.said, w, "muted")),
)


class DoctorScreen(ListScreen):
    """Checks as they come, and the remedy of the one under the cursor."""

    PLACE = "doctor"
    BINDINGS: ClassVar[list[BindingType]] = DOCTOR_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Check] = Table(COLUMNS, lambda c: c.name, empty=EMPTY, id="checks")
        self.sheet = Sheet(id="remedy")
        self._checks: list[Check] = []
        self._running = False

    def on_mount(self) -> None:
        """Looks at once."""
        self.action_examine()

    def action_examine(self) -> None:
        """Looks again."""
        app = cast("FedtuiApp", self.app)
        if app.examine is None:
            self.table.fill((), NONE)
            return
        self._checks, self._running = [], True
        self.table.fill((), EMPTY)
        work = cast("Any", self._examine)
        self.run_worker(work, group="examine", exclusive=True, exit_on_error=False)

    async def _examine(self) -> None:
        app = cast("FedtuiApp", self.app)
        assert app.examine is not None
        async for check in app.examine():
            self.post_message(CheckDone(check))
        self.post_message(CheckDone(None))

    def on_check_done(self, message: CheckDone) -> None:
        """Adds a row, or notes the end."""
        if message.check is None:
            self._running = False
        else:
            self._checks.append(cast("Check", message.check))
        self.table.fill(tuple(self._checks), EMPTY)
        if not self._running:
            self._choose_first_problem()
        self._entitle()
        self.show_chosen()

    def _choose_first_problem(self) -> None:
        """What should be looked at is what one sees, unless one has looked elsewhere."""
        worst = sorted(self._checks, key=lambda check: GRADES.index(check.grade))
        if worst and self.table.selected is self._checks[0]:
            self.table.choose(worst[0].name)

    def _entitle(self) -> None:
        bad = sum(check.grade != "ok" for check in self._checks)
        told: tuple[str, Ink] = (f" {len(self._checks)} done", "muted")
        if not self._running:
            told = (f" {bad} to look at", "warning") if bad else (" all well", "ok")
        self.table.entitle((("Doctor", "muted"), told))

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        chosen = self.table.selected
        if chosen is not None:
            self.sheet.entitle(((chosen.name, "strong"),))
            self.sheet.show(lambda width: check_lines(chosen, width))

    def copy_values(self) -> Iterator[Value | None]:
        """The whole report: for whoever helps."""
        lines = [
            f"{c.grade:8} {c.name:10} {c.said}" + (f" -> {c.remedy}" if c.remedy else "")
            for c in self._checks
        ]
        yield ("the report", "\n".join(lines)) if lines else None


def check_lines(check: Check, width: int) -> list[Line]:
    """What was found, and what to do."""
    text, ink = SIGNS[check.grade]
    lines: list[Line] = [((text, ink),), (), *wrapped(check.said, width - 1)]
    if check.remedy:
        lines += [(), heading("What to do"), *wrapped(check.remedy, width - 1)]
    return lines
