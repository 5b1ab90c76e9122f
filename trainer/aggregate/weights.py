"""Integer weights of contributions, and what they must fulfil for exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.config import MAX_INPUTS, MAX_WEIGHT
from trainer.errors import MISUSE, TrainerError
from trainer.protocol import WeightedFile


def in_order(inputs: Sequence[WeightedFile]) -> list[WeightedFile]:
    """The inputs sorted by id, which is the order of every sum.

    Raises :class:`TrainerError` on weights that are not in 1..2**29-1, ids that occur twice, and
    too many or no inputs.
    """
    cause = ""
    if not 1 <= len(inputs) <= MAX_INPUTS:
        cause = f"{len(inputs)} contributions were given; 1 to {MAX_INPUTS} are possible."
    elif len({item.id for item in inputs}) != len(inputs):
        cause = "Two contributions have the same id."
    else:
        wrong = next((item for item in inputs if not 1 <= item.weight < MAX_WEIGHT), None)
        if wrong is not None:
            cause = f"The weight {wrong.weight} of {wrong.id} is not between 1 and {MAX_WEIGHT}."
    if cause:
        raise TrainerError(
            "These contributions cannot be combined",
            cause,
            "Give each contribution once, with its number of pictures as weight.",
            MISUSE,
        )
    return sorted(inputs, key=lambda item: item.id)
