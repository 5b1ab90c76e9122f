"""What this machine received and sent in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence

from fedtui.sizes import sized
from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, spread
from fedtui.tui.widgets.drawn import Drawn, notice
from fedtui.tui.wording import absent, clock
from fedtui.view import TrafficView

BARS = " ▁▂▃▄▅▆▇█"
LEVELS = len(BARS) - 1
EMPTY = "Adapters and pictures that come and go show here. Nothing has in the last minutes."


class TrafficPlot(Drawn):
    """Two rows of bars: in, and out."""

    def draw(self, feed: Feed, width: int, height: int) -> Sequence[Line]:
        """Each with its name, its highest rate, and its sum."""
        self.entitle((("Traffic", "muted"),))
        view = feed.view
        if view is None:
            return notice(absent(feed), width, height)
        traffic = view.traffic
        if not any((*traffic.received, *traffic.sent)):
            return notice(EMPTY, width, height)
        rows = max(1, (height - 2) // 2)
        return [
            *block("received", traffic.received, traffic, width, rows, "accent"),
            *block("sent", traffic.sent, traffic, width, rows, "ok"),
        ]


def block(
    name: str, amounts: Sequence[int], traffic: TrafficView, width: int, rows: int, ink: Ink
) -> list[Line]:
    """A heading and the bars below it, the newest at the right."""
    highest = max(amounts, default=0)
    since = clock(traffic.step_s * len(amounts))
    told: Line = ((f"{name} ", "text"), (f"{sized(sum(amounts))} in {since}", "muted"))
    peak: Line = ()
    if highest:
        peak = ((f"at most {sized(round(highest / max(1.0, traffic.step_s)))}/s ", "muted"),)
    return [spread(told, peak, width), *bars(amounts, width, rows, ink)]


def bars(amounts: Sequence[int], width: int, rows: int, ink: Ink) -> list[Line]:
    """One column or more for each amount; something is never drawn as nothing."""
    wide = max(1, width // max(1, len(amounts)))
    shown = amounts[-(width // wide) :]
    highest = max(shown, default=0) or 1
    levels = [max(bool(a), round(a / highest * LEVELS * rows)) for a in shown]
    lines: list[Line] = []
    for row in range(rows - 1, -1, -1):
        text = "".join(BARS[max(0, min(LEVELS, level - row * LEVELS))] * wide for level in levels)
        lines.append(((text, ink),))
    return lines
