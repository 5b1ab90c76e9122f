"""``fedtui experiment``: the papers' experiments on this machine."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.rule_options import Algorithm, RuleName
from fedtui.errors import ExitCode, FedtuiError, UsageError

if TYPE_CHECKING:
    from fedtui.experiment.compare import Sweep
    from fedtui.experiment.ddpm import Measured as DdpmMeasured
    from fedtui.experiment.ddpm import Options as DdpmOptions
    from fedtui.experiment.ddpm import Setting as DdpmSetting
    from fedtui.experiment.fedflow import Measured, Options
    from fedtui.experiment.rows import Row

app = typer.Typer(no_args_is_help=True)

FOLDER = Path("experiments")
SPLITS = ("kind", "even", "dirichlet")

Folder = Annotated[
    Path, typer.Option("--dir", help="Keeps every result; a stopped run goes on from it.")
]
Seeds = Annotated[
    int, typer.Option(min=1, max=100, help="Repetitions, each with another seed from --seed on.")
]
FirstSeed = Annotated[int, typer.Option(min=0, help="Seed of the first repetition.")]
Workers = Annotated[int, typer.Option(min=0, help="Trainers at once; 0: one a core.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


@app.command("fedflow")
def fedflow(
    folder: Folder = FOLDER,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes. [default: DIR/fedflow]")
    ] = None,
    seeds: Seeds = 1,
    seed: FirstSeed = 1,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds to train.")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps of each participant in a round.")
    ] = 40,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 8,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", min=0.0, help="Size of a training step.")
    ] = 3e-3,
    algorithm: Algorithm = "fedex",
    rule: RuleName = "n_k",
    split: Annotated[str, typer.Option(help="kind (non-IID), even (IID) or dirichlet.")] = "kind",
    beta: Annotated[
        float, typer.Option(min=0.001, help="How even --split dirichlet is; small is uneven.")
    ] = 0.5,
    model: Annotated[str, typer.Option(help="tiny-landscapes, or a diffusers folder.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Your own pictures, shuffled among the participants.")
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(
            min=0, max=200, help="Pictures drawn to measure distances; 0 leaves them out."
        ),
    ] = 64,
    network: Annotated[
        bool, typer.Option("--network", help="Also run a real room and compare its adapter.")
    ] = False,
    workers: Workers = 0,
    json: Json = False,
) -> None:
    """Compare rounds with training in one place and alone.

    FedFlow's table, from this machine.
    """
    from fedtui.cli import running
    from fedtui.experiment import fedflow as experiment
    from fedtui.experiment.federation import ADAPTER_ALGORITHMS
    from trainer.protocol import RULES

    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}", remedy=f"one of {', '.join(SPLITS)}")
    if 0 < pictures < experiment.MIN_PICTURES:
        raise UsageError(
            f"{pictures} pictures are too few to measure a distance",
            remedy=f"--pictures {experiment.MIN_PICTURES} or more, or 0 for none",
        )
    for name, value, choices in (
        ("algorithm", algorithm, ADAPTER_ALGORITHMS),
        ("rule", rule, RULES),
    ):
        if value not in choices:
            raise UsageError(f"there is no {name} {value!r}", remedy=f"one of {', '.join(choices)}")
    options = replace(
        experiment.default_options(model, rank),
        rounds=rounds,
        steps=steps,
        learning_rate=learning_rate,
        algorithm=algorithm,
        rule=rule,
        split=split,  # type: ignore[arg-type]
        beta=beta,
        pictures=pictures,
        data=places.folder(data) if data else None,
    )
    target = (report or folder / "fedflow").absolute()
    work = _fedflow(options, range(seed, seed + seeds), folder, target, workers, network)
    measured, page, equal = running.run(work)
    if json:
        output.data((target / "results.json").read_text(encoding="utf-8").rstrip())
    else:
        _tell(options, measured)
        output.data(f"report: {page}")
    if equal is False:
        raise FedtuiError(
            "the room on the network ended in another adapter",
            "the same pictures and seed gave other bytes than the sequence without a network",
            "run it again with --debug and report both adapters",
            code=ExitCode.FAILED,
        )


async def _fedflow(
    options: Options, seeds: range, folder: Path, target: Path, workers: int, network: bool
) -> tuple[list[Measured], Path, bool | None]:
    from fedtui.experiment import fedflow as experiment
    from fedtui.experiment import fedflow_report, record, room
    from fedtui.experiment.lab import Lab, cores

    equal: bool | None = None
    with _progress() as line:
        async with Lab(folder, workers=workers or cores(), say=line.show) as lab:
            record.prepare(target)
            lab.forecast.expect(len(seeds) * experiment.cost(options))
            measured = []
            for number, seed in enumerate(seeds):
                lab.prefix = f"seed {seed} ({number + 1} of {len(seeds)}), "
                nodes = room.node_names(seed, len(options.counts))
                measured.append(await experiment.run(lab, options, seed, nodes))
            page = await fedflow_report.write(lab, options, measured, _command(), target)
            if network:
                line.show("running the same federation as a real room")
                adapter = await room.adapter_of_room(options, seeds[0], lab.folder / "room")
                equal = adapter == measured[0].adapter_sha256
                line.clear()
                output.say(f"the room on the network ended in {adapter[:16]}…: "
                           f"{'the same adapter' if equal else 'ANOTHER ADAPTER'}")  # fmt: skip
            return measured, page, equal


@app.command("compare")
def compare(
    sweep: Annotated[
        Path, typer.Argument(help="A TOML file of settings; see docs/experiments.md.")
    ],
    folder: Folder = FOLDER,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes. [default: DIR/SWEEP]")
    ] = None,
    workers: Workers = 0,
    json: Json = False,
) -> None:
    """Compare all combinations of the settings in a file.

    Algorithms, rules, splits, attackers …
    """
    from fedtui.cli import running
    from fedtui.experiment import compare as experiment
    from fedtui.experiment import compare_report

    asked = experiment.read(sweep)
    target = (report or folder / sweep.stem).absolute()
    rows, page = running.run(_compare(asked, folder, target, workers))
    if json:
        output.data((target / "results.json").read_text(encoding="utf-8").rstrip())
        return
    output.data(output.table(*compare_report.final_table(asked, rows)))
    output.data(f"report: {page}")


async def _compare(
    sweep: Sweep, folder: Path, target: Path, workers: int
) -> tuple[tuple[Row, ...], Path]:
    from fedtui.demo import founding
    from fedtui.experiment import compare as experiment
    from fedtui.experiment import compare_report, record, room
    from fedtui.experiment.lab import Lab, cores

    names = {seed: room.node_names(seed, len(founding.SHARES)) for seed in sweep.seeds}
    with _progress() as line:
        async with Lab(folder, workers=workers or cores(), say=line.show) as lab:
            record.prepare(target)
            rows = await experiment.run(lab, sweep, names)
        return rows, compare_report.write(sweep, rows, _command(), target)


@app.command("ddpm")
def ddpm(
    folder: Folder = FOLDER,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes. [default: DIR/ddpm]")
    ] = None,
    seeds: Seeds = 1,
    seed: FirstSeed = 1,
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Rounds to train.")] = 20,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="N,E,BETA[,SHARED[,THRESHOLD[,PERSONAL]]]; several times. [default: the papers']"
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(help="digits (handwritten), or landscapes (generated).")
    ] = "digits",
    pictures: Annotated[
        int, typer.Option(min=10, max=4000, help="Pictures drawn to be judged.")
    ] = 200,
    workers: Workers = 0,
    json: Json = False,
) -> None:
    """Train whole diffusion models on handwritten digits or landscapes.

    From scratch, after Tun et al. and Phoenix. PERSONAL are parts of names of layers that stay with
    their participant, with + between them: 10,5,0.1,0,,conv_in+conv_out.
    """
    from fedtui.cli import running
    from fedtui.experiment import ddpm as experiment
    from fedtui.experiment import ddpm_claims, ddpm_report
    from fedtui.experiment.ddpm_data import DATA

    if data not in DATA:
        raise UsageError(f"there is no data set {data!r}", remedy=" or ".join(DATA))
    options = experiment.Options(rounds=rounds, pictures=pictures, data=data)
    if setting:
        options = replace(options, settings=tuple(_setting(text) for text in setting))
    chosen = range(seed, seed + seeds)
    target = (report or folder / "ddpm").absolute()
    measured, page = running.run(_ddpm(options, chosen, folder, target, workers))
    if json:
        output.data((target / "results.json").read_text(encoding="utf-8").rstrip())
        return
    rows = [row for each in measured for row in each.rows]
    output.data(output.table(*ddpm_report.table(rows, rounds)))
    for answer in ddpm_claims.answers(rows, options.settings, rounds):
        output.data(f"{answer.claim.text}: {answer.in_short}")
        for sentence in answer.sentences:
            output.data(f"  {sentence}")
    output.data(f"report: {page}")


async def _ddpm(
    options: DdpmOptions, seeds: range, folder: Path, target: Path, workers: int
) -> tuple[list[DdpmMeasured], Path]:
    from fedtui.experiment import ddpm as experiment
    from fedtui.experiment import ddpm_report, record
    from fedtui.experiment.lab import Lab, cores

    measured = []
    with _progress() as line:
        async with Lab(folder, workers=workers or cores(), say=line.show) as lab:
            record.prepare(target)
            lab.forecast.expect(len(seeds) * experiment.cost(options))
            await experiment.check(lab, options, seeds[0])
            for seed in seeds:
                for number, setting in enumerate(options.settings, 1):
                    lab.prefix = f"seed {seed}, {number} of {len(options.settings)}: "
                    measured.append(await experiment.run(lab, options, setting, seed))
                lab.prefix = f"seed {seed}: "
                first = options.settings[0]
                measured.append(await experiment.centralised(lab, options, first, seed))
            return measured, await ddpm_report.write(lab, options, measured, _command(), target)


@contextmanager
def _progress() -> Iterator[output.ProgressLine]:
    """A line that says how far an experiment is, and when it is stopped, how to go on."""
    import asyncio

    line = output.ProgressLine()
    try:
        yield line
    except asyncio.CancelledError:
        line.clear()
        output.say("stopped; what is done is kept, the same command goes on from here")
        raise
    finally:
        line.clear()


def _setting(text: str) -> DdpmSetting:
    """``N,E,BETA[,SHARED[,THRESHOLD[,PERSONAL]]]``, empty for none. Raises :class:`UsageError`."""
    from fedtui.experiment.ddpm import Setting

    try:
        count, epochs, beta, shared, threshold, personal = [*text.split(","), "", "", ""][:6]
        found = Setting(
            int(count),
            10,
            int(epochs),
            float(beta),
            float(shared or 0.0),
            float(threshold) if threshold else None,
            tuple(word.strip() for word in personal.split("+") if word.strip()),
        )
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no setting",
            remedy="write N,E,BETA[,SHARED[,THRESHOLD[,PERSONAL]]]: 10,5,0.1,1",
        ) from error
    sizes = min(found.participants, found.epochs) >= 1 and 0 < found.beta < math.inf
    filtered = found.threshold is None or -1 <= found.threshold <= 1
    if not (sizes and 0 <= found.shared <= 1 and filtered and text.count(",") <= 5):
        raise UsageError(
            f"{text!r} is no setting",
            "N and E count, BETA is positive, SHARED lies in 0..1, THRESHOLD (a cosine) in -1..1, "
            "PERSONAL are parts of names with + between them",
        )
    return found


def _tell(options: Options, measured: list[Any]) -> None:
    from fedtui.experiment import fedflow_report

    rows = [row for each in measured for row in each.rows]
    header = ["held-out loss", "start", *(f"round {n + 1}" for n in range(options.rounds))]
    output.data(output.table(header, fedflow_report.table(rows, "loss", options.rounds)))
    own_kinds = fedflow_report.has_own_kinds(options)
    for finding in fedflow_report.findings(rows, options.rounds, own_kinds):
        output.data(finding)


ELSEWHERE = ("--dir", "--report", "--workers")
"""Options that change no number, with a value."""


def _command() -> str:
    """What was typed, as far as the numbers depend on it, without paths of this machine."""
    kept = ["fedtui"]
    words = iter(sys.argv[1:])
    for word in words:
        name, equals, value = word.partition("=")
        if name in ELSEWHERE:
            if not equals:
                next(words, None)
        elif word != "--json":
            path = Path(value or word)
            kept.append(word.replace(str(path), path.name) if path.is_absolute() else word)
    return shlex.join(kept)
