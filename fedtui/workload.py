"""What p2p's opaque blobs mean: LoRA factors, checked and combined by the arithmetic worker.

That worker reads files that strangers made. It has no torch, a memory limit and no network, and it
starts when the first file arrives.
"""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from fedtui.errors import FedtuiError, TrainerDied
from fedtui.task import read_task
from fedtui.training import TrainerProcess
from p2p.room import Plan
from p2p.workload import Input, Verdict
from trainer.protocol import CheckBlob, WeightedFile
from trainer.protocol import Combine as CombineFiles

log = logging.getLogger("fedtui.workload")

OnApplied = Callable[[Path, int], Awaitable[None]]


class AdapterWorkload:
    """:class:`p2p.workload.Workload` for LoRA adapters; ``work`` is a folder for results."""

    def __init__(
        self, arithmetic: TrainerProcess, work: Path, *, max_blob: int, on_applied: OnApplied
    ) -> None:
        self._arithmetic = arithmetic
        self._work = work
        self._max_blob = max_blob
        self._on_applied = on_applied
        self._numbers = itertools.count()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, mode=0o700)

    async def check(self, path: Path, plan: Plan) -> Verdict:
        """Whether a file may enter a round. A worker that dies over a file refuses that file."""
        try:
            task = read_task(plan.task)
            result = await self._arithmetic.request(
                CheckBlob(str(path), task.model, task.adapter.spec, self._max_blob)
            )
        except TrainerDied as error:
            if error.cancelled:
                raise
            return Verdict(False, "reading it ended the checking process")
        except FedtuiError as error:
            log.warning("%s", error.render())
            return Verdict(False, error.title)
        return Verdict(bool(result["ok"]), str(result["reason"]))

    async def combine(self, inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        """The round's result. Raises :class:`FedtuiError` when it cannot be computed here."""
        out = self._work / f"result-{next(self._numbers)}.safetensors"
        await self._arithmetic.request(
            CombineFiles(
                tuple(WeightedFile(i.id, str(i.path), i.weight) for i in inputs),
                plan.algorithm,
                str(previous),
                str(out),
            )
        )
        return out

    async def apply(self, path: Path, round_number: int) -> None:
        await self._on_applied(path, round_number)
