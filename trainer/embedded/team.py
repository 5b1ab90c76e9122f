"""Several processes of one thread each that train one model together on a CPU.

They meet twice a step. Threads inside one process would meet some thousand times a step, and
on a machine with other work each meeting waits for the slowest: 4 s a step instead of 0.8 s
with four other busy programs on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import multiprocessing

PATIENCE = 900.0
"""Seconds to wait for the others before giving up."""


@dataclass
class Team:
    """What the members of a team share; a team of one shares nothing and waits for nobody."""

    size: int
    rank: int
    gradients: torch.Tensor
    """(size, parameters) float32, one row written by each."""
    notice: torch.Tensor
    """(size + 1,) float64: what the first member announces, then the loss of each."""
    barrier: Any

    def meet(self) -> None:
        """Waits for all.

        Raises:
            threading.BrokenBarrierError: another member has gone.
        """
        if self.size > 1:
            self.barrier.wait(PATIENCE)

    def announce(self, value: float) -> float:
        """The value that the first member gave to this call, at every member."""
        if self.rank == 0:
            self.notice[0] = value
        self.meet()
        return float(self.notice[0])

    def average(self, parameters: list[torch.nn.Parameter], loss: float) -> float:
        """Replaces each gradient by the team's mean, in an order all share; the mean loss."""
        if self.size == 1:
            return loss
        at = 0
        row = self.gradients[self.rank]
        for p in parameters:
            assert p.grad is not None
            row[at : at + p.numel()] = p.grad.flatten()
            at += p.numel()
        self.notice[1 + self.rank] = loss
        self.meet()
        mean, at = self.gradients.mean(dim=0), 0
        for p in parameters:
            p.grad = mean[at : at + p.numel()].view_as(p)
            at += p.numel()
        return float(self.notice[1:].mean())


def alone() -> Team:
    """A team of one."""
    return Team(1, 0, torch.empty(0), torch.zeros(2, dtype=torch.float64), None)


def run_together(size: int, parameters: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """``work(team, *arguments)`` in ``size`` processes; the result of the first, which is this.

    Args:
        size: members; above one, each gets a single thread.
        parameters: scalars of the model's gradients.
        work: a function of a module, as it is named to the other processes.
        arguments: anything that can be sent to another process.

    Raises:
        threading.BrokenBarrierError: another member has gone.
    """
    if size == 1:
        return work(alone(), *arguments)
    context = multiprocessing.get_context("spawn")
    gradients = _shared(torch.zeros((size, parameters)))
    notice = _shared(torch.zeros(size + 1, dtype=torch.float64))
    barrier = context.Barrier(size)
    others = [
        context.Process(
            target=_member,
            args=(Team(size, rank, gradients, notice, barrier), work, arguments),
            daemon=True,
        )
        for rank in range(1, size)
    ]
    for other in others:
        other.start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work(Team(size, 0, gradients, notice, barrier), *arguments)
    finally:
        barrier.abort()
        torch.set_num_threads(threads)
        for other in others:
            other.join(30)


def _shared(tensor: Any) -> torch.Tensor:
    shared: torch.Tensor = tensor.share_memory_()
    return shared


def _member(team: Team, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    work(team, *arguments)
