"""A line to type in, of bounded length, that takes what is pasted as far as it fits and says so."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from fedtui.tui.limits import FIELD_CHARS, PASTE_CHARS
from fedtui.tui.lines import plain


class Field(Input):
    """Textual's (8.2) takes the first line of a paste, and nothing of one that is too long; half of
    a prompt or of an invite would be gone without a word."""

    def __init__(self, value: str = "", *, max_length: int = FIELD_CHARS, **told: object) -> None:
        super().__init__(value, max_length=max_length, **told)  # type: ignore[arg-type]

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        pasted = plain(event.text, PASTE_CHARS)
        start, end = sorted(self.selection)
        room = (self.max_length or FIELD_CHARS) - len(self.value) + end - start
        kept = pasted[: max(0, room)]
        self.replace(kept, start, end)
        if len(kept) < len(pasted) or len(event.text) > PASTE_CHARS:
            told = f"Only {len(kept)} characters of {len(event.text)} fit here."
            self.notify(told, title="Cut", severity="warning", markup=False)
