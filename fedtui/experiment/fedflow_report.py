"""FedFlow's table, curves and pictures from the measured rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedtui.experiment import page, plots, record
from fedtui.experiment.fedflow import Measured, Options
from fedtui.experiment.lab import Lab
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, Spread, by_round, select, spread
from trainer.protocol import ContactSheet, SheetRow

SHEET_PROMPTS = 6
RATIO = "room loss over this"


def make_record(options: Options, measured: Sequence[Measured], command: str) -> Record:
    """All seeds in one record."""
    shown = {key: value for key, value in vars(options).items() if key != "data"}
    return Record(
        name="fedflow",
        command=command,
        options=shown | {"spec": vars(options.spec), "own pictures": options.data is not None},
        rows=tuple(row for each in measured for row in each.rows),
        facts={"adapters": {str(each.seed): each.adapter_sha256 for each in measured}},
    )


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


def findings(rows: Sequence[Row], rounds: int) -> list[str]:
    """What the numbers say about the questions of the paper, in sentences."""
    found = []
    for arm, what in (
        ("centralised", "training in one place with as many steps as all participants together"),
        ("centralised short", "training in one place with as many steps as each participant"),
    ):
        ratios = [row.value for row in select(rows, metric=RATIO, arm=arm)]
        if ratios:
            found.append(f"Held-out loss of the room over {what}: {spread(ratios)}.")
    kid = {
        arm: [row.value for row in select(rows, metric="kid", arm=arm, round_number=rounds)]
        for arm in ("room", "centralised")
    }
    if all(kid.values()):
        found.append(
            f"KID to held-out pictures: room {spread(kid['room'])}, "
            f"centralised {spread(kid['centralised'])}."
        )
    own = select(rows, metric=RATIO, arm="own")
    if own:
        better = sum(row.value < 1.0 for row in own)
        worst = max(own, key=lambda row: row.value)
        found.append(
            f"The room's adapter is better than a participant's own in {better} of {len(own)} cases"
            f" (round x participant x seed); the closest ratio is {worst.value:.4f}, {worst.who} in"
            f" round {worst.round} of seed {worst.seed}."
        )
    alone = select(rows, metric=RATIO, arm="alone")
    if alone:
        better = sum(row.value < 1.0 for row in alone)
        found.append(
            f"The room is better than a participant that trained alone for as long in {better} of "
            f"{len(alone)} cases; ratio {spread([row.value for row in alone])}."
        )
    unseen = _unseen(rows, rounds)
    if unseen is not None:
        found.append(
            "On kinds of scenes that are not its own, the room's loss over that of a participant "
            f"alone: {unseen}."
        )
    return found


def _unseen(rows: Sequence[Row], rounds: int) -> Spread | None:
    """Loss on all kinds but a participant's own, of the room over the participant alone."""
    kinds = ("night", "sea", "desert", "snow", "meadow")
    ratios = []
    for alone in (row for row in rows if row.arm == "alone"):
        index = int(alone.who.rpartition(" ")[2]) - 1
        if alone.metric != f"loss on all but {kinds[index % len(kinds)]}":
            continue
        room = select(rows, metric=alone.metric, arm="room", round_number=rounds)
        ratios += [row.value / alone.value for row in room if row.seed == alone.seed]
    return spread(ratios) if ratios else None


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
    for finding in findings(rows, rounds):
        sheet.text(finding)
    sheet.heading("Denoising loss on held-out pictures")
    sheet.text(
        "The same pictures, noise and noise levels for every adapter; lower is better. "
        "± is the standard deviation over seeds.", note=True,
    )  # fmt: skip
    header = ["", "start", *(f"round {number + 1}" for number in range(rounds))]
    sheet.table(header, table(rows, "loss", rounds))
    _plot(rows, "loss", "held-out denoising loss", options, folder / "loss.png")
    sheet.picture(
        folder / "loss.png",
        "Loss after each round, without the base; grey: each participant's own.",
    )
    sheet.heading("Room over everything else, same pictures")
    sheet.table(header, table(rows, RATIO, rounds))
    if options.pictures:
        await _pictures(lab, options, measured, rows, sheet, folder)
    sheet.heading("How it was made")
    sheet.code(command)
    sheet.code("\n".join(f"{name} {version}" for name, version in record.versions().items()))
    for seed, adapter in results.facts["adapters"].items():
        sheet.code(f"seed {seed}: adapter sha256 {adapter}")
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
    sheet.text(
        f"{options.pictures} pictures an arm, {options.sampling_steps} sampling steps. KID is "
        "unbiased; a Fréchet distance of so few pictures is mostly bias and only its order means "
        "anything.", note=True,
    )  # fmt: skip
    metrics = dict.fromkeys(
        row.metric for row in rows if "loss" not in row.metric and row.metric != "density"
    )
    for metric in metrics:
        sheet.heading(metric)
        sheet.table(header, table(rows, metric, options.rounds))
    _plot(rows, "kid", "KID", options, folder / "kid.png")
    sheet.picture(folder / "kid.png", "Kernel distance after each round; lower is better.")
    target = await contact_sheet(lab, options, measured[0])
    (folder / "pictures.png").write_bytes(target.read_bytes())
    sheet.picture(folder / "pictures.png", f"Same prompts and seeds, seed {measured[0].seed}.")


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


def _plot(rows: Sequence[Row], metric: str, label: str, options: Options, path: Path) -> None:
    """The room by round, everybody's own behind it, the arms without rounds as levels; not the
    base, beside which all others would be one line."""
    lines = [plots.Line("room", by_round(rows, metric, "room"))]
    people = dict.fromkeys(row.who for row in select(rows, metric=metric, arm="own"))
    lines += [plots.Line(who, by_round(rows, metric, "own", who), pale=True) for who in people]
    levels = []
    for arm in ("centralised", "centralised short"):
        values = [row.value for row in select(rows, metric=metric, arm=arm)]
        if values:
            levels.append(plots.Level(arm, spread(values).mean))
    alone = [row.value for row in select(rows, metric=metric, arm="alone")]
    if alone:
        levels.append(plots.Level("alone, mean", spread(alone).mean))
    plots.draw_lines(path, label, "round", label, lines, levels)
