"""The control API of a real node against its own description: schemathesis makes up requests, good
and bad ones, for everything that is described."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from joining_rig import Home
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from fedtui.paths import Profile

ENDING = {"/v1/stop", "/v1/do/leave", "/v1/do/recover"}
"""After these there is nobody to ask, or another room: other tests have them."""
DRAWING = {"/v1/do/generate"}
"""Starts torch, for minutes: only what must be refused is asked."""
EXAMPLES = 15
"""Of each operation and kind."""
PATIENCE = 60.0
"""Seconds until an answer."""
TORN = "something went wrong that should not"


class UnixAdapter(HTTPAdapter):
    """Has requests speak over a Unix socket, whatever host the address names."""

    def __init__(self, path: Path) -> None:
        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                made = socket.socket(socket.AF_UNIX)
                made.settimeout(PATIENCE)
                made.connect(str(path))
                return made

        self._pool = HTTPConnectionPool("node")
        self._pool.ConnectionCls = Connection
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "ada")
    home.run("room", "create", "Attic", "--as", "Ada", "--start-on-request")
    home.serve()
    yield home
    home.stop()


@pytest.fixture
def session(node: Home) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", UnixAdapter(Profile(node.root).control))
        yield session


@pytest.mark.slow
def test_every_operation_answers_as_described_whatever_it_is_asked(
    node: Home, session: requests.Session
) -> None:
    described = session.get("http://node/v1/openapi.json").json()
    asked = set()
    for found in schemathesis.openapi.from_dict(described).get_all_operations():
        operation = found.ok()
        if operation.path in ENDING:
            continue
        for mode in GenerationMode:
            positive = mode is GenerationMode.POSITIVE
            takes_something = bool(list(operation.body) or list(operation.query))
            if operation.path in DRAWING if positive else not takes_something:
                continue

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def ask(case: schemathesis.Case) -> None:
                if case.path == "/v1/events" and case.query:
                    case.query.pop("follow", None)  # Its answer has no end.
                answer = case.call_and_validate(
                    base_url="http://node",
                    session=session,
                    timeout=PATIENCE,
                    # What fits its schema may still name nobody: that is refused, as described.
                    excluded_checks=[positive_data_acceptance],
                )
                assert answer.status_code < 500
                assert TORN not in answer.text, case.as_curl_command()

            ask()
            asked.add((operation.path, mode))
    assert len(asked) > 60
    assert node.view() is not None
    assert "Traceback" not in node.log
