"""A sweep's table and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedtui.experiment import page, plots, record
from fedtui.experiment.compare import BACKDOOR_LOSS, LOSS, Setting, Sweep
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, Spread, by_round, select, spread

MAX_LINES = len(plots.COLOURS)
"""In one plot of curves; the table and the other plot have all settings."""


def final(rows: Sequence[Row], sweep: Sweep, setting: Setting, metric: str = LOSS) -> Spread | None:
    """What a setting had come to after its last round."""
    label = sweep.label(setting)
    last = select(rows, metric=metric, arm=label, round_number=setting.rounds)
    return spread([row.value for row in last]) if last else None


def final_table(sweep: Sweep, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: each setting's loss after its last round, best first."""
    lines = []
    metrics = {"held-out loss": LOSS} | ({BACKDOOR_LOSS: BACKDOOR_LOSS} if sweep.backdoor else {})
    for setting in sweep.settings:
        last = [final(rows, sweep, setting, metric) for metric in metrics.values()]
        results = [result for result in last if result is not None]
        if last[0]:
            cells = [str(getattr(setting, name)) for name in sweep.varied] or [setting.algorithm]
            cells += [str(result) for result in results]
            lines.append((results[0].mean, [*cells, str(results[0].n)]))
    header = [*(sweep.varied or ("algorithm",)), *metrics, "seeds"]
    return header, [cells for _, cells in sorted(lines, key=lambda line: line[0])]


def write(sweep: Sweep, rows: Sequence[Row], command: str, folder: Path) -> Path:
    """Writes the report's files; returns the page. Raises :class:`UsageError`."""
    options = {
        "settings": [asdict(setting) for setting in sweep.settings],
        "seeds": list(sweep.seeds),
        "holdout": sweep.holdout,
        "draws": sweep.draws,
    }
    results = Record("compare", command, options, tuple(rows), {})
    record.write(results, folder)
    made = page.Page("Federations compared")
    made.text(
        f"{len(sweep.settings)} settings with {len(sweep.seeds)} seed(s) each, five participants. "
        "The same pictures, first adapter and held-out pictures for every setting of a seed; "
        "± is the standard deviation over seeds."
    )
    made.heading("After the last round")
    made.table(*final_table(sweep, rows))
    dots = [(sweep.label(each), final(rows, sweep, each)) for each in sweep.settings]
    known = [(label, value) for label, value in dots if value is not None]
    plots.draw_dots(
        folder / "loss.png", "Held-out loss after the last round", "denoising loss", known
    )
    made.picture(folder / "loss.png", "Mean and standard deviation over seeds.")
    if max(setting.rounds for setting in sweep.settings) > 1 and len(known) <= MAX_LINES:
        lines = [plots.Line(label, by_round(rows, LOSS, label)) for label, _ in known]
        plots.draw_lines(folder / "rounds.png", "Held-out loss", "round", "denoising loss", lines)
        made.picture(folder / "rounds.png", "Loss of the room's adapter after each round.")
    record.tell(results, made)
    out = folder / "index.html"
    made.write(out)
    return out
