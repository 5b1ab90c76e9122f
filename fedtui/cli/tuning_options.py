"""How ``fedtui train`` trains: the options behind :class:`trainer.protocol.Tuning`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import places
from fedtui.errors import UsageError

if TYPE_CHECKING:
    from trainer.protocol import Tuning

PANEL = "Training"
OPTIMIZERS = ("adamw", "adamw8bit", "prodigy", "lion")
SCHEDULES = ("constant", "linear", "cosine")
CHECKPOINTING = ("auto", "on", "off")
WHOLE_EMA = 0.999
"""Decay of the moving average of whole models when nothing is said."""


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL, **more)


Optimizer = Annotated[
    str, _option("--optimizer", help=f"Which optimiser trains: {', '.join(OPTIMIZERS)}.")
]
Schedule = Annotated[
    str, _option("--schedule", help=f"Course of the learning rate: {', '.join(SCHEDULES)}.")
]
Warmup = Annotated[int, _option("--warmup", min=0, help="Steps until the rate is full.")]
Accumulate = Annotated[int, _option("--accumulate", min=1, help="Batches in one step.")]
WeightDecay = Annotated[
    float, _option("--weight-decay", min=0.0, help="Pull of weights towards zero; 0 for none.")
]
Clip = Annotated[float, _option("--clip", min=0.0, help="Largest norm of a gradient; 0: any.")]
MinSnr = Annotated[
    float, _option("--min-snr", min=0.0, help="Min-SNR gamma of the loss; 5 is usual, 0 for none.")
]
NoiseOffset = Annotated[
    float, _option("--noise-offset", min=0.0, help="Lets dark and light be learnt; 0.05 is usual.")
]
Alpha = Annotated[
    int, _option("--alpha", min=0, help="The adapter's strength is alpha / rank; 0 for the rank.")
]
Dropout = Annotated[
    float, _option("--dropout", min=0.0, max=0.99, help="Share of an adapter's inputs left out.")
]
RsLora = Annotated[bool, _option("--rslora", help="Scale the adapter by alpha / sqrt(rank).")]
Dora = Annotated[bool, _option("--dora", help="Train the lengths of rows; --format diffusers.")]
Ema = Annotated[
    float | None,
    _option("--ema", min=0.0, help=f"Decay of a moving average; {WHOLE_EMA} with --method full."),
]
Prior = Annotated[
    Path | None, _option("--prior", help="Pictures of the class, to keep what the model knows.")
]
PriorWeight = Annotated[
    float, _option("--prior-weight", min=0.0, help="Weight of the --prior pictures' loss.")
]
HeldOut = Annotated[Path | None, _option("--held-out", help="Pictures that are only measured.")]
ValidateEvery = Annotated[
    int, _option("--validate-every", min=0, help="Steps between measurements; 0: at the end.")
]
Checkpointing = Annotated[
    str,
    _option("--checkpointing", help="Compute activations twice to save memory: auto, on, off."),
]
Compile = Annotated[bool, _option("--compile", help="Compile the model first; takes minutes.")]


def chosen(
    *, method: str, ema: float | None, prior: Path | None, held_out: Path | None, **values: Any
) -> Tuning:
    """Raises :class:`UsageError` for a word that is none of its option's."""
    from trainer.protocol import Tuning

    for name, known in (
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("checkpointing", CHECKPOINTING),
    ):
        if values[name] not in known:
            raise UsageError(
                f"--{name} cannot be {values[name]!r}", remedy=f"one of {', '.join(known)}"
            )
    return Tuning(
        ema=ema if ema is not None else WHOLE_EMA if method == "full" else 0.0,
        prior=str(places.folder(prior)) if prior else "",
        held_out=str(places.folder(held_out)) if held_out else "",
        **values,
    )
