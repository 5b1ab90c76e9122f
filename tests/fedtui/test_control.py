"""The control API over a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from fedtui.control import address
from fedtui.control.client import ControlClient, NoNode
from fedtui.control.late import LateClient
from fedtui.control.operations import Operations
from fedtui.control.server import ControlServer
from fedtui.errors import ExitCode, FedtuiError, TrustError
from fedtui.events import Event, EventStream
from fedtui.limits import CONTROL_CONNECTIONS
from fedtui.view import NodeView, PeerView, RoundView


@dataclass(frozen=True)
class Sum:
    """Arguments of the stand-in's operation."""

    numbers: tuple[int, ...]
    scale: float = 1.0


class StandIn:
    """A node as the control server sees it."""

    def __init__(self) -> None:
        self.operations = Operations()
        self.operations.add("sum", Sum, self._sum)
        self.stream = EventStream("me")
        self.stopped = asyncio.Event()

    async def _sum(self, asked: Sum) -> dict[str, float]:
        if not asked.numbers:
            raise TrustError("nothing to add", "no numbers", "give some")
        if asked.scale == 0:
            raise ZeroDivisionError("scale")
        return {"sum": sum(asked.numbers) / asked.scale}

    def view(self) -> NodeView:
        return NodeView(
            id="me",
            name="Ada",
            round=RoundView(number=2, order=("a", "b")),
            peers=(PeerView("a", "Ada", me=True, loss=0.5),),
        )

    def past_events(self, since: int) -> list[Event]:
        return self.stream.since(since)

    def follow_events(self, since: int) -> AsyncIterator[Event]:
        return self.stream.follow(since)

    def request_stop(self) -> None:
        self.stopped.set()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
async def node() -> StandIn:
    return StandIn()


@pytest.fixture
async def place(node: StandIn, tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(node, tmp_path / "control.sock")
    await server.start()
    yield tmp_path / "control.sock"
    node.stream.close()
    await server.stop()


async def test_a_view_arrives_as_it_was(node: StandIn, place: Path) -> None:
    async with ControlClient(place) as client:
        assert await client.view() == node.view()


async def test_a_node_is_asked_through_a_forwarded_socket(
    node: StandIn, place: Path, tmp_path: Path
) -> None:
    """As ssh -L forwards one: its far end is opened by a process of the node's own user."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(str(place))
        await asyncio.gather(
            carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True
        )

    near = tmp_path / "near.sock"
    forwarding = await asyncio.start_unix_server(forward, str(near))
    async with ControlClient(near) as client:
        assert await client.view() == node.view()
        assert (await client.do("sum", numbers=[1, 2], scale=1))["sum"] == 3
    forwarding.close()


async def test_only_the_owner_may_open_the_socket(place: Path) -> None:
    assert mode(place) == 0o600


async def test_past_events_are_numbered_and_can_be_skipped(node: StandIn, place: Path) -> None:
    for number in range(5):
        node.stream.emit("round.started", round=number)
    async with ControlClient(place) as client:
        rounds = [event["round"] async for event in client.events(since=3)]
    assert rounds == [3, 4]


async def test_a_follower_gets_new_events_until_the_node_ends(node: StandIn, place: Path) -> None:
    node.stream.emit("node.ready")
    seen: list[str] = []
    async with ControlClient(place) as client:
        async for event in client.events(follow=True):
            seen.append(event["type"])
            if len(seen) == 1:
                node.stream.emit("room.joined")
            else:
                node.stream.close()
    assert seen == ["node.ready", "room.joined"]


async def test_stop_is_answered_before_it_happens(node: StandIn, place: Path) -> None:
    async with ControlClient(place) as client:
        await client.stop()
    await asyncio.wait_for(node.stopped.wait(), 10)


async def test_without_a_node_the_client_says_so(tmp_path: Path) -> None:
    async with ControlClient(tmp_path / "nothing.sock") as client:
        with pytest.raises(NoNode) as caught:
            await client.view()
    assert caught.value.code == 3


async def test_a_socket_left_by_a_dead_node_is_no_node_and_no_obstacle(
    node: StandIn, tmp_path: Path
) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with ControlClient(path) as client:
        with pytest.raises(NoNode):
            await client.view()
    server = ControlServer(node, path)
    await server.start()
    async with ControlClient(path) as client:
        assert (await client.view()).name == "Ada"
    await server.stop()
    assert not path.exists()


async def test_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "peer_uid", lambda _: os.getuid() + 1)
    async with ControlClient(place) as client:
        with pytest.raises(FedtuiError, match="refused") as caught:
            await client.view()
    assert "403" in caught.value.cause


async def test_too_many_followers_are_turned_away(node: StandIn, place: Path) -> None:
    node.stream.emit("node.ready")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place), limit=0)) as http:
        held = []
        for _ in range(CONTROL_CONNECTIONS):
            response = await http.get("http://node/v1/events?follow=1")
            await response.content.readline()
            held.append(response)
        refused = await http.get("http://node/v1/view")
        assert refused.status == 503
        for response in held:
            response.close()


@pytest.fixture
async def loopback(
    node: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Path]:
    monkeypatch.setattr(address, "HAS_UNIX_SOCKETS", False)
    server = ControlServer(node, tmp_path / "control.sock")
    await server.start()
    yield tmp_path / "control.sock"
    await server.stop()


async def test_without_unix_sockets_a_token_in_a_private_file_is_needed(loopback: Path) -> None:
    assert mode(loopback) == 0o600
    place = address.read_loopback(loopback)
    async with ControlClient(loopback) as client:
        assert (await client.view()).name == "Ada"
    wrong = {"Authorization": "Bearer wrong"}
    right = {"Authorization": f"Bearer {place.token}"}
    async with aiohttp.ClientSession() as http:
        for headers in ({}, wrong, {**right, "Host": "evil.example"}):
            response = await http.get(f"http://{place.host}/v1/view", headers=headers)
            assert response.status == 403


async def test_a_slow_follower_loses_old_events_instead_of_filling_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtui.events.EVENT_QUEUE", 3)
    stream = EventStream("me")
    follower = stream.follow()
    stream.emit("node.ready")
    assert (await anext(follower))["seq"] == 1
    for number in range(10):
        stream.emit("round.started", round=number)
    assert [(await anext(follower))["round"] for _ in range(3)] == [7, 8, 9]
    await follower.aclose()  # type: ignore[attr-defined]


def test_events_are_written_to_a_file_that_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtui.events.EVENTS_FILE_BYTES", 2_000)
    stream = EventStream("me", tmp_path / "events.jsonl")
    for number in range(100):
        stream.emit("round.started", round=number)
    stream.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["events.jsonl", "events.jsonl.1", "events.jsonl.2", "events.jsonl.3"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())


async def test_an_operation_gets_its_arguments_and_answers(place: Path) -> None:
    async with ControlClient(place) as client:
        assert await client.do("sum", numbers=[1, 2, 3]) == {"sum": 6.0}


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        ({"numbers": ["a"]}, "sum: numbers.0 is wrong"),
        ({"numbers": [1], "scael": 2}, "sum takes no 'scael'"),
        ({}, "sum: numbers is wrong"),
    ],
)
async def test_wrong_arguments_are_named(
    place: Path, arguments: dict[str, object], title: str
) -> None:
    async with ControlClient(place) as client:
        with pytest.raises(FedtuiError) as caught:
            await client.do("sum", **arguments)
    assert caught.value.title == title
    assert caught.value.code == ExitCode.USAGE


async def test_an_operation_that_fails_tells_the_caller_why(place: Path) -> None:
    async with ControlClient(place) as client:
        with pytest.raises(FedtuiError) as caught:
            await client.do("sum", numbers=[])
        assert (caught.value.title, caught.value.cause) == ("nothing to add", "no numbers")
        assert (caught.value.remedy, caught.value.code) == ("give some", ExitCode.TRUST)
        with pytest.raises(FedtuiError, match="should not"):
            await client.do("sum", numbers=[1], scale=0)
        with pytest.raises(FedtuiError, match="cannot 'fly'"):
            await client.do("fly")


async def test_the_late_client_is_the_client_and_imports_it_when_asked(
    node: StandIn, place: Path
) -> None:
    client = LateClient(place)
    assert await client.view() == node.view()
    assert await client.do("sum", within_s=5.0, numbers=[1, 2]) == {"sum": 3.0}
    await client.stop()
    await asyncio.wait_for(node.stopped.wait(), 5)
    await client.close()


async def test_somebody_listens_or_not(place: Path, tmp_path: Path) -> None:
    assert await asyncio.to_thread(address.listens, place)
    assert not address.listens(tmp_path / "other.sock")
    (tmp_path / "left.sock").touch()
    assert not address.listens(tmp_path / "left.sock")
