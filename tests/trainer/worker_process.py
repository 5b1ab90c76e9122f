"""A trainer process on real pipes, driven as fedtui drives it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from trainer.protocol import (
    Done,
    Failed,
    Message,
    Progress,
    Ready,
    Request,
    decode_message,
    encode_request,
)

LIMIT = 240.0
"""Seconds to wait for anything."""


class WorkerProcess:
    """Starts ``python -m trainer`` and collects what it says."""

    def __init__(
        self,
        role: str = "full",
        environment: Mapping[str, str] | None = None,
        *,
        own_session: bool = False,
        launcher: Sequence[str] = (),
        program: Sequence[str] = ("-m", "trainer"),
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *launcher, *program, "--role", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"FEDTUI_THREADS": "1"} | dict(environment or {}),
            start_new_session=own_session,
        )
        self.log: list[str] = []
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._number = 0
        for target in (self._read_messages, self._read_log):
            threading.Thread(target=target, daemon=True).start()

    def _read_messages(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._messages.put(decode_message(line))
        self._messages.put(None)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode(errors="replace"))

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        if error is not None:
            print("".join(self.log), file=sys.stderr)

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def send(self, request: Request) -> int:
        self._number += 1
        self.write(encode_request(self._number, request))
        return self._number

    def next(self) -> Message | None:
        """The next message; None when the worker has closed its output."""
        return self._messages.get(timeout=LIMIT)

    def ready(self) -> Ready:
        message = self.next()
        assert isinstance(message, Ready), message
        return message

    def finish(self, number: int) -> tuple[Done | Failed, list[Progress]]:
        """The end of a request, and the progress up to it."""
        progress = []
        while True:
            message = self.next()
            assert message is not None, "the worker ended:\n" + "".join(self.log)
            if isinstance(message, Progress) and message.request == number:
                progress.append(message)
            elif isinstance(message, Done | Failed) and message.request == number:
                return message, progress

    def ask(self, request: Request) -> dict[str, Any]:
        """The result of a request that must succeed."""
        answer, _ = self.finish(self.send(request))
        assert isinstance(answer, Done), answer
        return answer.result

    def exit_code(self) -> int:
        return self.process.wait(LIMIT)
