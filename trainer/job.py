"""How a running request hears of its cancellation and tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.errors import Cancelled

Data = dict[str, Any]


def _silent(data: Data) -> None:
    del data


class Job:
    """One request while it runs. Without arguments it is never cancelled and says nothing.

    ``report`` may drop messages that come too fast; ``announce`` passes every one on. ``wish``
    takes the next wish of :class:`trainer.protocol.Steer`, None if there is none.
    """

    def __init__(
        self,
        cancelled: Callable[[], bool] = lambda: False,
        report: Callable[[Data], None] = _silent,
        announce: Callable[[Data], None] = _silent,
        wish: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._cancelled = cancelled
        self.wish = wish
        self.report = report
        self.announce = announce

    def check(self) -> None:
        """Raises :class:`Cancelled` when the request is to end; called at every step."""
        if self._cancelled():
            raise Cancelled
