"""Two committed rounds beside one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fedtui.tui.comparing import Side, difference
from fedtui.tui.keymap import DIFFERENCE_KEYS
from fedtui.tui.lines import Line
from fedtui.tui.widgets.sheet import Sheet
from fedtui.view import CommitView, NodeView, TimesView


class DifferenceScreen(ModalScreen[None]):
    """A page over the rounds. ``times`` tells when what was done in a round, None while that is
    not known; :meth:`redraw` when it may be."""

    AUTO_FOCUS = "Sheet"
    BINDINGS: ClassVar[list[BindingType]] = DIFFERENCE_KEYS

    def __init__(
        self, view: NodeView, number: int, times: Callable[[int], TimesView | None]
    ) -> None:
        """``number`` is the later round, if there is an earlier one. At least two are needed."""
        super().__init__()
        self._view = view
        self._commits: Sequence[CommitView] = sorted(view.commits, key=lambda each: each.round)
        self._times = times
        numbers = [commit.round for commit in self._commits]
        self._new = max(1, numbers.index(number) if number in numbers else len(numbers) - 1)
        self._old = self._new - 1
        self._page = Sheet()

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with Vertical(id="help"):
            self._page.border_subtitle = "← → the earlier round, [ ] the later, esc closes"
            yield self._page

    def on_mount(self) -> None:
        """Shows both."""
        self.redraw()

    def redraw(self) -> None:
        """Computes the difference anew."""
        old, new = (self._side(self._commits[i]) for i in (self._old, self._new))
        title = f"What changed from round {old.commit.round} to round {new.commit.round}"
        self._page.border_title = title
        self._page.show(lambda width: self._text(old, new, width))

    def _text(self, old: Side, new: Side, width: int) -> Sequence[Line]:
        return difference(self._view, old, new, width - 1)  # a blank before the scrollbar

    def _side(self, commit: CommitView) -> Side:
        mine = [point.loss for point in self._view.losses if point.round == commit.round]
        return Side(commit, self._times(commit.round), mine[-1] if mine else None)

    def action_earlier(self, step: int) -> None:
        """Another earlier round; it stays before the later one."""
        self._old = max(0, min(self._new - 1, self._old + step))
        self.redraw()

    def action_later(self, step: int) -> None:
        """Another later round; it stays behind the earlier one."""
        self._new = max(self._old + 1, min(len(self._commits) - 1, self._new + step))
        self.redraw()

    def action_back(self) -> None:
        """Closes the page."""
        self.dismiss()
