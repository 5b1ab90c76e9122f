"""Metrics of a node, read as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import pytest
from member_rig import held_port
from prometheus_client.parser import text_string_to_metric_families

from fedtui.errors import NetworkError
from fedtui.metrics import MetricsServer
from fedtui.view import CommitView, NodeView, PeerView, RoundView

VIEW = NodeView(
    id="a" * 52,
    name="Ada",
    room_name="secret plans",
    version="0.1.0",
    model="tiny-landscapes",
    round=RoundView(number=3, rounds=5, phase="TRAIN", quorum=2, voters=("a", "b", "c")),
    peers=(
        PeerView("a" * 52, "Ada", me=True, state="TRAIN", step=7, steps=40, images_per_s=12.5),
        PeerView("b" * 52, "Bob <evil>", state="LOST"),
    ),
    commits=(CommitView(1, "v", "c", "r", 0, "a"), CommitView(2, "v", "c", "r", 0, "a")),
)


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as port:
        yield port


async def read(port: int, host: str = "") -> tuple[int, str]:
    headers = {"Host": host} if host else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_a_scrape_parses_and_says_what_the_view_says(port: int) -> None:
    server = MetricsServer(lambda: VIEW, port)
    await server.start()
    try:
        status, text = await read(port)
    finally:
        await server.stop()
    assert status == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["fedtui_round",] == 3
    assert samples["fedtui_phase", "train"] == 1
    assert samples["fedtui_phase", "paused"] == 0
    assert samples["fedtui_members", "lost"] == 1
    assert samples["fedtui_commits",] == 2
    assert samples["fedtui_training_images_per_second",] == 12.5
    assert "process_resident_memory_bytes" in text


async def test_nobody_is_named(port: int) -> None:
    server = MetricsServer(lambda: VIEW, port)
    await server.start()
    try:
        _, text = await read(port)
    finally:
        await server.stop()
    for word in ("Ada", "Bob", "evil", "secret", "aaaa"):
        assert word not in text


async def test_a_page_from_elsewhere_gets_nothing(port: int) -> None:
    server = MetricsServer(lambda: VIEW, port)
    await server.start()
    try:
        assert (await read(port, "evil.example:80"))[0] == 403
        assert (await read(port, f"localhost:{port}"))[0] == 200
    finally:
        await server.stop()


async def test_a_taken_port_is_an_error_with_a_remedy(port: int) -> None:
    first, second = MetricsServer(lambda: VIEW, port), MetricsServer(lambda: VIEW, port)
    await first.start()
    try:
        with pytest.raises(NetworkError, match="cannot serve metrics"):
            await second.start()
    finally:
        await first.stop()
