"""The control API's description against the API itself: what it says works, nothing else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedtui.control.openapi import describe
from fedtui.control.operations import Operations
from fedtui.control.server import ControlServer
from fedtui.events import Event
from fedtui.view import NodeView


@dataclass(frozen=True)
class Scale:
    """Multiplies a number."""

    number: float
    times: int = 2


class StandIn:
    """A node as the control server sees it."""

    def __init__(self) -> None:
        self.operations = Operations()
        self.operations.add("scale", Scale, self._scale)

    async def _scale(self, asked: Scale) -> dict[str, Any]:
        return {"result": str(asked.number * asked.times)}

    def view(self) -> NodeView:
        return NodeView(id="me", name="Ada")

    def past_events(self, since: int) -> list[Event]:
        return []

    async def follow_events(self, since: int) -> AsyncIterator[Event]:
        if since < 0:
            yield Event(1, "", "", {})  # an async generator needs a yield

    def request_stop(self) -> None:
        pass


async def send(path: Path, requests: list[tuple[str, str, bytes]]) -> list[tuple[int, Any]]:
    server = ControlServer(StandIn(), path)
    await server.start()
    answers = []
    try:
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            for method, route, body in requests:
                async with session.request(method, f"http://node{route}", data=body) as answer:
                    text = await answer.text()
                    kind = answer.content_type
                    answers.append(
                        (answer.status, json.loads(text) if kind == "application/json" else text)
                    )
    finally:
        await server.stop()
    return answers


async def test_the_description_is_served_and_every_reading_route_answers(tmp_path: Path) -> None:
    [(status, api)] = await send(tmp_path / "s", [("GET", "/v1/openapi.json", b"")])
    assert status == 200
    assert api["openapi"] == "3.1.0"
    reading = [route for route, methods in api["paths"].items() if "get" in methods]
    answers = await send(tmp_path / "s", [("GET", route, b"") for route in reading])
    assert [status for status, _ in answers] == [200] * len(reading)


def test_every_reference_leads_somewhere() -> None:
    api = describe(StandIn().operations)
    text = json.dumps(api)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in api["components"]["schemas"], name


async def test_an_operation_takes_what_its_schema_says(tmp_path: Path) -> None:
    api = describe(StandIn().operations)
    schema = api["components"]["schemas"]["Scale"]
    assert schema["required"] == ["number"]
    assert schema["properties"]["times"]["default"] == 2
    assert api["paths"]["/v1/do/scale"]["post"]["summary"] == "Multiplies a number."
    answers = await send(
        tmp_path / "s",
        [
            ("POST", "/v1/do/scale", b'{"number": 3}'),
            ("POST", "/v1/do/scale", b'{"number": 3, "tiems": 2}'),
            ("POST", "/v1/do/scale", b'{"number": "three"}'),
            ("POST", "/v1/do/scale", b"[1]"),
            ("POST", "/v1/do/scale", b"{"),
            ("POST", "/v1/do/sclae", b"{}"),
        ],
    )
    assert [status for status, _ in answers] == [200, 422, 422, 400, 400, 422]
    assert all("error" in answer for _, answer in answers[1:])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
bodies = st.binary(max_size=64) | json_values.map(lambda value: json.dumps(value).encode())


@given(bodies)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_body_makes_the_node_fail(tmp_path: Path, body: bytes) -> None:
    [(status, _)] = asyncio.run(send(tmp_path / "s", [("POST", "/v1/do/scale", body)]))
    assert status in (200, 400, 422)


@pytest.mark.parametrize("since", ["", "x", "-1", "9" * 30])
async def test_odd_event_numbers(tmp_path: Path, since: str) -> None:
    [(status, _)] = await send(tmp_path / "s", [("GET", f"/v1/events?since={since}", b"")])
    assert status in (200, 400)
