"""The trainer as a child process: requests go in, results come out, its death is only a state.

torch lives over there. A request is awaited like any coroutine; cancelling the await cancels the
work. When the process dies, everything it owed fails with :class:`~fedtui.errors.TrainerDied`, and
the next request starts another one. The worker ends by itself when its stdin closes, so it does not
outlive a parent that was killed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from fedtui.errors import TrainerDied, TrainerError
from fedtui.limits import (
    TRAINER_CANCEL_S,
    TRAINER_LAST_WORDS,
    TRAINER_LOG_BYTES,
    TRAINER_LOG_FILES,
    TRAINER_REQUESTS_MAX,
    TRAINER_START_S,
    TRAINER_STOP_S,
)
from trainer import protocol

Role = Literal["full", "arithmetic"]
GPUS_VARIABLE = "FEDTUI_GPUS"
"""Environment: processes that train together, one per GPU; 1 without it."""
OnProgress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ProcessState:
    """``kind``: off, loading, ready, failed; ``detail`` says why it failed."""

    kind: Literal["off", "loading", "ready", "failed"] = "off"
    pid: int | None = None
    device: str = ""
    detail: str = ""


class _Pending:
    """A request the worker owes an answer to."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.on_progress = on_progress

    def progress(self, data: dict[str, Any]) -> None:
        if self.on_progress is None or self.answer.done():
            return
        try:
            self.on_progress(data)
        except Exception as error:
            self.answer.set_exception(error)

    def done(self, result: dict[str, Any]) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def failed(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class TrainerProcess:
    """One worker of a role. ``command`` replaces the interpreter's arguments in tests."""

    def __init__(
        self,
        role: Role = "full",
        *,
        log: Path | None = None,
        threads: int = 0,
        device: str = "",
        gpu_percent: int = 100,
        command: Sequence[str] = (),
        on_state: Callable[[ProcessState], None] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.role = role
        self._command = tuple(command) or _command(role)
        self._environment = _environment(threads, device, gpu_percent)
        self._log = _WorkerLog(role, log, on_log)
        self._on_state = on_state
        self._state = ProcessState()
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[protocol.Ready] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._stopping = False

    @property
    def state(self) -> ProcessState:
        return self._state

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts the worker unless it runs, and waits until it is ready.

        Raises :class:`TrainerError` when it cannot be started.
        """
        async with self._starting:
            if self._process is not None:
                return
            await self._spawn()

    async def request(
        self, request: protocol.Request, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Sends a request and returns its result; ``on_progress`` gets each progress message.

        Raises :class:`TrainerError` with the worker's reasons, :class:`TrainerDied` when it ended
        meanwhile. Cancelling the call cancels the request and waits until the worker has let go.
        """
        if len(self._pending) >= TRAINER_REQUESTS_MAX:
            raise TrainerError("the trainer is busy", f"{len(self._pending)} requests wait for it")
        await self.start()
        number = next(self._numbers)
        pending = self._pending[number] = _Pending(on_progress)
        try:
            await self._write(protocol.encode_request(number, request))
            return await asyncio.shield(pending.answer)
        except asyncio.CancelledError:
            await self._cancel(number, pending)
            raise
        finally:
            self._pending.pop(number, None)
            # An answer nobody waits for any more is not an error nobody saw.
            if pending.answer.done() and not pending.answer.cancelled():
                pending.answer.exception()

    async def steer(self, wish: protocol.Wish) -> None:
        """Passes a wish on to whatever trains; see :class:`trainer.protocol.Steer`.

        Raises :class:`TrainerDied` when the worker has ended.
        """
        for number in list(self._pending):
            await self._write(
                protocol.encode_request(next(self._numbers), protocol.Steer(number, wish))
            )

    async def stop(self) -> None:
        """Ends the worker: asked, then told, then killed, with whatever it started."""
        self._stopping = True
        process = self._process
        if process is not None:
            with suppress(TrainerDied):
                await self._write(protocol.encode_request(next(self._numbers), protocol.Stop()))
            if process.stdin is not None:
                process.stdin.close()
            await _end(process)
        for task in list(self._tasks):
            with suppress(asyncio.CancelledError):
                await task
        self._stopping = False
        self._log.close()

    async def _spawn(self) -> None:
        self._set(ProcessState("loading"))
        self._log.last_words.clear()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=protocol.MAX_LINE + 1,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            self._set(ProcessState("failed", detail=str(error)))
            raise TrainerError("the trainer does not start", str(error)) from error
        self._process = process
        self._ready = asyncio.get_running_loop().create_future()
        self._set(ProcessState("loading", process.pid))
        self._watch(process)
        try:
            async with asyncio.timeout(TRAINER_START_S):
                ready = await asyncio.shield(self._ready)
        except TimeoutError as error:
            await _end(process)
            raise TrainerError(
                "the trainer does not start",
                f"it said nothing for {TRAINER_START_S:.0f} s",
                f"look at the end of {self._log.place}",
            ) from error
        except asyncio.CancelledError:
            await _end(process)
            raise
        self._set(ProcessState("ready", process.pid, ready.device))

    def _watch(self, process: asyncio.subprocess.Process) -> None:
        for work in (self._read(process), self._log.follow(process)):
            task = asyncio.create_task(work, name=f"trainer-{self.role}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Takes the worker's messages until it ends or speaks nonsense."""
        assert process.stdout is not None
        nonsense = ""
        while not nonsense:
            try:
                line = await process.stdout.readline()
                if not line:
                    break
                self._take(protocol.decode_message(line))
            except ValueError as error:  # also what readline raises for a line over the limit
                nonsense = f"it broke the protocol: {error}"
        if nonsense:
            _signal(process, force=True)
        await _end(process)
        self._ended(process, nonsense)

    def _take(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Ready):
            if message.version != protocol.VERSION:
                raise protocol.WireError(f"protocol version {message.version}")
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(message)
            return
        number = getattr(message, "request", 0)
        pending = self._pending.get(number)
        if pending is None:
            return
        match message:
            case protocol.Progress(data=data):
                pending.progress(data)
            case protocol.Done(result=result):
                pending.done(result)
            case protocol.Failed():
                pending.failed(
                    TrainerError(
                        message.title,
                        message.cause,
                        message.remedy,
                        code=message.code,
                        cancelled=message.cancelled,
                    )
                )

    def _ended(self, process: asyncio.subprocess.Process, nonsense: str) -> None:
        if self._process is process:
            self._process = None
        cause = nonsense or _how(process.returncode)
        self._set(ProcessState("off") if self._stopping else ProcessState("failed", detail=cause))
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(self._death(cause))
            self._ready.exception()
        owed = [each for each in self._pending.values() if not each.answer.done()]
        for pending in owed:
            # A worker takes its requests in their order, so the others only waited.
            pending.failed(self._death(cause, served=pending is owed[0]))

    def _death(self, cause: str, *, served: bool = False) -> TrainerDied:
        if self._stopping:
            return TrainerDied("the trainer was stopped", cause, cancelled=True)
        words = "\n       ".join(self._log.last_words)
        return TrainerDied(
            "the trainer ended unexpectedly",
            f"{cause}\n       {words}" if words else cause,
            f"it starts again on the next request; its log is {self._log.place}",
            served=served,
        )

    async def _cancel(self, number: int, pending: _Pending) -> None:
        """Tells the worker to let go of a request; ends the worker when it does not."""
        process = self._process
        if process is None or pending.answer.done():
            return
        with suppress(TrainerDied):
            await self._write(
                protocol.encode_request(next(self._numbers), protocol.Cancel(request=number))
            )
        done, _ = await asyncio.wait({pending.answer}, timeout=TRAINER_CANCEL_S)
        if not done:
            await _end(process)

    async def _write(self, line: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise TrainerDied("the trainer ended unexpectedly", "before the request reached it")
        try:
            process.stdin.write(line)
            await process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise TrainerDied("the trainer ended unexpectedly", _how(process.returncode)) from error

    def _set(self, state: ProcessState) -> None:
        self._state = state
        if self._on_state is not None:
            self._on_state(state)


class _WorkerLog:
    """What a worker says on stderr: into a rotating file, and its last lines kept."""

    def __init__(
        self, role: Role, path: Path | None, on_line: Callable[[str], None] | None
    ) -> None:
        self.last_words: deque[str] = deque(maxlen=TRAINER_LAST_WORDS)
        self.place = str(path) if path else "stderr with --debug"
        self._role = role
        self._path = path
        self._on_line = on_line
        self._handler: RotatingFileHandler | None = None

    async def follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # a line over the limit: the reader has dropped it
            if not line:
                return
            self._write(line.decode(errors="replace").rstrip())

    def _write(self, text: str) -> None:
        self.last_words.append(text)
        if self._on_line is not None:
            self._on_line(text)
        if self._path is None:
            return
        if self._handler is None:
            self._handler = RotatingFileHandler(
                self._path,
                maxBytes=TRAINER_LOG_BYTES,
                backupCount=TRAINER_LOG_FILES,
                encoding="utf-8",
            )
        self._handler.emit(logging.LogRecord(self._role, logging.INFO, "", 0, "%s", (text,), None))

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = None


def _command(role: Role) -> tuple[str, ...]:
    """One process, or one per GPU where ``FEDTUI_GPUS`` says how many."""
    gpus = os.environ.get(GPUS_VARIABLE, "")
    if role == "full" and gpus.isdecimal() and int(gpus) > 1:
        launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", gpus)
        plain = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
        return (sys.executable, "-m", *launcher, *plain, "-m", "trainer", "--role", role)
    # -P: a folder called "trainer" where the user stands must not take our module's place.
    return (sys.executable, "-P", "-m", "trainer", "--role", role)


def _environment(threads: int, device: str, gpu_percent: int) -> Mapping[str, str]:
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONSAFEPATH"] = "1"
    if threads:
        environment["FEDTUI_THREADS"] = str(threads)
    if device:
        environment["FEDTUI_DEVICE"] = device
    environment["FEDTUI_GPU_PERCENT"] = str(gpu_percent)
    return environment


async def _end(process: asyncio.subprocess.Process) -> None:
    """Waits for a process that was asked to end; then SIGTERM, then SIGKILL, to its whole group."""
    for force in (None, False, True):
        if force is not None:
            _signal(process, force=force)
        try:
            async with asyncio.timeout(TRAINER_STOP_S):
                await process.wait()
                break
        except TimeoutError:
            continue
    _signal(process, force=True)


def _signal(process: asyncio.subprocess.Process, *, force: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill() if force else process.terminate()
        else:
            os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "it closed its output"
    if returncode >= 0:
        return f"it ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    if name == "SIGKILL":
        return "the system killed it (SIGKILL), most often because memory ran out"
    return f"it was ended by {name}"
