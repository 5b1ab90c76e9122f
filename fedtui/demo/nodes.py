"""The demo's nodes: each ``fedtui --daemon`` in its own process and profile, seen from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from fedtui.control.client import ControlClient, NoNode
from fedtui.demo.founding import Participant
from fedtui.errors import FedtuiError
from fedtui.limits import DEMO_NODE_START_S, DEMO_STOP_S
from fedtui.paths import HOME_VARIABLE
from fedtui.settings import PREFIX
from fedtui.view import NodeView

OnEvent = Callable[["DemoNode", dict[str, Any]], None]
_POLL_S = 0.1


class DemoNode:
    """One running participant. ``on_event`` gets everything the node says."""

    def __init__(self, participant: Participant, on_event: OnEvent) -> None:
        self.participant = participant
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._client = ControlClient(participant.profile.control)

    @property
    def name(self) -> str:
        return self.participant.name

    @property
    def peer_id(self) -> str:
        return self.participant.identity.peer_id

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts the process and waits until it answers. Raises :class:`FedtuiError`."""
        profile = self.participant.profile
        environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        with profile.log.open("ab") as log:
            # stdin is a pipe of ours: the node ends when we do, whatever ends us.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "fedtui", "--daemon", "--with-parent"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env={**environment, HOME_VARIABLE: str(profile.root)},
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(DEMO_NODE_START_S):
                while not await self._answers():  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise FedtuiError(
                f"{self.name} does not answer", f"it had {DEMO_NODE_START_S:.0f} s", self._hint()
            ) from error

    async def follow(self) -> int:
        """Passes events on until the process ends; returns its exit code."""
        assert self._process is not None
        following = asyncio.create_task(self._pass_events())
        try:
            return await self._process.wait()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def view(self) -> NodeView:
        return await self._client.view()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to the node and everything below it."""
        await self._client.close()
        process = self._process
        if process is None or process.returncode is not None:
            return
        children = _descendants(process.pid)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(DEMO_STOP_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        # The trainers end by themselves when their node does; a hanging one is not waited for.
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, DEMO_STOP_S)
        for child in alive:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            words = self.participant.profile.log.read_text(errors="replace").splitlines()[-5:]
            raise FedtuiError(f"{self.name} does not start", "\n       ".join(words), self._hint())
        try:
            await self._client.view()
        except NoNode:
            return False
        return True

    async def _pass_events(self) -> None:
        seen = 0
        while True:
            try:
                async for event in self._client.events(seen, follow=True):
                    seen = event["seq"]
                    self._on_event(self, event)
            except FedtuiError:
                await asyncio.sleep(_POLL_S)

    def _hint(self) -> str:
        return f"its log is {self.participant.profile.log}"


def memory_of(pids: list[int]) -> int:
    """Bytes that processes and their descendants hold; on Linux shared pages count once."""
    total = 0
    for pid in pids:
        for process in (psutil.Process(pid), *_descendants(pid)) if psutil.pid_exists(pid) else ():
            with suppress(psutil.Error):
                total += _memory(process)
    return total


def _memory(process: psutil.Process) -> int:
    if sys.platform == "linux":
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
