"""The loop of a trainer process: requests in over one pipe, messages out over another.

One thread reads; the main thread takes one request at a time in the order they came. One that is
cancelled before its turn is answered at once, however long the other runs; one that fails leaves
the worker alive. The end of the input, :class:`Stop`, SIGTERM and the parent's death end it; a
request that does not notice within ``STOP_GRACE`` seconds is left unfinished, which files survive
because they appear only when complete.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from trainer import disk
from trainer.arithmetic import HANDLERS, Handler
from trainer.config import (
    MAX_WAITING_REQUESTS,
    MAX_WISHES,
    PARENT_POLL_INTERVAL,
    PROGRESS_INTERVAL,
    STOP_GRACE,
)
from trainer.errors import MISUSE, Cancelled, TrainerError
from trainer.job import Job
from trainer.protocol import (
    MAX_LINE,
    Cancel,
    Done,
    Failed,
    Message,
    Progress,
    Request,
    Steer,
    Stop,
    WireError,
    decode_request,
    encode_message,
)

log = logging.getLogger("trainer")

Handlers = dict[type[Request], Handler]


@dataclass
class Worker:
    """Serves requests from ``source`` with ``handlers`` and answers on ``sink``."""

    source: BinaryIO
    sink: BinaryIO
    handlers: Handlers = field(default_factory=lambda: dict(HANDLERS))
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._waiting: dict[int, Request] = {}
        self._served: int | None = None
        self._turn = threading.Condition()  # guards the two above
        self._cancelled: set[int] = set()
        self._wishes: dict[int, deque[str]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._deadline = threading.Timer(STOP_GRACE, os._exit, (1,))
        self._deadline.daemon = True
        self._parent = os.getppid()  # before the parent hears of us, and may die

    def run(self) -> None:
        """Returns when the conversation is over."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
        while (item := self._next()) is not None:
            self._serve(*item)
        self._deadline.cancel()  # the interpreter's own end may take long on a busy machine

    def say(self, message: Message) -> None:
        """Writes one message; a parent that no longer listens ends the worker.

        Raises ValueError for a message that no line can hold.
        """
        line = encode_message(message)
        try:
            with self._lock:
                self.sink.write(line)
                self.sink.flush()
        except (OSError, ValueError):
            self.stop()

    def stop(self) -> None:
        """Cancels everything and ends the worker; not to be called from a signal handler."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._deadline.start()
        with self._turn:
            self._turn.notify()

    def _read(self) -> None:
        try:
            while line := self.source.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    log.error("a line longer than %d bytes ends the conversation", MAX_LINE)
                    break
                self._receive(line)
                if self._stopping.is_set():
                    break
        except (OSError, ValueError) as error:
            log.error("reading failed: %s", error)
        finally:
            self.stop()

    def _receive(self, line: bytes) -> None:
        try:
            number, request = decode_request(line)
        except WireError as error:
            log.error("not a request: %s", error)
            if error.request is not None:
                self._fail(error.request, "The request was not understood", str(error))
            return
        if isinstance(request, Stop):
            self.stop()
        elif isinstance(request, Cancel):
            self._cancel(request.request)
        elif isinstance(request, Steer):
            with self._turn:
                if self._owes(request.request):
                    wishes = self._wishes.setdefault(request.request, deque(maxlen=MAX_WISHES))
                    wishes.append(request.wish)
        elif self._owes(number):
            self._fail(number, "The request's number is taken", f"{number} is still unfinished.")
        elif len(self._waiting) >= MAX_WAITING_REQUESTS:
            self._fail(number, "The trainer is busy", f"{len(self._waiting)} requests are waiting.")
        else:
            with self._turn:
                self._waiting[number] = request
                self._turn.notify()

    def _cancel(self, number: int) -> None:
        with self._turn:
            if number == self._served:
                self._cancelled.add(number)  # Its handler looks at each step, and answers.
                return
            waited = self._waiting.pop(number, None)
            self._wishes.pop(number, None)
        if waited is not None:
            self.say(_cancelled(number))

    def _owes(self, number: int) -> bool:
        return number == self._served or number in self._waiting

    def _next(self) -> tuple[int, Request] | None:
        """The oldest request that waits; None at the end of the conversation."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._stopping.is_set())
            if not self._waiting:
                return None
            number = self._served = next(iter(self._waiting))
            return number, self._waiting.pop(number)

    def _fail(self, number: int, title: str, cause: str) -> None:
        self.say(Failed(number, title, cause, "This is a fault in the program.", MISUSE))

    def _watch_parent(self) -> None:
        """The end of the input says it too, unless a sibling process holds the pipe open."""
        while not self._stopping.wait(PARENT_POLL_INTERVAL):
            if os.getppid() != self._parent:
                log.error("the parent is gone")
                self.stop()

    def _serve(self, number: int, request: Request) -> None:
        answer = self._answer(number, request)
        with self._turn:
            self._served = None
            self._cancelled.discard(number)
            self._wishes.pop(number, None)
        try:
            self.say(answer)
        except ValueError as error:  # the result does not fit a line, or holds NaN
            self.say(_unexpected(number, error))

    def _answer(self, number: int, request: Request) -> Done | Failed:
        handler = self.handlers.get(type(request))
        if handler is None:
            return Failed(
                number,
                "This trainer does not do that",
                f"It runs without torch and refuses {request.kind}.",
                "Start it with the full role.",
                MISUSE,
            )
        try:
            job = self._job(number)
            job.check()
            return Done(number, handler(request, job))
        except Cancelled:
            return _cancelled(number)
        except TrainerError as error:
            log.warning("%s: %s", error.title, error.cause)
            return Failed(number, error.title, error.cause, error.remedy, error.code)
        except Exception as error:
            log.exception("request %d (%s) failed", number, request.kind)
            return _unexpected(number, error)

    def _job(self, number: int) -> Job:
        last = -PROGRESS_INTERVAL

        def announce(data: dict[str, Any]) -> None:
            self.say(Progress(number, data))

        def report(data: dict[str, Any]) -> None:
            nonlocal last
            now = self.clock()
            if now - last >= PROGRESS_INTERVAL:
                last = now
                announce(data)

        def cancelled() -> bool:
            return self._stopping.is_set() or number in self._cancelled

        def wish() -> str | None:
            waiting = self._wishes.get(number)
            return waiting.popleft() if waiting else None

        return Job(cancelled, report, announce, wish)


def _cancelled(number: int) -> Failed:
    return Failed(number, "Cancelled", code=130, cancelled=True)


def _unexpected(number: int, error: Exception) -> Failed:
    """Memory and disk are the surprises with a remedy; torch names memory in words only."""
    text = f"{type(error).__name__}: {error}"[:2000]
    if isinstance(error, MemoryError) or "out of memory" in text or "t allocate memory" in text:
        return Failed(number, "Out of memory", text, "Use a smaller batch or smaller pictures.")
    if disk.is_full(error):
        remedy = "Make room there and do the same again: nothing half-written counts as whole."
        return Failed(number, "The disk is full", text, remedy)
    if isinstance(error, OSError):
        return Failed(number, "A file could not be read or written", text, "See disk and rights.")
    return Failed(number, "Unexpected fault in the trainer", text, "See the log for the place.")
