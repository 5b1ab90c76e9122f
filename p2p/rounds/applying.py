"""Applying results: one after the other, each as soon as its bytes are here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from p2p.blobs.chunks import BlobRef
from p2p.errors import BlobUnavailable, P2PError, StorageError
from p2p.events import Emit
from p2p.messages import QC, Result
from p2p.rounds.ledger import Ledger
from p2p.rounds.limits import APPLY_RETRY_DELAY
from p2p.workload import Workload

_log = logging.getLogger(__name__)


class Applying:
    """Hands the results of commits to the workload.

    ``fetch(ref, likely)`` gets a blob from here or from whoever has it, the likely ones first;
    ``note`` takes what people should know of a result that does not come, or cannot be applied.
    """

    def __init__(
        self,
        workload: Workload,
        ledger: Ledger,
        *,
        emit: Emit,
        fetch: Callable[[BlobRef, Iterable[str]], Awaitable[Path]],
        note: Callable[[str], None],
    ) -> None:
        self._workload = workload
        self._ledger = ledger
        self._emit = emit
        self._fetch = fetch
        self._note = note
        self._waiting: asyncio.Queue[tuple[Result, QC]] = asyncio.Queue()

    def put(self, result: Result, qc: QC) -> None:
        """A round has been committed."""
        self._waiting.put_nowait((result, qc))

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            result, qc = await self._waiting.get()
            path = await self._path_of(result, [entry.peer for entry in qc.signatures])
            if path is not None:
                await self._apply(result, path)

    async def _apply(self, result: Result, path: Path) -> None:
        try:
            await self._workload.apply(path, result.round)
        except Exception as error:  # Foreign code; the ledger is right whatever it says.
            self._note(str(error))
            _log.exception("the result of round %d could not be applied", result.round)
            return
        try:
            await asyncio.to_thread(self._ledger.set_applied, result.round)
        except StorageError as error:  # It is applied once more after a restart.
            _log.warning("that round %d was applied is not kept: %s", result.round, error)
        self._emit("adapter.applied", round=result.round, sha256=result.result_blob)

    async def _path_of(self, result: Result, signers: list[str]) -> Path | None:
        """The result of a commit; None when nobody has it any more and a newer one is there."""
        while True:
            try:
                return await self._fetch(result.ref, signers)
            except BlobUnavailable as error:
                if not self._waiting.empty():
                    return None
                _log.info("the result of round %d: %s", result.round, error)
            except P2PError as error:
                self._note(error.cause)
                _log.warning("the result of round %d: %s", result.round, error)
            await asyncio.sleep(APPLY_RETRY_DELAY)
