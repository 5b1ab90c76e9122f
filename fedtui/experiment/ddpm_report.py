"""Tun et al.'s trends and Phoenix's options from the measured rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedtui.experiment import page, plots, record
from fedtui.experiment.ddpm import Options
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, Spread, by_round, select, spread

METRICS = ("loss", "kid", "class coverage", "class entropy", "recall")
QUESTIONS = (
    ("more local epochs help at fixed rounds", "loss", "N=10 E=1 beta=0.5", "N=10 E=10 beta=0.5"),
    ("more participants at ten a round hurt", "loss", "N=50 E=5 beta=0.5", "N=10 E=5 beta=0.5"),
    ("uneven classes hurt", "loss", "N=10 E=5 beta=0.1", "N=10 E=5 beta=5"),
    (
        "a shared set raises class entropy at beta 0.1",
        "class entropy",
        "N=10 E=5 beta=0.1",
        "N=10 E=5 beta=0.1 shared=1",
    ),
    (
        "the threshold filter raises class entropy at beta 0.1",
        "class entropy",
        "N=10 E=5 beta=0.1",
        "N=10 E=5 beta=0.1 threshold=0.2",
    ),
)
"""What is claimed, the metric, the setting said to be worse, and the one said to be better."""


def final(rows: Sequence[Row], label: str, metric: str, rounds: int) -> Spread | None:
    """A setting's value after the last round, over seeds."""
    values = [r.value for r in select(rows, metric=metric, arm=label, round_number=rounds)]
    return spread(values) if values else None


def table(rows: Sequence[Row], rounds: int) -> tuple[list[str], list[list[str]]]:
    """Header and lines: each setting after the last round."""
    labels = dict.fromkeys(row.arm for row in rows)
    lines = []
    for label in labels:
        found = [final(rows, label, metric, rounds) for metric in METRICS]
        lines.append([label, *("" if value is None else str(value) for value in found)])
    return ["setting", *METRICS], lines


def answers(rows: Sequence[Row], rounds: int) -> list[str]:
    """Each claim with both numbers, and whether the difference is as claimed."""
    found = []
    for claim, metric, worse, better in QUESTIONS:
        one, other = (final(rows, label, metric, rounds) for label in (worse, better))
        if one is None or other is None:
            continue
        gap = one.mean - other.mean if metric == "loss" else other.mean - one.mean
        noise = max(one.deviation, other.deviation)
        verdict = "yes" if gap > noise else "no" if gap < -noise else "within the spread of seeds"
        found.append(f"{claim}: {verdict} ({metric} {worse}: {one}; {better}: {other})")
    return found


def write(
    options: Options, seeds: Sequence[int], rows: Sequence[Row], command: str, folder: Path
) -> Path:
    """Writes the report's files; returns the page. Raises :class:`UsageError`."""
    shown = asdict(options) | {"seeds": list(seeds)}
    record.write(Record("ddpm", command, shown, tuple(rows), {}), folder)
    made = page.Page("Federated diffusion from scratch")
    made.text(
        "Real handwritten digits (scikit-learn's, 8 x 8 pixels), an unconditional diffusion model "
        f"trained from random weights, {options.rounds} rounds, at most ten participants in each, "
        f"{len(seeds)} seed(s). N participants, E passes over their own digits a round, classes "
        "shared out by Dirichlet(beta). ± is the standard deviation over seeds."
    )
    made.heading("Claims of the papers")
    for answer in answers(rows, options.rounds):
        made.text(answer)
    made.heading("After the last round")
    made.table(*table(rows, options.rounds))
    made.text(
        "Loss: denoising loss on held-out digits. KID in the space of pixels. Class coverage: the "
        "part of the ten classes that at least 2 % of the drawings are of; class entropy: 1 is "
        "even. A support vector machine reads the drawings; its accuracy is in the rows.",
        note=True,
    )
    for metric in ("loss", "class entropy"):
        name = metric.replace(" ", "-")
        _plot(rows, metric, options.rounds, folder / f"{name}.png")
        made.picture(folder / f"{name}.png", f"{metric} by round.")
    made.heading("How it was made")
    made.code(command)
    made.code("\n".join(f"{name} {version}" for name, version in record.versions().items()))
    out = folder / "index.html"
    made.write(out)
    return out


def _plot(rows: Sequence[Row], metric: str, rounds: int, path: Path) -> None:
    lines, levels = [], []
    for label in dict.fromkeys(row.arm for row in rows):
        found = by_round(rows, metric, label)
        if set(found) == {rounds}:
            levels.append(plots.Level(label, found[rounds].mean))
        else:
            lines.append(plots.Line(label, found))
    plots.draw_lines(path, metric, "round", metric, lines, levels)
