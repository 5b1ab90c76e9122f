"""After the last round: the adapter as a file, the pictures on one sheet, the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import provenance, rooms
from fedtui.demo.founding import Founded, Participant, draw_holdout
from fedtui.demo.options import MODEL, DemoOptions
from fedtui.paths import sha256_of
from fedtui.sheets import Pictures, through_rounds
from fedtui.training import TrainerProcess
from trainer.protocol import Evaluate, ExportAdapter, Train

EVALUATION_DRAWS = 4
BASE = ""
"""Stands for the base model among the adapters to evaluate."""


@dataclass(frozen=True)
class Results:
    """Files and numbers of a finished demo. ``adapter_sha256`` names the room's last adapter."""

    adapter: Path
    adapter_sha256: str
    sheet: Path | None
    evaluation: dict[str, Any]


async def finish(
    options: DemoOptions,
    founded: Founded,
    witness: Participant,
    pictures: Pictures,
    arithmetic: TrainerProcess,
    trainer: TrainerProcess,
) -> Results:
    """Exports with a record to verify, draws the sheet and evaluates. The ``witness`` has lived to
    see the last round.

    Raises :class:`FedtuiError` when a step fails.
    """
    last_round = options.rounds
    room = rooms.load(witness.profile, founded.room.id)
    committed = room.paths.adapter(last_round)
    await arithmetic.request(
        ExportAdapter(
            path=str(committed),
            out=str(founded.paths.adapter),
            model=MODEL,
            metadata=rooms.export_metadata(room, last_round),
        )
    )
    provenance.write(room, witness.identity, last_round, founded.paths.adapter, 0, 0.0)
    sheet = founded.paths.sheet if pictures else None
    if sheet:
        await arithmetic.request(through_rounds(pictures, sheet))
    evaluation = {}
    if not options.quick:
        await draw_holdout(options, founded.paths, arithmetic)
    if founded.paths.holdout.is_dir() and any(founded.paths.holdout.iterdir()):
        evaluation = await _evaluate(options, founded, committed, last_round, pictures, trainer)
    return Results(founded.paths.adapter, sha256_of(committed), sheet, evaluation)


async def _evaluate(
    options: DemoOptions,
    founded: Founded,
    committed: Path,
    last_round: int,
    pictures: Pictures,
    trainer: TrainerProcess,
) -> dict[str, Any]:
    """Denoising loss on pictures nobody trained on; with ``compare`` also of each one alone."""
    alone = await _train_alone(options, founded, last_round, trainer) if options.compare else {}
    shown = {
        number: [path for (n, _, _), path in sorted(pictures.items()) if n == number]
        for number in (0, last_round)
    }
    result = await trainer.request(
        Evaluate(
            model=MODEL,
            folder=str(founded.paths.holdout),
            adapters=(BASE, str(committed), *alone.values()),
            pictures=tuple(shown[0] + shown[last_round]),
            draws=EVALUATION_DRAWS,
            seed=options.seed,
        )
    )
    losses = result["losses"]
    evaluation: dict[str, Any] = {
        "pictures": result["pictures"],
        "draws": result["draws"],
        "base": losses[BASE],
        "room": losses[str(committed)],
    }
    if alone:
        evaluation["alone"] = {name: losses[path] for name, path in alone.items()}
    if painterly := result.get("painterly"):
        evaluation["painterly_first"] = _mean([painterly[p] for p in shown[0] if p in painterly])
        evaluation["painterly_last"] = _mean(
            [painterly[p] for p in shown[last_round] if p in painterly]
        )
        evaluation["classifier_accuracy"] = result.get("classifier_accuracy")
    return evaluation


async def _train_alone(
    options: DemoOptions, founded: Founded, rounds: int, trainer: TrainerProcess
) -> dict[str, str]:
    """Every participant's own adapter after as many steps as it took in the room, by name."""
    task, files = founded.room.task, {}
    for each in founded.participants:
        out = founded.paths.alone(each.index)
        await trainer.request(
            Train(
                model=MODEL,
                folder=str(each.data),
                out=str(out),
                spec=task.adapter.spec,
                steps=task.steps * rounds,
                initial=str(founded.paths.initial),
                batch=task.batch,
                learning_rate=task.learning_rate,
                seed=options.seed,
                node=each.identity.peer_id,
            )
        )
        files[each.name] = str(out)
    return files


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
