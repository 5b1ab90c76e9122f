"""Ways of combining, by name. A new one is a file beside this one and a line in MODES."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainer.aggregate import fedavg
from trainer.aggregate.kernel import Combination
from trainer.aggregate.weights import in_order
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.protocol import WeightedFile
from trainer.tensor_file import FormatError

Mode = Callable[[Sequence[WeightedFile], Path, Path, Job], Combination]
"""``mode(inputs in order, previous, out, job)``; the bytes of ``out`` are a pure function of the
ids, weights and bytes of the inputs and of ``previous``. Raises :class:`FormatError`, OSError."""


MODES: Mapping[str, Mode] = {"fedavg": fedavg.combine}
"""All modes by the name a room's plan uses."""


def combine(
    mode: str, inputs: Sequence[WeightedFile], previous: Path, out: Path, job: Job
) -> Combination:
    """Combines checked contributions. Raises :class:`TrainerError`."""
    if mode not in MODES:
        raise TrainerError(
            "This way of combining is unknown",
            f"There is no mode {mode!r}.",
            f"Choose one of {', '.join(sorted(MODES))}.",
            MISUSE,
        )
    try:
        return MODES[mode](in_order(inputs), previous, out, job)
    except (OSError, FormatError) as error:
        raise TrainerError(
            "The contributions could not be combined",
            f"{error}.",
            "Check each file before combining.",
        ) from error
