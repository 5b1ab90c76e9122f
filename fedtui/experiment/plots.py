"""Figures of an experiment, by matplotlib, which comes with ``fedtui[eval]``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedtui.errors import UsageError
from fedtui.experiment.rows import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.0, 4.2)
DOT_HEIGHT = 0.24
"""Inches of a line of :func:`draw_dots`."""
DPI = 140
INK, PALE = "#24283b", "#b4b9c8"
COLOURS = ("#3d59a1", "#c0563f", "#4f8a5b", "#8c6d31", "#7a5195", "#3f8fa8", "#a05080", "#6b7280")


@dataclass(frozen=True)
class Line:
    """Values by round or setting; ``pale`` ones are context, drawn behind without their spread.

    An empty ``label`` stays out of the legend.
    """

    label: str
    points: Mapping[float, Spread]
    pale: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line: something without rounds to compare with."""

    label: str
    value: float


def require() -> None:
    """Raises :class:`UsageError` when matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise UsageError(
            "plots need matplotlib", str(error), "pip install 'fedtui[eval]'"
        ) from error


def draw_lines(
    path: Path,
    title: str,
    x: str,
    y: str,
    lines: Sequence[Line],
    levels: Sequence[Level] = (),
    log_x: bool = False,
) -> None:
    """Writes a PNG. Raises :class:`UsageError` when matplotlib is not installed."""
    figure, axes = _empty(SIZE, title, x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    if log_x:
        axes.set_xscale("log")
    colours = iter(COLOURS * (1 + len(lines) // len(COLOURS)))
    for line in lines:
        _draw(axes, line, PALE if line.pale else next(colours))
    for number, level in enumerate(levels):
        style = ("--", ":", "-.")[number % 3]
        axes.axhline(level.value, color=INK, linestyle=style, linewidth=1.0, label=level.label)
    if not log_x:
        axes.set_xticks(sorted({x for line in lines for x in line.points}))
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_dots(path: Path, title: str, x: str, dots: Sequence[tuple[str, Spread]]) -> None:
    """Writes a PNG of one value a line with its spread, the first on top.

    Raises :class:`UsageError` when matplotlib is not installed.
    """
    figure, axes = _empty((SIZE[0], 1.2 + DOT_HEIGHT * len(dots)), title, x)
    axes.grid(axis="both", color=PALE, linewidth=0.6)
    places = range(len(dots))
    axes.errorbar(
        [value.mean for _, value in dots], places, xerr=[value.deviation for _, value in dots],
        fmt="o", color=COLOURS[0], ecolor=COLOURS[-1], elinewidth=1.0, markersize=5,
    )  # fmt: skip
    axes.set_yticks(places, [label for label, _ in dots], fontsize=8)
    axes.invert_yaxis()
    _save(figure, path)


def _empty(size: tuple[float, float], title: str, x: str) -> tuple[Figure, Axes]:
    require()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    # Without the software's version in it the same figure is the same file.
    figure.savefig(path, metadata={"Software": None})


def _draw(axes: Axes, line: Line, colour: str) -> None:
    places = sorted(line.points)
    means = [line.points[x].mean for x in places]
    spreads = [line.points[x].deviation for x in places]
    width, order = (1.0, 1) if line.pale else (2.0, 2)
    axes.plot(
        places, means, "o-", color=colour, linewidth=width, markersize=4, label=line.label or None,
        zorder=order,
    )  # fmt: skip
    if any(spreads) and not line.pale:
        low = [m - s for m, s in zip(means, spreads, strict=True)]
        high = [m + s for m, s in zip(means, spreads, strict=True)]
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
