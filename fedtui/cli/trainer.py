"""One request to a trainer of its own, for commands that need no node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fedtui import paths, settings
from fedtui.cli import output, running
from fedtui.cli.steering import Keys, steered
from fedtui.training import OnProgress, Role, TrainerProcess
from trainer.protocol import Request


def ask(
    request: Request,
    *,
    role: Role = "full",
    on_progress: OnProgress | None = None,
    keys: Keys | None = None,
) -> dict[str, Any]:
    """Starts a worker, sends one request, ends the worker. Raises what the request raised.

    ``keys`` are wishes to a training by the key that is pressed for them.
    """
    return ask_all([request], role=role, on_progress=on_progress, keys=keys)[0]


def ask_all(
    requests: Sequence[Request],
    *,
    role: Role = "full",
    on_progress: OnProgress | None = None,
    keys: Keys | None = None,
) -> list[dict[str, Any]]:
    """Several requests to one worker, one after the other."""
    chosen = settings.load(paths.default_profile())
    trainer = TrainerProcess(
        role,
        threads=chosen.threads,
        device=chosen.device,
        gpu_percent=chosen.gpu_percent,
        on_log=output.say if output.settings.debug else None,
    )
    return running.run(_ask(trainer, requests, on_progress, keys or {}))


async def _ask(
    trainer: TrainerProcess,
    requests: Sequence[Request],
    on_progress: OnProgress | None,
    keys: Keys,
) -> list[dict[str, Any]]:
    if trainer.role == "full":
        output.say("loading the trainer …")

    async def in_turn() -> list[dict[str, Any]]:
        return [await trainer.request(request, on_progress) for request in requests]

    work = asyncio.create_task(in_turn())
    try:
        async with steered(trainer, keys):
            return await asyncio.shield(work)
    finally:
        # Stopping first: a cancelled request would wait for the worker to let go of it.
        await trainer.stop()
        await asyncio.gather(work, return_exceptions=True)
