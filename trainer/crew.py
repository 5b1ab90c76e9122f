"""Several processes, one per GPU, that train one request together.

``accelerate launch`` starts them; the first reads requests and leads, the others follow what it
tells. Each computes its own batches, gradients are averaged, so all take the same step: ``n``
processes with a batch of ``b`` do what one does with ``--accumulate n``. The leader alone reports,
saves and writes. What one of them cannot do ends the request in all: a process that waits for the
gradients of one that has none would wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from trainer.errors import Cancelled

PATIENCE = timedelta(days=365)
"""How long followers wait for the next request."""
GO, STOP = "go", "stop"


@dataclass(frozen=True)
class Crew:
    """This process and those it trains with; alone by default."""

    size: int = 1
    rank: int = 0
    words: Any = None
    """The group for messages, apart from the gradients' one."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, message: Any) -> None:
        """From the leader to all others."""
        if self.size > 1:
            distributed.broadcast_object_list([message], 0, self.words)

    def heard(self) -> Any:
        """What the leader tells next; blocks."""
        message: list[Any] = [None]
        distributed.broadcast_object_list(message, 0, self.words)
        return message[0]

    def step(self) -> None:
        """The leader's consent to one more step. Raises :class:`Cancelled` without it."""
        if self.leads:
            self.tell(GO)
        elif self.heard() != GO:
            raise Cancelled

    @contextmanager
    def together(self) -> Iterator[None]:
        """Something that each process does for itself, and that all have done afterwards.

        Raises what went wrong in this process; what did in another one is :class:`Cancelled` to a
        follower, and RuntimeError in its words to the leader.
        """
        if self.size == 1:
            yield
            return
        wrong: Exception | None = None
        try:
            yield
        except Exception as error:
            wrong = error
        words = self._wrong(wrong)
        if wrong is not None:
            raise wrong
        if words and not self.leads:
            raise Cancelled
        if words:
            raise RuntimeError("; ".join(words))

    def _wrong(self, error: Exception | None) -> list[str]:
        """What went wrong in which process."""
        count = torch.tensor(int(error is not None))
        distributed.all_reduce(count, group=self.words)
        if not count:
            return []
        told: list[Any] = [None] * self.size
        own = "" if error is None else f"{type(error).__name__}: {error}"
        distributed.all_gather_object(told, own, self.words)
        return [f"process {rank} of {self.size}: {text}" for rank, text in enumerate(told) if text]

    def average(self, values: Sequence[torch.nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Replaces gradients by their mean over all processes; the mean loss."""
        if self.size == 1:
            return loss
        gradients = [value.grad for value in values if value.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)])
        distributed.all_reduce(flat)
        flat /= self.size
        sizes = [gradient.numel() for gradient in gradients]
        means = torch.split(flat, [*sizes, 1])
        for gradient, mean in zip(gradients, means[:-1], strict=True):
            gradient.copy_(mean.view_as(gradient))
        return means[-1][0]


ALONE = Crew()


def launched() -> int:
    """How many processes were started together; 1 for one that was started by itself."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def joined(device: torch.device) -> Crew:
    """Meets the other processes of ``accelerate launch``; alone without it."""
    if launched() == 1:
        return ALONE
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    words = distributed.new_group(backend="gloo", timeout=PATIENCE)
    return Crew(distributed.get_world_size(), distributed.get_rank(), words)
