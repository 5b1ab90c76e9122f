"""A sweep's table and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedtui.experiment import page, plots, record
from fedtui.experiment.compare import BACKDOOR_LOSS, LOSS, Setting, Sweep
from fedtui.experiment.paired import Change, Verdict, by_seed, change
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, Spread, by_round, select, spread

AXIS = "denoising loss (lower is better)"
WORDS = {Verdict.HOLDS: "lower", Verdict.OPPOSITE: "higher"}
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


def axis_table(sweep: Sweep, rows: Sequence[Row], axis: str) -> tuple[list[str], list[list[str]]]:
    """Header and lines: the loss of every setting over that of the first one that differs from it
    in this axis alone; of the same seed, after every round."""
    lines = []
    for setting in sweep.settings:
        before = _first_beside(sweep, setting, axis)
        if before is None:
            continue
        others = [name for name in sweep.varied if name != axis]
        for number in range(1, min(setting.rounds, before.rounds) + 1):
            found = _ratio(rows, sweep.label(before), sweep.label(setting), number)
            if found is not None:
                known = found.after.n > 1
                lines.append(
                    [
                        *(str(getattr(setting, name)) for name in others),
                        f"{getattr(setting, axis)} over {getattr(before, axis)}",
                        str(number),
                        str(found.after),
                        f"{1 + found.low:.4f} to {1 + found.high:.4f}" if known else "",
                        found.as_wanted(False),
                        WORDS.get(found.verdict(wanted_up=False), found.verdict(False).value),
                    ]
                )
    header = [*(name for name in sweep.varied if name != axis), axis, "round", "ratio, same seed",
              "95 % of its mean", "lower in", "the loss is"]  # fmt: skip
    return header, lines


def _first_beside(sweep: Sweep, setting: Setting, axis: str) -> Setting | None:
    """The first setting that differs in this axis alone; None for that one itself."""
    # An honest setting has no attackers and no factor, whatever its neighbours have.
    ignored = {axis, "attackers", "factor"} if axis == "attack" else {axis}
    compared = [name for name in sweep.varied if name not in ignored]
    for other in sweep.settings:
        if all(getattr(other, name) == getattr(setting, name) for name in compared):
            return None if getattr(other, axis) == getattr(setting, axis) else other
    return None


def _ratio(rows: Sequence[Row], before: str, after: str, number: int) -> Change | None:
    """From 1 to the ratio of the losses, by seed."""
    one, other = (
        by_seed(rows, metric=LOSS, arm=label, round_number=number) for label in (before, after)
    )
    ratios = {seed: other[seed] / one[seed] for seed in one.keys() & other.keys()}
    return change(dict.fromkeys(ratios, 1.0), ratios)


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
        folder / "loss.png",
        "Held-out loss after the last round",
        AXIS,
        known,
    )
    made.picture(folder / "loss.png", "Mean and standard deviation over seeds.")
    if max(setting.rounds for setting in sweep.settings) > 1 and len(known) <= MAX_LINES:
        lines = [plots.Line(label, by_round(rows, LOSS, label)) for label, _ in known]
        plots.draw_lines(
            folder / "rounds.png",
            "Held-out loss",
            "round",
            AXIS,
            lines,
        )
        made.picture(folder / "rounds.png", "Loss of the room's adapter after each round.")
    for axis in sweep.varied:
        header, compared = axis_table(sweep, rows, axis)
        if compared:
            made.heading(f"What {axis} changes")
            made.table(header, compared)
    if sweep.varied:
        made.text(
            "Losses of the same seed over each other, ± the standard deviation over seeds; below 1 "
            "is better. They are told apart when the 95 % interval of the mean ratio (Student's t) "
            "leaves out 1, from three seeds on; one in twenty does by chance.",
            note=True,
        )
    record.tell(results, made)
    out = folder / "index.html"
    made.write(out)
    return out
