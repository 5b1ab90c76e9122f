"""Faults add up, fade, and end in a time-out that touches nothing but the member itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from member_rig import Member, RawConnection, Room, request

from p2p.limits import GOSSIP_BURST, GRAYLIST_PENALTY, GRAYLIST_SECONDS, SCORE_HALF_LIFE
from p2p.scores import Scores


@dataclass
class Watched:
    now: float = 0.0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scores = Scores(self.told.append, clock=lambda: self.now)


def test_invalid_messages_count_squared() -> None:
    w = Watched()
    for count in range(1, 10):
        w.scores.invalid("eve")
        assert w.scores.penalty("eve") == count**2
    assert not w.scores.is_graylisted("eve")
    w.scores.invalid("eve")
    assert w.scores.is_graylisted("eve")
    assert w.told == ["eve"]
    assert w.scores.penalty("ada") == 0.0
    assert not w.scores.is_graylisted("ada")


def test_faults_fade() -> None:
    w = Watched()
    for _ in range(8):
        w.scores.invalid("eve")
    w.now += SCORE_HALF_LIFE
    assert w.scores.penalty("eve") == pytest.approx(16.0)
    for _ in range(100):
        w.now += SCORE_HALF_LIFE
        w.scores.invalid("eve")
    assert w.scores.penalty("eve") < 5.0, "one fault a minute is no attack"
    assert w.told == []


def test_floods_have_an_allowance() -> None:
    w = Watched()
    for _ in range(100):
        w.scores.flood("eve")
    assert w.scores.penalty("eve") == 0.0
    for _ in range(100):
        w.scores.flood("eve")
    assert w.scores.is_graylisted("eve")


def test_a_time_out_ends_and_may_come_again() -> None:
    w = Watched()
    for _ in range(30):
        w.scores.invalid("eve")
    assert w.told == ["eve"], "it is told once"
    w.now += GRAYLIST_SECONDS
    assert not w.scores.is_graylisted("eve")
    assert w.scores.penalty("eve") < GRAYLIST_PENALTY
    for _ in range(10):
        w.scores.invalid("eve")
    assert w.told == ["eve", "eve"]


def test_former_members_are_forgotten() -> None:
    w = Watched()
    for _ in range(10):
        w.scores.invalid("eve")
    w.scores.keep_only({"ada"})
    assert not w.scores.is_graylisted("eve")


async def statuses(of: Member, to: Member, path: str, body: bytes, count: int) -> list[int]:
    answers = []
    for _ in range(count):
        raw = await RawConnection.open(to.address, of.tls.client_context(to.id))
        answers.append(await raw.ask(request("POST", path, body)))
        await raw.close()
    return answers


async def test_a_member_that_sends_nonsense_is_not_listened_to(room: Room) -> None:
    ada, bob, mallory = [await room.add() for _ in range(3)]
    answers = await statuses(mallory, ada, "/v1/messages", b"refuse", 14)
    assert answers == [400] * 10 + [403] * 4
    taken = len(ada.handler.messages)
    assert await statuses(mallory, ada, "/v1/messages", b"fine", 2) == [403, 403]
    assert len(ada.handler.messages) == taken
    assert await statuses(bob, ada, "/v1/messages", b"fine", 1) == [204], "others are heard"
    probes = await statuses(mallory, ada, "/v1/hello", b"x", 6)
    assert probes[0] == 200, "that it is there stays known"
    assert 429 in probes, "but not at any rate"
    assert await ada.client.hello(mallory.id, b"x") == b"answer to x"


async def test_gossip_has_a_budget_of_its_own(room: Room) -> None:
    ada, bob, mallory = [await room.add() for _ in range(3)]
    raw = await RawConnection.open(ada.address, mallory.tls.client_context(ada.id))
    for _ in range(GOSSIP_BURST + 20):
        await raw.send(request("POST", "/v1/hello", b"x"))
    await raw.send(request("POST", "/v1/messages", b"m", Connection="close"))
    answers = await raw.read_all()
    await raw.close()
    refused = answers.count(b"HTTP/1.1 429")
    assert 10 <= refused <= 20
    assert b"HTTP/1.1 204" in answers, "messages are counted apart"
    assert await ada.client.hello(bob.id, b"x") == b"answer to x"
