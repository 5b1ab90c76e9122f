"""The same federation as a real room: nodes in their own processes, TLS, election, votes."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

from fedtui.demo import founding
from fedtui.errors import FedtuiError, UsageError
from fedtui.experiment.fedflow import Options


def node_names(seed: int, count: int) -> list[str]:
    """The identities of the demo's nodes of a seed: randomness and order depend on them."""
    return [founding.demo_identity(seed, index).peer_id for index in range(count)]


async def adapter_of_room(options: Options, seed: int, folder: Path) -> str:
    """Runs a demo with these options in ``folder``; returns the SHA-256 of its last state.

    Raises :class:`UsageError` for options that a demo has not, :class:`FedtuiError` when it fails.
    """
    if options.data is not None or options.split != "kind" or options.counts != founding.SHARES:
        raise UsageError(
            "--network runs the built-in pictures split by kind only",
            remedy="leave out --data and --split",
        )
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["demo", "--headless", "--json", "--dir", str(folder), "--seed", str(seed),
                 "--nodes", str(len(options.counts)), "--rounds", str(options.rounds),
                 "--steps", str(options.steps), "--algorithm", options.algorithm,
                 "--rule", options.rule]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fedtui", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    last = json.loads(out.splitlines()[-1]) if out.strip() else {}
    if process.returncode or not last.get("ok"):
        raise FedtuiError("the room on the network failed", f"see {folder}")
    return str(last["adapter_sha256"])
