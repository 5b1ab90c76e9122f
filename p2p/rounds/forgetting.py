"""Freeing the disk of old rounds, after commits and never in a hurry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from p2p.blobs.retention import Retention, RoundBlobs, doomed
from p2p.blobs.store import BlobStore
from p2p.messages import Result
from p2p.rounds.limits import RETENTION_PAUSE

_log = logging.getLogger(__name__)


class Forgetting:
    """Removes the blobs that no round needs any more.

    ``me`` is this node, whose own contributions go later than others'. ``needed`` says what goes
    in no case. The inputs of the last ``kept_rounds`` rounds stay.
    """

    def __init__(
        self, blobs: BlobStore, me: str, needed: Callable[[], set[str]], kept_rounds: int
    ) -> None:
        self._blobs = blobs
        self._me = me
        self._needed = needed
        self._kept_rounds = kept_rounds
        self._history: list[RoundBlobs] = []
        self._due = asyncio.Event()

    def note(self, result: Result) -> None:
        """Takes in what an earlier round speaks of."""
        own = next((item.blob for item in result.inputs if item.peer == self._me), None)
        inputs = tuple(item.blob for item in result.inputs)
        self._history.append(RoundBlobs(result.round, result.result_blob, inputs, own))

    def on_commit(self, result: Result) -> None:
        """A round has ended: there may be something to remove."""
        self.note(result)
        self._due.set()

    async def run(self) -> None:
        """Runs until it is cancelled. The pause gives what was just stored time to be spoken of."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._forget()
            except OSError as error:
                _log.warning("old rounds cannot be removed: %s", error)
            except Exception:  # A disk that is never cleared fills up in the end.
                _log.exception("old rounds could not be removed")
            await asyncio.sleep(RETENTION_PAUSE)

    async def _forget(self) -> None:
        retention = Retention(self._kept_rounds, self._blobs.budget)
        names = doomed(self._history, self._blobs.sizes, self._needed(), retention)
        freed = await self._blobs.prune(names)
        if freed:
            _log.info("%d bytes of old rounds freed", freed)
