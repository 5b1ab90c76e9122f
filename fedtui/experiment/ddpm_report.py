"""Tun et al.'s trends and Phoenix's options from the measured rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedtui.experiment import page, plots, record
from fedtui.experiment.ddpm import CENTRALISED, STEPS, Measured, Options, Setting
from fedtui.experiment.ddpm_claims import HIGHER_IS_BETTER, Answer, Claim, answers
from fedtui.experiment.ddpm_data import DIGITS, Data
from fedtui.experiment.lab import Lab
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, Spread, by_round, select, spread
from trainer.protocol import ContactSheet, SheetRow

METRICS = ("loss", "kid", "precision", "coverage", "class coverage", "class entropy")
ARROWS = {True: "↑", False: "↓"}
"""Where better is."""
SHEET_PICTURES = 12
PERSONAL = (
    "With personal layers there is no model of the room alone: everybody who has trained draws an "
    "equal part of the pictures with the room's weights and its own layers, and the loss is the "
    "mean over these models. Their drawings together show more classes than one model's would "
    "when each draws its own kind."
)


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
        steps = final(rows, label, STEPS, rounds)
        lines.append(
            [
                label,
                *("" if value is None else str(value) for value in found),
                "" if steps is None else f"{steps.mean:.0f}",
            ]
        )
    names = [f"{metric} {ARROWS[HIGHER_IS_BETTER[metric]]}" for metric in METRICS]
    return ["setting", *names, STEPS], lines


def comparisons(answer: Answer) -> tuple[list[str], list[list[str]]]:
    """Header and lines: every comparison of a claim."""
    lines = []
    for each in answer.comparisons:
        found, wanted_up = each.change, HIGHER_IS_BETTER[each.metric]
        lone = found.difference.n == 1
        lines.append(
            [
                each.between,
                f"{each.metric} {ARROWS[wanted_up]}",
                str(found.before),
                str(found.after),
                str(found.difference),
                "" if lone else f"{found.low:+.4f} to {found.high:+.4f}",
                found.as_wanted(wanted_up),
                str(each.verdict),
            ]
        )
    header = ["from → to", "measure", "from", "to", "difference, same seed", "95 % of its mean",
              "seeds as claimed", "the claim"]  # fmt: skip
    return header, lines


def make_record(options: Options, measured: Sequence[Measured], command: str) -> Record:
    """All seeds and settings in one record."""
    weights: dict[str, dict[str, str]] = {}
    for each in measured:
        weights.setdefault(each.label, {})[str(each.seed)] = each.weights_sha256
    return Record(
        name="ddpm",
        command=command,
        options=_told(options) | {"seeds": sorted({each.seed for each in measured})},
        rows=tuple(row for each in measured for row in each.rows),
        facts={"weights": weights, "extractor": dict(measured[0].extractor)},
    )


def _told(options: Options) -> dict[str, Any]:
    """Everything that decided the numbers. What a run does without is not mentioned, so that runs
    from before it could be had are told as they were."""
    told = asdict(options)
    if options.data == DIGITS.name:
        del told["data"]
    for setting in told["settings"]:
        if not setting["personal"]:
            del setting["personal"]
    return told


async def write(
    lab: Lab, options: Options, measured: Sequence[Measured], command: str, folder: Path
) -> Path:
    """Writes the report's files; returns the page. Raises :class:`FedtuiError`."""
    results = make_record(options, measured, command)
    record.write(results, folder)
    rows, rounds, seeds = results.rows, options.rounds, results.options["seeds"]
    data = options.ground
    made = page.Page("Federated diffusion from scratch")
    made.text(
        f"{data.told}, an unconditional diffusion model trained from random weights, {rounds} "
        f"rounds, at most ten participants in each, {len(seeds)} seed(s). N participants, E passes "
        f"over their own {data.name} a round, classes shared out by Dirichlet(beta). ± is the "
        "standard deviation over seeds; a seed is another first model, another split and another "
        "training, drawings begin with the same noise."
    )
    if any(setting.personal for setting in options.settings):
        made.text(PERSONAL)
    found = answers(rows, options.settings, rounds)
    for number, answer in enumerate(found, 1):
        made.heading(answer.claim.text)
        for sentence in (f"The claim: {answer.in_short}", *answer.sentences):
            made.text(sentence)
        made.table(*comparisons(answer))
        path = folder / f"claim-{number}.png"
        _plot(rows, answer, path)
        what = _direction(answer.claim.plotted)
        made.picture(path, f"{what} by round; a band is the standard deviation over seeds.")
    made.text(
        "A claim holds, or its opposite does, when the 95 % interval of the mean difference within "
        "a seed (Student's t over seeds) leaves out zero, from three seeds on. Of twenty such "
        "intervals one leaves it out by chance alone.",
        note=True,
    )
    made.heading("After the last round")
    made.table(*table(rows, rounds))
    made.text(_explained(rows, data), note=True)
    sheet = await contact_sheet(lab, measured)
    (folder / "pictures.png").write_bytes(sheet.read_bytes())
    made.picture(
        folder / "pictures.png",
        f"Drawn after the last round with seed {measured[0].seed}: the same noise for every line.",
    )
    record.tell(results, made)
    out = folder / "index.html"
    made.write(out)
    return out


async def contact_sheet(lab: Lab, measured: Sequence[Measured]) -> Path:
    """The first pictures of every setting, a line each, of the first seed."""
    first = [each for each in measured if each.seed == measured[0].seed]
    lines = [(each.label, sorted(each.drawn.glob("*.png"))[:SHEET_PICTURES]) for each in first]
    request = ContactSheet(
        "",
        ("",) * max(len(paths) for _, paths in lines),
        tuple(SheetRow(label, tuple(map(str, paths))) for label, paths in lines),
    )
    return await lab.make("the contact sheet", request, suffix=".png")


def _explained(rows: Sequence[Row], data: Data) -> str:
    judge = select(rows, metric="judge's accuracy")[0]
    return (
        "↓ lower is better, ↑ higher. Loss: mean squared error of the prediction on held-out "
        f"{data.name}, the same noise for every setting of a seed. KID, precision and coverage: "
        f"drawings against held-out {data.name}, {data.space}, {judge.n} drawings. Class coverage: "
        f"the part of the {data.classes} classes that at least 2 % of the drawings are of; class "
        f"entropy: 1 is even. Classes are read by {data.judge} that names {100 * judge.value:.1f} "
        f"% of held-out {data.name} rightly, but calls anything {data.calls}, noise too: believe "
        "it where precision is well above zero. Training steps are those of all "
        "participants together. centralised: everything in one place for as many steps as the "
        "first setting's participants, without their moving average."
    )


def _direction(metric: str) -> str:
    better = "higher" if HIGHER_IS_BETTER[metric] else "lower"
    return f"{metric} ({better} is better)"


def _settings(claim: Claim, answer: Answer) -> list[Setting]:
    """Those compared, from the one said to be worst to the best."""
    # Not a set: settings of equal worth would come in another order every time.
    compared = dict.fromkeys(
        each for pair in answer.comparisons for each in (pair.worse, pair.better)
    )
    return sorted(compared, key=claim.worth)


def _plot(rows: Sequence[Row], answer: Answer, path: Path) -> None:
    metric = answer.claim.plotted
    labels = [setting.label for setting in _settings(answer.claim, answer)]
    lines = [plots.Line(label, by_round(rows, metric, label)) for label in labels]
    central = by_round(rows, metric, CENTRALISED)
    levels = [plots.Level(CENTRALISED, value.mean) for value in central.values()]
    plots.draw_lines(path, answer.claim.text, "round", _direction(metric), lines, levels)
