"""Checking contributions: each is fetched, in turn for one author, and shown to the workload."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from p2p.blobs.chunks import BlobRef
from p2p.errors import NetworkError, P2PError
from p2p.events import Emit
from p2p.messages import Contribution, Result
from p2p.room import Plan
from p2p.rounds.effects import UNAVAILABLE, FetchBlob
from p2p.rounds.limits import (
    BLOB_CHECK_RETRY_DELAY,
    BLOB_CHECK_TIMEOUT,
    BLOB_CHECK_TRIES,
    MAX_PARALLEL_CHECKS,
)
from p2p.tasks import TaskOwner
from p2p.workload import Verdict, Workload

_log = logging.getLogger(__name__)

UNCHECKED: Final = "unchecked"
"""What the event says of a contribution about which there is nothing to say: it could not be had,
or the check itself failed."""


class Checking:
    """Checks what others contribute.

    ``fetch(ref, author)`` gets a blob from here or from whoever has it, ``checked(id, verdict)``
    is told of each contribution.
    """

    def __init__(
        self,
        workload: Workload,
        plan: Plan,
        tasks: TaskOwner,
        *,
        emit: Emit,
        fetch: Callable[[BlobRef, str], Awaitable[Path]],
        checked: Callable[[str, Verdict], None],
    ) -> None:
        self._workload = workload
        self._plan = plan
        self._tasks = tasks
        self._emit = emit
        self._fetch = fetch
        self._checked = checked
        self._places = asyncio.Semaphore(MAX_PARALLEL_CHECKS)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fetching: dict[asyncio.Task[None], Contribution] = {}

    def begin(self, effect: FetchBlob) -> None:
        """Checks one contribution beside everything else."""
        task = self._tasks.spawn(self._check(effect), "check")
        self._fetching[task] = effect.contribution
        task.add_done_callback(self._has_ended)

    def forget(self, result: Result) -> None:
        """A round is over: what it did not take need not come any more."""
        taken = {item.blob for item in result.inputs}
        for task, contribution in list(self._fetching.items()):
            if contribution.round <= result.round and contribution.blob not in taken:
                task.cancel()

    async def _check(self, effect: FetchBlob) -> None:
        contribution = effect.contribution
        try:
            verdict = await self._verdict(contribution)
            word, reason = "ok" if verdict.ok else "refused", verdict.reason
        except Exception as error:  # The workload is foreign code; a verdict is owed.
            verdict, word, reason = UNAVAILABLE, UNCHECKED, _reason(error)
            _log.warning("contribution of %s: %s", contribution.peer[:8], error or repr(error))
        self._emit(
            "contribution.checked",
            round=contribution.round,
            peer=contribution.peer,
            verdict=word,
            reason=reason,
        )
        self._checked(effect.id, verdict)

    async def _verdict(self, contribution: Contribution) -> Verdict:
        """Raises what the workload does, and TimeoutError, NetworkError or StorageError when the
        file does not come."""
        # In turn for one author: whoever is slow holds up nobody else's.
        async with self._turns[contribution.peer], asyncio.timeout(BLOB_CHECK_TIMEOUT):
            path = await self._file_of(contribution)
        self._has_ended(asyncio.current_task())
        async with self._places:
            return await self._workload.check(path, self._plan)

    async def _file_of(self, contribution: Contribution) -> Path:
        for _ in range(BLOB_CHECK_TRIES - 1):
            try:
                return await self._fetch(contribution.ref, contribution.peer)
            except NetworkError as error:
                _log.info("contribution of %s: %s", contribution.peer[:8], error)
            await asyncio.sleep(BLOB_CHECK_RETRY_DELAY)
        return await self._fetch(contribution.ref, contribution.peer)

    def _has_ended(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._fetching.pop(task, None)


def _reason(error: Exception) -> str:
    """What went wrong, for people."""
    match error:
        case NetworkError():
            return "nobody who is there can give its file"
        case P2PError():
            return error.cause
        case TimeoutError():
            return "its file comes too slowly"
        case _:
            return str(error) or type(error).__name__
