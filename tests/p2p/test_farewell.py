"""Telling removed machines of it, whatever strangers say on the network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from member_rig import eventually

from p2p import clock, farewell
from p2p.errors import NetworkError
from p2p.farewell import Farewells
from p2p.limits import FAREWELL_HINT_PAUSE, FAREWELL_RETRY_MIN

EVE, MALLORY = "eve", "mallory"


class Calls:
    """A client whom nobody answers."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def tell_former(self, peer_id: str, certificate: bytes, data: bytes) -> None:
        self.made.append(peer_id)
        raise NetworkError("nobody answers")


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def farewells(calls: Calls) -> AsyncIterator[Farewells]:
    def notice(peer: str) -> bytes:
        if peer == EVE:
            raise AssertionError("nothing is known of its removal")
        return b"removed"

    made = Farewells(calls, notice)
    await made.start()
    yield made
    await made.stop()


async def test_what_cannot_be_said_to_one_is_said_to_the_others(
    farewells: Farewells, calls: Calls
) -> None:
    farewells.set_removed({EVE: b""})
    await eventually(lambda: EVE in farewells._tried)
    farewells.set_removed({EVE: b"", MALLORY: b""})
    await eventually(lambda: MALLORY in calls.made)


async def test_who_has_only_taken_its_notice_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(farewell, "FAREWELL_RETRY_MIN", 0.01)
    told: list[str] = []
    seen: set[str] = set()

    class Answered(Calls):
        async def tell_former(self, peer_id: str, certificate: bytes, data: bytes) -> None:
            told.append(peer_id)

    made = Farewells(
        Answered(), lambda peer: [b"news"], lambda peer: peer in seen if peer == EVE else None
    )
    await made.start()
    try:
        made.set_removed({EVE: b"", MALLORY: b""})
        await eventually(lambda: told.count(EVE) == 3)
        seen.add(EVE)
        await eventually(lambda: not made._due)
        assert told.count(MALLORY) == 1
    finally:
        await made.stop()


async def test_hints_bring_no_more_than_one_call_in_a_while(
    farewells: Farewells, calls: Calls
) -> None:
    farewells.set_removed({MALLORY: b""})
    await eventually(lambda: calls.made == [MALLORY])
    tried = farewells._tried[MALLORY]
    for _ in range(100):
        assert farewells.on_hint(MALLORY)
    at, pause = farewells._due[MALLORY]
    assert at == tried + FAREWELL_RETRY_MIN, "a hint delays nothing"
    assert pause == 2 * FAREWELL_RETRY_MIN, "and begins nothing anew"


async def test_a_hint_after_a_long_pause_brings_a_call_soon(
    farewells: Farewells, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "FAREWELL_RETRY_MIN", 10 * FAREWELL_HINT_PAUSE)
    farewells.set_removed({MALLORY: b""})
    await eventually(lambda: calls.made == [MALLORY])
    tried = farewells._tried[MALLORY]
    farewells.on_hint(MALLORY)
    assert farewells._due[MALLORY][0] == tried + FAREWELL_HINT_PAUSE
    monkeypatch.setattr(clock, "now", lambda: tried + 2 * FAREWELL_HINT_PAUSE)
    farewells.on_hint(MALLORY)
    await eventually(lambda: calls.made == [MALLORY, MALLORY])
