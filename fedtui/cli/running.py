"""Running a coroutine as a command: signals cancel it, and its children end with it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import typer

from fedtui.errors import ExitCode
from fedtui.parent import when_parent_ends

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, with_parent: bool = False) -> T:
    """Runs ``work`` to its end. SIGINT ends the command with 130, SIGTERM and SIGHUP with 143.

    Both cancel the coroutine first, so that every ``finally`` in it stops what it had started.
    ``with_parent``: so does the end of stdin.
    """
    stopped: list[int] = []

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()

        def cancel(code: int) -> None:
            if not stopped:
                stopped.append(code)
                task.cancel()

        with suppress(NotImplementedError):  # Windows: asyncio.run handles ctrl+c by itself
            loop.add_signal_handler(signal.SIGINT, cancel, ExitCode.INTERRUPTED)
            loop.add_signal_handler(signal.SIGTERM, cancel, ExitCode.TERMINATED)
            loop.add_signal_handler(signal.SIGHUP, cancel, ExitCode.TERMINATED)
        if with_parent:
            when_parent_ends(lambda: cancel(ExitCode.TERMINATED))
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise typer.Exit(stopped[0] if stopped else ExitCode.FAILED) from None
