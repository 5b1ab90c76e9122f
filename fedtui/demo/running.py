"""One demo from founding to results: nodes come, nodes may die, the room goes on with a quorum."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

from fedtui.control.client import NoNode
from fedtui.demo.finish import Results, finish
from fedtui.demo.founding import Founded, draw_share, found
from fedtui.demo.nodes import DemoNode, memory_of
from fedtui.demo.options import DemoOptions, DemoPaths, open_directory
from fedtui.demo.progress import RoomProgress
from fedtui.demo.reporting import Reporter
from fedtui.errors import ExitCode, FedtuiError, NetworkError
from fedtui.limits import (
    DEMO_LAST_PREVIEWS_S,
    DEMO_MEET_S,
    DEMO_SAMPLE_S,
    DEMO_VIEW_S,
    VIEW_INTERVAL_S,
)
from fedtui.training import TrainerProcess


async def run_headless(options: DemoOptions, reporter: Reporter) -> int:
    """Runs a whole demo and returns its exit code; every child has ended when this returns."""
    paths = open_directory(options)
    demo = _Demo(options, paths, reporter)
    async with AsyncExitStack() as children:
        finished = await demo.run(children)
        reporter.event(finished)
        _tell(finished, paths, reporter)
        if options.stay:
            reporter.step("the nodes go on; ctrl+c ends them")
            await asyncio.Event().wait()
    return ExitCode.OK if finished["ok"] else ExitCode.FAILED


class _Demo:
    """The state of one run."""

    def __init__(self, options: DemoOptions, paths: DemoPaths, reporter: Reporter) -> None:
        self._options = options
        self._paths = paths
        self._reporter = reporter
        self._began = time.monotonic()
        self._nodes: list[DemoNode] = []
        self._lost: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._peak_memory = 0
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._progress = RoomProgress({}, options.rounds)

    async def run(self, children: AsyncExitStack) -> dict[str, Any]:
        """Everything up to the results; what it started is left to ``children`` to end."""
        arithmetic = TrainerProcess("arithmetic", log=self._paths.trainer_log)
        children.push_async_callback(arithmetic.stop)
        self._reporter.step(f"founding a room of {self._options.nodes} in {self._paths.root}")
        founded = await self._found(arithmetic)
        names = {p.identity.peer_id: p.name for p in founded.participants}
        self._progress = RoomProgress(names, self._options.rounds)
        children.push_async_callback(self._end_tasks)
        children.push_async_callback(self._stop_nodes)
        self._spawn(self._sample())
        await self._start_nodes(founded, arithmetic)
        self._spawn(self._require_meeting())
        await self._until_rounds_done(founded)
        heads = await self._heads()
        if not self._options.stay:
            await self._stop_nodes()
        trainer = TrainerProcess("full", log=self._paths.trainer_log)
        children.push_async_callback(trainer.stop)
        if not self._options.quick:
            self._reporter.step("comparing with the base model on pictures nobody trained on")
        results = await finish(
            self._options,
            founded,
            self._alive()[0].participant,
            self._progress.previews,
            arithmetic,
            trainer,
        )
        return self._finished(heads, results)

    async def _found(self, arithmetic: TrainerProcess) -> Founded:
        try:
            return await found(self._options, self._paths, arithmetic)
        except FedtuiError:
            if self._options.directory is None:
                shutil.rmtree(self._paths.root, ignore_errors=True)
            raise

    async def _start_nodes(self, founded: Founded, arithmetic: TrainerProcess) -> None:
        """One after the other: the first one draws its first pictures while the others load."""
        for participant in founded.participants:
            await draw_share(self._options, self._paths, participant.index, arithmetic)
            node = DemoNode(participant, self._on_event)
            self._nodes.append(node)
            await node.start()
            self._spawn(self._watch(node))
        count = len(self._nodes)
        self._reporter.step(f"{count} nodes are running after {self._elapsed():.0f} s")

    async def _watch(self, node: DemoNode) -> None:
        code = await node.follow()
        if not self._leaving:
            self._lost[node.peer_id] = code
            left = len(self._alive())
            self._reporter.step(
                f"{node.name} ended unexpectedly ({_how(code)}); {left} nodes are left"
            )
        self._changed.set()

    def _on_event(self, node: DemoNode, event: dict[str, Any]) -> None:
        self._reporter.event(event)
        for text in self._progress.take(node.peer_id, event, self._elapsed()):
            self._reporter.step(text)
        if text := self._progress.meanwhile():
            self._reporter.meanwhile(text)
        self._changed.set()

    async def _until_rounds_done(self, founded: Founded) -> None:
        """Until every living node has the last commit and the previews of it are drawn."""
        while not (self._alive() and all(map(self._committed, self._alive()))):
            await self._require_quorum()
            await self._change()
        artist = self._nodes[0]
        wanted = founded.room.task.preview.count
        try:
            async with asyncio.timeout(DEMO_LAST_PREVIEWS_S):
                while artist in self._alive() and self._drawn() < wanted:
                    await self._change()
        except TimeoutError:
            self._reporter.step("the last previews did not come; going on without them")

    async def _require_meeting(self) -> None:
        """Raises :class:`NetworkError` when the nodes stay strangers."""
        await asyncio.sleep(DEMO_MEET_S)
        if self._progress.strangers:
            raise NetworkError(
                "the nodes do not find each other",
                f"none has heard of another by mDNS in {DEMO_MEET_S:.0f} s",
                "check that the loopback interface is up (`ip link show lo`) and that no firewall "
                "blocks UDP port 5353 on it",
            )

    async def _require_quorum(self) -> None:
        """Raises :class:`FedtuiError` when the nodes that are left can commit nothing more.

        Who votes in the open round is the room's decision, so a node is asked.
        """
        if not self._lost:
            return
        alive = self._alive()
        voting, needed = 0, 1
        if alive:
            try:
                view = await alive[0].view()
            except NoNode:
                return  # it ended this very moment, which is the next change
            voting = len({node.peer_id for node in alive} & set(view.round.voters))
            needed = view.round.quorum
        if voting < needed:
            raise FedtuiError(
                "too few nodes are left to agree on a round",
                f"{voting} of those that vote still live, {needed} are needed",
                f"their logs are below {self._paths.root}",
            )

    async def _change(self) -> None:
        """Waits for something that happened since the last call, which may be before this one."""
        await self._changed.wait()
        self._changed.clear()
        if self._failure is not None:
            raise self._failure

    def _alive(self) -> list[DemoNode]:
        return [node for node in self._nodes if node.peer_id not in self._lost]

    def _committed(self, node: DemoNode) -> bool:
        applied = self._progress.adapters[node.peer_id]
        return max(applied, default=0) >= self._options.rounds

    def _drawn(self) -> int:
        return sum(number == self._options.rounds for number, _, _ in self._progress.previews)

    async def _heads(self) -> dict[str, str]:
        """Where every node stands, once its view has caught up with its events."""
        heads = {}
        for node in self._alive():
            with suppress(NoNode, TimeoutError):  # it ended this very moment, or lags behind
                async with asyncio.timeout(DEMO_VIEW_S):
                    view = await node.view()
                    heads[node.name] = view.head
                    while not view.commits or view.commits[-1].round < self._options.rounds:
                        await asyncio.sleep(VIEW_INTERVAL_S)
                        view = await node.view()
                        heads[node.name] = view.head
        return heads

    async def _stop_nodes(self) -> None:
        self._leaving = True
        await asyncio.gather(*(node.stop() for node in self._nodes))

    async def _sample(self) -> None:
        """Keeps the highest memory of this process and everything below it."""
        while True:
            used = await asyncio.to_thread(memory_of, [os.getpid()])
            self._peak_memory = max(self._peak_memory, used)
            await asyncio.sleep(DEMO_SAMPLE_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Owns a task; its failure is the demo's."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failure = error
                self._changed.set()

        task.add_done_callback(ended)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _finished(self, heads: dict[str, str], results: Results) -> dict[str, Any]:
        last = self._options.rounds
        adapters = {self._progress.adapters[node.peer_id].get(last) for node in self._alive()}
        agreed = len(set(heads.values())) == 1 and adapters == {results.adapter_sha256}
        return {
            "ts": round(time.time(), 3),
            "node": "",
            "type": "demo.finished",
            "ok": agreed,
            "rounds": last,
            "nodes": len(self._nodes),
            "lost": sorted(self._progress.names[peer] for peer in self._lost),
            "adapter": str(results.adapter),
            "adapter_sha256": results.adapter_sha256,
            "sheet": str(results.sheet) if results.sheet else None,
            "heads": heads,
            "seconds": round(self._elapsed(), 1),
            "peak_memory_bytes": self._peak_memory,
            "seconds_to_first_preview": _rounded(self._progress.first_preview_s),
            "seconds_after_last_contribution": [
                round(seconds, 2) for seconds in self._progress.after_last_contribution
            ],
            "evaluation": results.evaluation,
        }


def _tell(finished: dict[str, Any], paths: DemoPaths, reporter: Reporter) -> None:
    """The results in words."""
    if not finished["ok"]:
        reporter.step(f"the nodes do NOT agree: {finished['heads']}")
    evaluation = finished["evaluation"]
    reporter.step(
        f"{finished['rounds']} round{'s' if finished['rounds'] > 1 else ''} "
        f"in {finished['seconds']:.0f} s, "
        f"{finished['peak_memory_bytes'] / (1 << 30):.1f} GiB at most"
    )
    if evaluation:
        reporter.step(
            f"denoising loss on {evaluation['pictures']} held-out pictures "
            f"({evaluation['draws']} draws each): base {evaluation['base']:.4f}, "
            f"room {evaluation['room']:.4f}"
        )
        for name, loss in evaluation.get("alone", {}).items():
            reporter.step(f"  {name} alone {loss:.4f}")
    if finished["sheet"]:
        reporter.step(f"pictures  {finished['sheet']}")
    reporter.step(f"adapter   {finished['adapter']}")
    reporter.step(f"everything else lies in {paths.root}")


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
