"""FedFlow's table, curves and pictures from the measured rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from fedtui.experiment import page, plots, record
from fedtui.experiment.fedflow import Measured, Options
from fedtui.experiment.lab import Lab
from fedtui.experiment.paired import Change, by_seed, change, mean_interval
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, by_round, select, spread
from trainer.protocol import ContactSheet, SheetRow

SHEET_PROMPTS = 6
RATIO = "room loss over this"
RESIDUAL = "residual share"
LOWER_IS_BETTER = ("kid", "FD-", "FID")


def make_record(options: Options, measured: Sequence[Measured], command: str) -> Record:
    """All seeds in one record."""
    shown = {key: value for key, value in vars(options).items() if key != "data"}
    return Record(
        name="fedflow",
        command=command,
        options=shown | {"spec": vars(options.spec), "own pictures": options.data is not None},
        rows=tuple(row for each in measured for row in each.rows),
        facts=_facts(measured),
    )


def _facts(measured: Sequence[Measured]) -> dict[str, Any]:
    """Once what is the same for every seed, by seed what is not."""
    names = dict.fromkeys(name for each in measured for name in each.facts)
    facts: dict[str, Any] = {"adapters": {str(m.seed): m.adapter_sha256 for m in measured}}
    for name in names:
        values = {str(each.seed): each.facts.get(name) for each in measured}
        first = next(iter(values.values()))
        facts[name] = first if all(value == first for value in values.values()) else values
    return facts


def table(rows: Sequence[Row], metric: str, rounds: int) -> list[list[str]]:
    """One line an arm and participant, one column a round, mean and spread over seeds."""
    lines = []
    arms = dict.fromkeys((row.arm, row.who) for row in select(rows, metric=metric))
    for arm, who in arms:
        cells = [" ".join(filter(None, (arm, who)))]
        for number in range(rounds + 1):
            some = [r.value for r in select(rows, metric=metric, arm=arm, who=who)
                    if r.round == number]  # fmt: skip
            cells.append(str(spread(some)) if some else "")
        lines.append(cells)
    return lines


def has_own_kinds(options: Options) -> bool:
    """Whether every participant has pictures of mostly one kind."""
    return options.data is None and options.split == "kind"


def findings(rows: Sequence[Row], rounds: int, own_kinds: bool) -> list[str]:
    """What the numbers say about the questions of the paper, in sentences.

    Every ± is over seeds; several participants of a seed are averaged first. ``own_kinds``: every
    participant has pictures of mostly one kind.
    """
    found = []
    for arm, what in (
        ("centralised", "training in one place with as many steps as all participants together"),
        ("centralised short", "training in one place with as many steps as each participant"),
    ):
        ratios = select(rows, metric=RATIO, arm=arm)
        if ratios:
            found.append(f"Held-out loss of the room over {what}: {_over_seeds(ratios)}.")
    kid = change(
        by_seed(rows, metric="kid", arm="centralised", round_number=rounds),
        by_seed(rows, metric="kid", arm="room", round_number=rounds),
    )
    if kid is not None:
        found.append(
            f"KID to held-out pictures: room {kid.after}, centralised {kid.before}{_apart(kid)}."
        )
    own = select(rows, metric=RATIO, arm="own")
    if own:
        better = sum(row.value < 1.0 for row in own)
        worst = max(own, key=lambda row: row.value)
        found.append(
            f"The room's adapter is better than a participant's own in {better} of {len(own)} cases"
            f" (round x participant x seed); the closest ratio is {worst.value:.4f}{_bounds(worst)}"
            f", {worst.who} in round {worst.round} of seed {worst.seed}."
        )
    alone = select(rows, metric=RATIO, arm="alone")
    if alone:
        better = sum(row.value < 1.0 for row in alone)
        found.append(
            f"The room is better than a participant that trained alone for as long in {better} of "
            f"{len(alone)} cases; mean ratio of the participants {_over_seeds(alone)}."
        )
    unseen = _unseen(rows, rounds) if own_kinds else []
    if unseen:
        better = sum(row.value < 1.0 for row in unseen)
        found.append(
            "On kinds of scenes that are not its own, the room's loss over that of a participant "
            f"alone: mean of the participants {_over_seeds(unseen)}, below 1 in {better} of "
            f"{len(unseen)} cases."
        )
    return found


def _apart(found: Change) -> str:
    """What a change comes to within a seed, and whether chance explains it."""
    gap = found.difference
    if gap.n == 1:
        return ""
    chance = ", which chance explains" if found.low <= 0.0 <= found.high else ""
    return (
        f"; of the same seed {gap.mean:+.4f} ± {gap.deviation:.4f} (95 % interval of the mean "
        f"{found.low:+.4f} to {found.high:+.4f}{chance})"
    )


def _over_seeds(rows: Sequence[Row]) -> str:
    """Mean and spread over seeds of each seed's mean, with the interval of the mean."""
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row.seed, []).append(row.value)
    over = spread([fmean(some) for some in values.values()])
    if over.n == 1:
        only = rows[0] if len(rows) == 1 else None
        return f"{over}{_bounds(only)}"
    low, high = mean_interval(over)
    return f"{over} (95 % interval of the mean {low:.4f} to {high:.4f})"


def _bounds(row: Row | None) -> str:
    """A row's own interval, over its pictures."""
    if row is None or row.low is None or row.high is None:
        return ""
    return f" (95 % over pictures {row.low:.4f} to {row.high:.4f})"


def _unseen(rows: Sequence[Row], rounds: int) -> list[Row]:
    """Loss on all kinds but a participant's own, of the room over the participant alone."""
    kinds = ("night", "sea", "desert", "snow", "meadow")
    ratios = []
    for alone in (row for row in rows if row.arm == "alone"):
        index = int(alone.who.rpartition(" ")[2]) - 1
        if alone.metric != f"loss on all but {kinds[index % len(kinds)]}":
            continue
        room = select(rows, metric=alone.metric, arm="room", round_number=rounds)
        ratios += [
            replace(row, who=alone.who, value=row.value / alone.value)
            for row in room
            if row.seed == alone.seed
        ]
    return ratios


async def write(
    lab: Lab, options: Options, measured: Sequence[Measured], command: str, folder: Path
) -> Path:
    """Writes the report's files; returns the page. Raises :class:`FedtuiError`."""
    results = make_record(options, measured, command)
    record.write(results, folder)
    rows, rounds = results.rows, options.rounds
    sheet = page.Page("FedFlow's experiment")
    people = ", ".join(str(count) for count in options.counts)
    pictures = "equal shares of a folder" if options.data else f"{people} pictures"
    split = "shuffled" if options.data else options.split
    sheet.text(
        f"{len(options.counts)} participants with {pictures} (split: {split}), {rounds} rounds of "
        f"{options.steps} steps with a batch of {options.batch}, {options.algorithm}, "
        f"{len(measured)} seed(s)."
    )
    for finding in findings(rows, rounds, has_own_kinds(options)):
        sheet.text(finding)
    sheet.heading("Denoising loss on held-out pictures")
    sheet.text(
        "The same pictures, noise and noise levels for every adapter; lower is better. "
        "± is the standard deviation over seeds.", note=True,
    )  # fmt: skip
    header = ["", "start", *(f"round {number + 1}" for number in range(rounds))]
    sheet.table(header, table(rows, "loss", rounds))
    _plot(rows, "loss", "held-out denoising loss (lower is better)", folder / "loss.png")
    sheet.picture(
        folder / "loss.png",
        "Mean after each round, without the base. The band is the standard deviation over seeds, "
        "which the arms share: compare them by the ratios below.",
    )
    sheet.heading("Loss of the room over that of everything else, same pictures")
    sheet.text("Below 1 the room is better; ± is the standard deviation over seeds.", note=True)
    sheet.table(header, table(rows, RATIO, rounds))
    residual = table(rows, RESIDUAL, rounds)
    if residual:
        sheet.heading("What averaging the factors would have lost")
        sheet.text(
            "Of a round's update, as a part of its length; FedAvg loses it, FedEx keeps it.",
            note=True,
        )
        sheet.table(header, residual)
    if options.pictures:
        await _pictures(lab, options, measured, rows, sheet, folder)
    record.tell(results, sheet)
    out = folder / "index.html"
    sheet.write(out)
    return out


async def _pictures(
    lab: Lab,
    options: Options,
    measured: Sequence[Measured],
    rows: Sequence[Row],
    sheet: page.Page,
    folder: Path,
) -> None:
    """The part of the report about drawn pictures."""
    header = ["", "start", *(f"round {number + 1}" for number in range(options.rounds))]
    sheet.heading(f"Drawn pictures against held-out ones, features: {options.extractor}")
    sheet.text(_how_drawn(options, measured[0].facts), note=True)
    metrics = dict.fromkeys(
        row.metric for row in rows if "loss" not in row.metric and row.metric != RESIDUAL
    )
    for metric in metrics:
        better = "lower" if metric.startswith(LOWER_IS_BETTER) else "higher"
        sheet.heading(f"{metric} ({better} is better)")
        sheet.table(header, table(rows, metric, options.rounds))
    _plot(rows, "kid", "KID (lower is better)", folder / "kid.png")
    sheet.picture(
        folder / "kid.png",
        "Kernel distance after each round; the band is the standard deviation over seeds.",
    )
    target = await contact_sheet(lab, options, measured[0])
    (folder / "pictures.png").write_bytes(target.read_bytes())
    sheet.picture(folder / "pictures.png", f"Same prompts and seeds, seed {measured[0].seed}.")


def _how_drawn(options: Options, facts: Mapping[str, Any]) -> str:
    """Everything without which these numbers mean nothing."""
    sets, made_with = facts["pictures"], facts["extractor"]
    text = (
        f"{sets['pictures']} pictures an arm against {sets['reference']}, {options.sampling_steps} "
        f"sampling steps, guidance {options.guidance:g}; {made_with['side']} pixels, "
        f"{made_with['resize']}, values {made_with['value_range']}, weights sha256 "
        f"{made_with['sha256'][:16]}…. KID is unbiased; a Fréchet distance of so few pictures is "
        "mostly bias and only its order means anything; precision, recall, density and coverage "
        "depend on the numbers of pictures too."
    )
    accuracy = facts.get("judge's accuracy")
    if accuracy:
        least = min(accuracy, key=accuracy.__getitem__)
        text += (
            " Style, large attributes and objects are read by a classifier that is right on "
            f"{100 * accuracy['mean']:.1f} % of fresh drawings' attributes, on style "
            f"{100 * accuracy['style']:.1f} %, least on {least} ({100 * accuracy[least]:.1f} %)."
        )
    return text


async def contact_sheet(lab: Lab, options: Options, measured: Measured) -> Path:
    """The first prompts by every arm that drew."""
    columns = {
        name: sorted(folder.glob("*.png"))[:SHEET_PROMPTS]
        for name, folder in measured.pictures.items()
    }
    request = ContactSheet(
        "",
        tuple(columns),
        tuple(
            SheetRow("", tuple(str(paths[number]) for paths in columns.values()))
            for number in range(min(len(paths) for paths in columns.values()))
        ),
    )
    return await lab.make("the contact sheet", request, suffix=".png")


def _plot(rows: Sequence[Row], metric: str, label: str, path: Path) -> None:
    """The room by round, everybody's own behind it, the arms without rounds as levels; not the
    base, beside which all others would be one line."""
    lines = [plots.Line("room", by_round(rows, metric, "room"))]
    people = dict.fromkeys(row.who for row in select(rows, metric=metric, arm="own"))
    for number, who in enumerate(people):
        name = "" if number else "each participant's own"
        lines.append(plots.Line(name, by_round(rows, metric, "own", who), pale=True))
    levels = []
    for arm in ("centralised", "centralised short"):
        values = [row.value for row in select(rows, metric=metric, arm=arm)]
        if values:
            levels.append(plots.Level(arm, spread(values).mean))
    alone = [row.value for row in select(rows, metric=metric, arm="alone")]
    if alone:
        levels.append(plots.Level("alone, mean of all", spread(alone).mean))
    plots.draw_lines(path, label, "round", label, lines, levels)
