"""Figures of a node for Prometheus: what its view says, as gauges, and what its process uses.

Served on loopback only, and only when ``metrics_port`` is set: they name no member, no file and no
room beyond its tag, but they do say when somebody trains.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from fedtui.control.address import LOOPBACK
from fedtui.errors import NetworkError
from fedtui.view import NodeView, PeerState, Phase

HOSTS = (LOOPBACK, "localhost")
"""A page in a browser that had its name resolved to this machine still sends that name."""


class NodeMetrics(Collector):
    """Reads a view whenever it is asked."""

    def __init__(self, view: Callable[[], NodeView]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view()
        yield InfoMetricFamily(
            "fedtui",
            "This node.",
            value={"version": view.version, "model": view.model, "algorithm": view.algorithm},
        )
        yield _gauge("fedtui_uptime_seconds", "Since the node started.", view.uptime_s)
        yield _gauge("fedtui_round", "The round being worked on.", view.round.number)
        yield _gauge("fedtui_rounds_planned", "Rounds in the plan.", view.round.rounds)
        yield _gauge("fedtui_round_attempt", "Attempt of the round.", view.round.attempt)
        yield _gauge("fedtui_round_elapsed_seconds", "Of the round.", view.round.elapsed_s)
        yield _gauge("fedtui_contributions", "To the round, so far.", view.round.contributions)
        yield _gauge("fedtui_contributions_expected", "To the round.", view.round.expected)
        yield _gauge("fedtui_voters", "Whose votes count.", len(view.round.voters))
        yield _gauge("fedtui_quorum", "Votes that commit a round.", view.round.quorum)
        yield _gauge("fedtui_commits", "Committed rounds.", len(view.commits))
        yield _gauge(
            "fedtui_skipped_rounds",
            "Committed without contributions.",
            sum(commit.skipped for commit in view.commits),
        )
        yield self._phases(view)
        yield self._peers(view)
        mine = next((peer for peer in view.peers if peer.me), None)
        if mine is not None:
            yield _gauge("fedtui_training_step", "Of this node's training.", mine.step)
            yield _gauge("fedtui_training_steps", "Of this node's training.", mine.steps)
            if mine.images_per_s is not None:
                yield _gauge("fedtui_training_images_per_second", "Now.", mine.images_per_s)
        if view.losses:
            yield _gauge("fedtui_training_loss", "The last mean.", view.losses[-1].loss)

    def _phases(self, view: NodeView) -> Metric:
        family = GaugeMetricFamily("fedtui_phase", "1 for the phase of now.", labels=["phase"])
        for phase in get_args(Phase):
            family.add_metric([phase.lower()], float(view.round.phase == phase))
        return family

    def _peers(self, view: NodeView) -> Metric:
        family = GaugeMetricFamily("fedtui_members", "Members by state.", labels=["state"])
        counts = Counter(peer.state for peer in view.peers)
        for state in get_args(PeerState):
            family.add_metric([state.lower()], float(counts[state]))
        return family


class MetricsServer:
    """Answers ``GET /metrics`` on loopback from :meth:`start` to :meth:`stop`."""

    def __init__(self, view: Callable[[], NodeView], port: int) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(NodeMetrics(view))
        ProcessCollector(registry=self._registry)
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises :class:`NetworkError` when the port is taken."""
        application = web.Application(client_max_size=0)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, self._port, backlog=8).start()
        except OSError as error:
            await self.stop()
            raise NetworkError(
                f"cannot serve metrics on {LOOPBACK}:{self._port}",
                error.strerror or str(error),
                "set `metrics_port` to another number, or to 0 for none",
            ) from error

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        if request.host.rpartition(":")[0] not in HOSTS:
            raise web.HTTPForbidden(text="metrics are for this machine\n")
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
