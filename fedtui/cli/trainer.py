"""One request to a trainer of its own, for commands that need no node."""

from __future__ import annotations

import asyncio
from typing import Any

from fedtui import paths, settings
from fedtui.cli import output, running
from fedtui.training import OnProgress, Role, TrainerProcess
from trainer.protocol import Request


def ask(
    request: Request,
    *,
    role: Role = "full",
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Starts a worker, sends one request, ends the worker. Raises what the request raised."""
    chosen = settings.load(paths.default_profile())
    trainer = TrainerProcess(
        role,
        threads=chosen.threads,
        device=chosen.device,
        on_log=output.say if output.settings.debug else None,
    )
    return running.run(_ask(trainer, request, on_progress))


async def _ask(
    trainer: TrainerProcess, request: Request, on_progress: OnProgress | None
) -> dict[str, Any]:
    if trainer.role == "full":
        output.say("loading the trainer …")
    work = asyncio.create_task(trainer.request(request, on_progress))
    try:
        return await asyncio.shield(work)
    finally:
        # Stopping first: a cancelled request would wait for the worker to let go of it.
        await trainer.stop()
        await asyncio.gather(work, return_exceptions=True)
