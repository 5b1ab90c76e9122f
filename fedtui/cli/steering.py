"""Keys and signals that steer a training while a command waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

from fedtui.errors import TrainerDied
from fedtui.training import TrainerProcess
from trainer.protocol import Wish

Keys = Mapping[str, Wish]

TRAINING_KEYS: Keys = {"p": "pause", "r": "resume", "c": "save", "s": "sample"}
SIGNALS: Mapping[str, Wish] = {"SIGUSR1": "save", "SIGUSR2": "sample"}
"""For a training without a terminal, where the system has these signals."""


@asynccontextmanager
async def steered(trainer: TrainerProcess, keys: Keys) -> AsyncIterator[None]:
    """Passes keys and signals on; without ``keys`` it does nothing."""
    if not keys:
        yield
        return
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(wish: Wish) -> None:
        with suppress(TrainerDied):
            await trainer.steer(wish)

    def wanted(wish: Wish) -> None:
        task = loop.create_task(pass_on(wish))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with ExitStack() as stack:
        for name, wish in SIGNALS.items():
            number = getattr(signal, name, None)
            if number is not None:
                loop.add_signal_handler(number, wanted, wish)
                stack.callback(loop.remove_signal_handler, number)

        def pressed(key: str) -> None:
            if key in keys:
                wanted(keys[key])

        stack.enter_context(_pressed(loop, pressed))
        yield


@contextmanager
def _pressed(loop: asyncio.AbstractEventLoop, on_key: Callable[[str], None]) -> Iterator[None]:
    """Calls ``on_key`` for each key, without waiting for a line; needs a terminal."""
    if sys.platform == "win32" or not sys.stdin or not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        for key in os.read(terminal, 32).decode(errors="ignore"):
            on_key(key)

    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
