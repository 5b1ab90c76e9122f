"""What p2p's opaque blobs mean: LoRA factors, checked and combined by the arithmetic worker.

That worker reads files that strangers made. It has no torch, a memory limit and no network, and it
starts when the first file arrives.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fedtui.errors import FedtuiError, TrainerDied
from fedtui.task import read_task
from fedtui.training import TrainerProcess
from p2p.errors import P2PError
from p2p.room import Plan
from p2p.workload import Input, Verdict
from trainer.protocol import CheckBlob, Request, WeightedFile
from trainer.protocol import Combine as CombineFiles

log = logging.getLogger("fedtui.workload")

CHECK_TRIES = 2
"""The system may have ended the first worker for reasons of its own, such as memory."""

BYSTANDER_TRIES = 3
"""Of a request that only waited each time, behind others that ended the worker."""

OnApplied = Callable[[Path, int], Awaitable[None]]
OnCombined = Callable[[str, dict[str, Any], int], None]


async def _nowhere(path: Path, round_number: int) -> None:
    """What is only recomputed is not applied."""
    del path, round_number


class AdapterWorkload:
    """:class:`p2p.workload.Workload` for LoRA adapters; ``work`` is a folder for results.

    ``on_combined`` hears of every result's SHA-256, how it came about as
    :class:`trainer.protocol.Combine` says it, and its size in bytes.
    """

    def __init__(
        self,
        arithmetic: TrainerProcess,
        work: Path,
        *,
        max_blob: int,
        on_applied: OnApplied = _nowhere,
        on_combined: OnCombined = lambda sha256, statistics, size: None,
    ) -> None:
        self._arithmetic = arithmetic
        self._work = work
        self._max_blob = max_blob
        self._on_applied = on_applied
        self._on_combined = on_combined
        self._numbers = itertools.count()
        self._checking = asyncio.Lock()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, mode=0o700)

    async def check(self, path: Path, plan: Plan) -> Verdict:
        """Whether a file may enter a round. A file that ends the worker each time may not.

        One is read at a time, so that none is tried beside another that ends the worker.

        Raises :class:`P2PError` when that cannot be told here, which is no word about the file.
        """
        task = read_task(plan.task)
        request = CheckBlob(
            str(path), task.model, task.adapter.spec, self._max_blob, plan.algorithm
        )
        async with self._checking:
            for _ in range(CHECK_TRIES):
                try:
                    result = await self._served(request)
                    return Verdict(bool(result["ok"]), str(result["reason"]))
                except TrainerDied as error:
                    if not error.served or error.cancelled:
                        raise _translated(error) from error
                    log.warning("%s", error.render())
                except FedtuiError as error:
                    raise _translated(error) from error
        return Verdict(False, "reading it ended the checking process")

    async def combine(self, inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        """The round's result. Raises :class:`P2PError` when it cannot be computed here."""
        out = self._work / f"result-{next(self._numbers)}.safetensors"
        files = tuple(WeightedFile(each.id, str(each.path), each.weight) for each in inputs)
        task = read_task(plan.task)
        request = CombineFiles(
            files,
            plan.algorithm,
            str(previous),
            str(out),
            task.rule.spec,
            task.seed,
            late=plan.late == "carry",
        )
        try:
            result = await self._served(request)
        except FedtuiError as error:
            raise _translated(error) from error
        self._on_combined(str(result["sha256"]), result["statistics"], int(result["bytes"]))
        return out

    async def _served(self, request: Request) -> dict[str, Any]:
        """What the worker answers, which others may end before it comes to this request.

        Raises :class:`FedtuiError`.
        """
        tries = 0
        while True:
            try:
                return await self._arithmetic.request(request)
            except TrainerDied as error:
                tries += 1
                if error.served or error.cancelled or tries == BYSTANDER_TRIES:
                    raise
                log.warning("%s", error.render())

    async def apply(self, path: Path, round_number: int) -> None:
        """Hands a committed result on."""
        await self._on_applied(path, round_number)


def _translated(error: FedtuiError) -> P2PError:
    cause = f"{error.title}: {error.cause}" if error.cause else error.title
    return P2PError(cause, remedy=error.remedy or None)
