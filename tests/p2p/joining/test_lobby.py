"""Joining through a real lobby: every way in, and every way to be refused in words."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from lobby_rig import QUICK, Open, genesis_of, joiner, open_lobby, relay
from member_rig import LOOPBACK, eventually, identity

from p2p.addresses import Address
from p2p.discovery import Discovery
from p2p.errors import NetworkError
from p2p.joining import joiner as joiner_module
from p2p.joining.code import SpokenCode
from p2p.joining.handshake import Proofs, inviter_side, joiner_side
from p2p.joining.joiner import Step
from p2p.joining.reach import explain
from p2p.joining.refusals import InviteRefused, NotNow, Unreachable
from p2p.limits import CODE_GUESSES


@pytest.fixture
async def open_(tmp_path: Path) -> AsyncIterator[Open]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


async def refusal(work: object) -> str:
    with pytest.raises((InviteRefused, NotNow)) as caught:
        await work
    assert caught.value.cause
    assert caught.value.remedy
    return caught.value.reason


async def code_of(open_: Open, **choices: object) -> SpokenCode:
    given = {"lifetime": 600.0, **choices}
    code = (await open_.opened(open_.book.create_code(**given))).code
    assert code is not None
    return code


def wrong(code: SpokenCode) -> SpokenCode:
    other = "zoo" if code.words[0] != "zoo" else "abandon"
    return replace(code, words=(other, *code.words[1:]))


# --- getting in -------------------------------------------------------------------------------
async def test_a_link_lets_a_machine_in_and_both_see_the_same_words(open_: Open) -> None:
    steps: list[Step] = []
    joined = await joiner(2, on_step=lambda step, _: steps.append(step)).by_link(await open_.link())
    assert joined.genesis == open_.room.genesis
    assert joined.inviter == open_.inviter.peer_id
    assert joined.addresses == {open_.inviter.peer_id: (Address(LOOPBACK, 4711),)}
    assert joined.words == open_.room.asked[0].words
    assert len(joined.words) == 6
    assert steps == ["looking", "connected", "proved"]
    member = open_.room.members[identity(2).peer_id]
    assert (member.name, member.role) == ("Grace", "participant")


async def test_a_code_lets_a_machine_in(open_: Open) -> None:
    joined = await joiner(2).by_code(await code_of(open_), addresses=[open_.address])
    assert joined.room == open_.room.genesis.id
    assert joined.words == open_.room.asked[0].words
    assert open_.book.invites()[0].guesses == 0


async def test_auto_approve_asks_nobody(open_: Open) -> None:
    await joiner(2).by_link(await open_.link(auto_approve=True))
    assert open_.room.asked == []
    assert identity(2).peer_id in open_.room.members


async def test_a_person_is_waited_for_and_the_newcomer_is_told(open_: Open) -> None:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    open_.room.answer = lambda _: answer
    steps: list[Step] = []
    joining = asyncio.create_task(
        joiner(2, on_step=lambda step, _: steps.append(step)).by_link(await open_.link())
    )
    await eventually(lambda: "waiting" in steps)
    assert not open_.room.members
    answer.set_result(True)
    await joining
    assert identity(2).peer_id in open_.room.members


async def test_the_invite_decides_the_role_but_anybody_may_only_watch(open_: Open) -> None:
    link = await open_.link(uses=3)
    await joiner(2, role="admin").by_link(link)
    await joiner(3, role="observer").by_link(link)
    roles = [open_.room.members[identity(n).peer_id].role for n in (2, 3)]
    assert roles == ["participant", "observer"]


async def test_a_name_is_harmless_before_anybody_is_asked(open_: Open) -> None:
    await joiner(2, "\u202e[@click=app.x]\x1b]0;\x07 Eve").by_link(await open_.link())
    assert open_.room.asked[0].member.name == "[@click=app.x]]0; Eve"


async def test_who_missed_the_answer_may_ask_again_and_costs_no_second_use(open_: Open) -> None:
    link = await open_.link(uses=1)
    await joiner(2).by_link(link)
    again = await joiner(2).by_link(link)
    assert again.room == open_.room.genesis.id
    assert open_.book.invites()[0].used == 1
    assert len(open_.room.asked) == 1
    assert await refusal(joiner(3).by_link(link)) == "used_up"


async def test_thirty_come_in_at_once(open_: Open) -> None:
    link = await open_.link(uses=30, auto_approve=True)
    await asyncio.gather(*(joiner(number).by_link(link) for number in range(2, 32)))
    assert len(open_.room.members) == 30
    assert await refusal(joiner(40).by_link(link)) == "used_up"


# --- refused ----------------------------------------------------------------------------------
async def test_no_means_no_and_costs_no_use(open_: Open) -> None:
    open_.room.answer = lambda _: False
    assert await refusal(joiner(2).by_link(await open_.link())) == "declined"
    assert not open_.room.members
    assert open_.book.invites()[0].used == 0


async def test_expired(open_: Open) -> None:
    link = await open_.link()
    await open_.link(lifetime=6000.0)
    open_.clock.now += 601
    with pytest.raises(InviteRefused) as caught:
        await joiner(2, wall_clock=time.time).by_link(link)
    assert caught.value.reason == "expired"
    assert "clock" not in caught.value.cause


@pytest.mark.parametrize("year_1971_or_2090", [3.2e7, 3.8e9])
async def test_a_wrong_clock_is_named_and_never_keeps_anybody_out(
    open_: Open, year_1971_or_2090: float
) -> None:
    late, good = await open_.link(), await open_.link(lifetime=6000.0)
    open_.clock.now += 601
    newcomer = joiner(2, wall_clock=lambda: year_1971_or_2090)
    with pytest.raises(InviteRefused, match="clocks of the two"):
        await newcomer.by_link(late)
    await newcomer.by_link(good)


async def test_withdrawn(open_: Open) -> None:
    link = await open_.link()
    await open_.link()
    open_.book.revoke(open_.book.invites()[0].id)
    assert await refusal(joiner(2).by_link(link)) == "revoked"


async def test_a_withdrawal_beats_a_person_who_still_thinks(open_: Open) -> None:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    open_.room.answer = lambda _: answer
    joining = asyncio.create_task(joiner(2).by_link(await open_.link()))
    await eventually(lambda: bool(open_.room.asked))
    open_.book.revoke(open_.book.invites()[0].id)
    answer.set_result(True)
    assert await refusal(joining) == "revoked"
    assert not open_.room.members


async def test_three_wrong_codes_burn_the_invite_even_for_the_right_one(open_: Open) -> None:
    code = await code_of(open_)
    await open_.link()
    for _ in range(CODE_GUESSES):
        work = joiner(2).by_code(wrong(code), addresses=[open_.address])
        assert await refusal(work) == "wrong_code"
    assert await refusal(joiner(2).by_code(code, addresses=[open_.address])) == "burnt"
    assert open_.book.invites()[0].state(open_.clock.now) == "burnt"
    assert open_.room.refusals == [(LOOPBACK, "wrong_code")] * CODE_GUESSES + [(LOOPBACK, "burnt")]


async def test_a_guess_is_spent_when_the_guesser_hangs_up_after_seeing_our_half(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He could compare our element offline with one guess, so it must have cost him one."""
    code = await code_of(open_)
    await open_.link()

    def hang_up(*_: object) -> Proofs:
        raise EOFError

    monkeypatch.setattr(joiner_module.Proofs, "of", hang_up)
    for _ in range(CODE_GUESSES):
        with pytest.raises(NetworkError):
            await joiner(2).by_code(code, addresses=[open_.address])
    monkeypatch.undo()
    assert await refusal(joiner(2).by_code(code, addresses=[open_.address])) == "burnt"


async def test_an_invite_of_another_room(open_: Open, tmp_path: Path) -> None:
    await open_.link()
    elsewhere = genesis_of(open_.inviter, nonce="1" * 32)
    link = replace(await open_.link(), room=elsewhere.id)
    assert await refusal(joiner(2).by_link(link)) == "other_room"


async def test_a_link_with_another_secret(open_: Open) -> None:
    link = replace(await open_.link(), secret=bytes(16))
    assert await refusal(joiner(2).by_link(link)) == "unknown"


async def test_a_link_with_another_key_never_says_a_word_to_the_wrong_machine(open_: Open) -> None:
    link = replace(await open_.link(), inviter=identity(9).peer_id)
    with pytest.raises(Unreachable) as caught:
        await joiner(2).by_link(link)
    assert caught.value.trouble == "wrong_machine"
    assert open_.book.invites()[0].used == 0


async def test_a_full_room(open_: Open) -> None:
    open_.room.size = 0
    assert await refusal(joiner(2).by_link(await open_.link())) == "room_full"


async def test_a_room_whose_past_is_too_long_to_tell_admits_nobody(open_: Open) -> None:
    open_.room.past_full = True
    assert await refusal(joiner(2).by_link(await open_.link(auto_approve=True))) == "past_full"
    assert open_.book.invites()[0].used == 0
    assert not open_.room.members


async def test_a_removed_key_never_comes_back(open_: Open) -> None:
    open_.room.removed.add(identity(2).peer_id)
    assert await refusal(joiner(2).by_link(await open_.link())) == "removed"


async def test_a_member_is_told_again_what_it_needs_and_costs_nothing(open_: Open) -> None:
    await joiner(2).by_link(await open_.link(auto_approve=True))
    again = await joiner(2).by_link(await open_.link())
    assert again.room == open_.room.genesis.id
    assert open_.book.invites()[1].used == 0
    assert open_.room.asked == []


async def test_a_version_too_old(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    newcomer = joiner(2)
    hello = newcomer._hello
    newer = {"oldest": 2, "newest": 3}
    monkeypatch.setattr(newcomer, "_hello", lambda **k: hello(**k).model_copy(update=newer))
    assert await refusal(newcomer.by_link(await open_.link())) == "version"


async def test_a_failed_admission_is_said_and_gives_the_use_back(open_: Open) -> None:
    open_.room.broken = True
    link = await open_.link()
    assert await refusal(joiner(2).by_link(link)) == "failed"
    open_.room.broken = False
    await joiner(2).by_link(link)


async def test_nobody_answers_the_question(tmp_path: Path) -> None:
    limits = replace(QUICK, approval=0.1)
    async with open_lobby(tmp_path, limits=limits) as open_:
        open_.room.answer = lambda _: asyncio.get_running_loop().create_future()
        assert await refusal(joiner(2).by_link(await open_.link())) == "unanswered"
        assert open_.room.given_up == 1


async def test_who_leaves_is_asked_about_no_longer(open_: Open) -> None:
    open_.room.answer = lambda _: asyncio.get_running_loop().create_future()
    joining = asyncio.create_task(joiner(2).by_link(await open_.link()))
    await eventually(lambda: bool(open_.room.asked))
    joining.cancel()
    await eventually(lambda: open_.room.given_up == 1)


async def test_a_lobby_that_stops_says_so(tmp_path: Path) -> None:
    async with open_lobby(tmp_path) as open_:
        open_.room.answer = lambda _: asyncio.get_running_loop().create_future()
        joining = asyncio.create_task(joiner(2).by_link(await open_.link()))
        await eventually(lambda: bool(open_.room.asked))
    assert await refusal(joining) == "closing"


async def test_a_link_puts_no_more_questions_than_it_has_uses(open_: Open) -> None:
    open_.room.answer = lambda _: asyncio.get_running_loop().create_future()
    link = await open_.link(uses=2)
    waiting = [asyncio.create_task(joiner(number).by_link(link)) for number in (2, 3)]
    await eventually(lambda: len(open_.room.asked) == 2)
    for number in (2, 4):
        assert await refusal(joiner(number).by_link(link)) == "busy"
    assert len(open_.room.asked) == 2
    for task in waiting:
        task.cancel()


async def test_an_inviter_who_has_moved_is_found_by_his_room(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His member record tells where he is, to those who know the room; the lobby kept its port."""
    link = await open_.link()
    elsewhere = Address("127.0.0.2", link.addresses[0].port)
    record = Discovery(
        open_.inviter.peer_id, link.room, 4711, on_hint=lambda *_: None, interfaces=[LOOPBACK]
    )
    await record.start()
    try:
        moved = replace(link, addresses=(elsewhere,))
        joined = await joiner(2).by_link(moved, interfaces=[LOOPBACK])
        assert joined.room == open_.room.genesis.id
    finally:
        await record.stop()


# --- in between -------------------------------------------------------------------------------
async def test_the_port_is_open_only_while_an_invite_is(tmp_path: Path) -> None:
    async with open_lobby(tmp_path, limits=replace(QUICK, linger=0.0)) as open_:
        assert open_.lobby.port == 0
        link = await open_.link()
        assert open_.lobby.port != 0
        await joiner(2).by_link(link)
        await open_.lobby.refresh()
        assert open_.lobby.port == 0
        with pytest.raises(Unreachable) as caught:
            await joiner(3).by_link(link)
        assert caught.value.trouble == "closed"


async def test_a_restarted_lobby_is_where_its_links_say(tmp_path: Path) -> None:
    async with open_lobby(tmp_path) as before:
        link = await before.link()
    async with open_lobby(tmp_path):
        await joiner(2).by_link(link)


async def test_a_relay_with_its_own_key_gains_nothing(open_: Open) -> None:
    """A machine in between that ends TLS itself and passes every byte on."""
    code = await code_of(open_)
    async with relay(open_.address) as address:
        assert await refusal(joiner(2).by_code(code, addresses=[address])) == "wrong_code"
    assert not open_.room.asked


async def test_a_joiners_key_swapped_in_flight_is_noticed(open_: Open) -> None:
    """The proofs cover who asks: another machine's request does not fit them."""
    link = await open_.link()
    eve = joiner(3)
    eve._member = joiner(2)._member
    assert await refusal(eve.by_link(link)) == "malformed"
    assert not open_.room.members


async def test_both_halves_are_bound_to_the_certificate_and_both_keys() -> None:
    ada, grace = identity(1), identity(2)
    args = (grace.peer_id, ada.peer_id, ada.certificate_der())

    def key(*other: object) -> bytes:
        ours, theirs = joiner_side(b"x", *args), inviter_side(b"x", *other)
        first = ours.start()
        second = theirs.start()
        return ours.finish(second) + theirs.finish(first)

    same = key(*args)
    assert same[:32] == same[32:]
    for other in (
        (identity(3).peer_id, *args[1:]),
        (args[0], identity(3).peer_id, args[2]),
        (*args[:2], grace.certificate_der()),
    ):
        different = key(*other)
        assert different[:32] != different[32:]


# --- nobody there -----------------------------------------------------------------------------
def test_each_way_of_not_reaching_the_inviter_has_its_own_words() -> None:
    home = [ipaddress.ip_network("192.168.1.0/24")]
    near, far = Address("192.168.1.9", 1), Address("10.0.0.9", 1)
    cases = [
        ({near: "silent"}, home, "isolated"),
        ({far: "silent"}, home, "wrong_network"),
        ({far: "no_route"}, home, "wrong_network"),
        ({near: "closed", far: "silent"}, home, "closed"),
        ({near: "silent"}, [], "no_network"),
        ({near: "interrupted"}, home, "interrupted"),
        ({near: "wrong_machine", far: "closed"}, home, "wrong_machine"),
    ]
    assert [explain(failures, nets).trouble for failures, nets, _ in cases] == [
        expected for *_, expected in cases
    ]
    words = {explain({near: kind}, home).cause for kind in ("silent", "closed", "interrupted")}
    assert len(words) == 3


async def test_a_code_nobody_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "LOBBY_FIND_TIMEOUT", 0.3)
    with pytest.raises(Unreachable) as caught:
        await joiner(2).by_code(SpokenCode.random(7), interfaces=[LOOPBACK])
    assert caught.value.trouble == "no_lobby"
