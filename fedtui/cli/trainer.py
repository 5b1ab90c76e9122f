"""One request to a trainer of its own, for commands that need no node."""

from __future__ import annotations

import asyncio
from typing import Any

from fedtui.cli import output, running
from fedtui.training import OnProgress, Role, TrainerProcess
from trainer.protocol import Request


def ask(
    request: Request,
    *,
    role: Role = "full",
    threads: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Starts a worker, sends one request, ends the worker. Raises what the request raised."""
    return running.run(_ask(request, role, threads, on_progress))


async def _ask(
    request: Request, role: Role, threads: int, on_progress: OnProgress | None
) -> dict[str, Any]:
    trainer = TrainerProcess(
        role, threads=threads, on_log=output.say if output.settings.debug else None
    )
    if role == "full":
        output.say("loading the trainer …")
    work = asyncio.create_task(trainer.request(request, on_progress))
    try:
        return await asyncio.shield(work)
    finally:
        # Stopping first: a cancelled request would wait for the worker to let go of it.
        await trainer.stop()
        await asyncio.gather(work, return_exceptions=True)
