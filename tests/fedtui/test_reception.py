"""The node's side of joining, with a real peer, a real lobby and a real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from lobby_rig import joiner
from member_rig import eventually, identity
from reception_rig import LOOPBACK, Host, NoWork, host

from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.rooms import Joining, read_operations
from p2p.errors import StorageError
from p2p.joining.code import parse_code
from p2p.joining.joiner import Joined
from p2p.joining.link import parse_link
from p2p.joining.refusals import InviteRefused, NotNow
from p2p.joining.wire import MAX_TOLD_OPERATIONS
from p2p.operations import Operation
from p2p.peer import Peer
from p2p.room import Member


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path / "ada", identity(1)) as ada:
        yield ada


async def newcomer(directory: Path, number: int, joined: Joined) -> Peer:
    """A node that starts from nothing but what the lobby gave."""
    operations = read_operations(Joining(operations=joined.operations))
    peer = Peer(
        directory,
        identity(number),
        joined.genesis,
        NoWork(),
        operations=operations,
        addresses=joined.addresses,
        host=LOOPBACK,
        interfaces=[LOOPBACK],
        emit=lambda *_, **__: None,
    )
    await peer.start()
    return peer


async def asked(ada: Host) -> str:
    await eventually(lambda: bool(ada.reception.pending()))
    return ada.reception.pending()[0].request


async def test_an_invited_machine_starts_as_a_member_and_the_two_meet(
    ada: Host, tmp_path: Path
) -> None:
    link = parse_link((await ada.do("invite"))["text"])
    joining = asyncio.create_task(joiner(2).by_link(link))
    request = await asked(ada)
    assert (await ada.do("answer", id=request, approve=True))["name"] == "Grace"
    grace = await newcomer(tmp_path / "grace", 2, await joining)
    try:
        assert grace.members.keys() == ada.peer.members.keys()
        await eventually(lambda: bool(ada.of("peer.found")))
    finally:
        await grace.stop()
    assert [event.event for event in ada.trust.history()] == ["asked", "admitted"]
    assert ada.reception.pending() == ()


async def test_nobody_is_admitted_who_cannot_be_told_the_rooms_past(
    ada: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = parse_link((await ada.do("invite", uses=2, auto_approve=True))["text"])
    await joiner(2).by_link(link)
    past = ada.peer.operations() * (MAX_TOLD_OPERATIONS + 1)
    monkeypatch.setattr(ada.peer, "operations", lambda: past)
    with pytest.raises(InviteRefused) as refused:
        await joiner(3).by_link(link)
    assert refused.value.reason == "past_full"
    assert identity(3).peer_id not in ada.peer.members
    assert [invite["used"] for invite in (await ada.do("invites"))["invites"]] == [1]
    with pytest.raises(NotNow) as failed:
        await joiner(2).by_link(link)
    assert failed.value.reason == "failed", "a member that asks again is not left without a word"


async def test_a_code_is_made_and_listed_without_its_use(ada: Host) -> None:
    made = await ada.do("invite", code=True)
    code = parse_code(made["text"])
    (listed,) = (await ada.do("invites"))["invites"]
    assert (listed["kind"], listed["state"], listed["used"]) == ("code", "open", 0)
    assert listed["text"] == str(code)


async def test_a_removed_member_is_cut_off_and_refused(ada: Host, tmp_path: Path) -> None:
    link = parse_link((await ada.do("invite", uses=2, auto_approve=True))["text"])
    grace = await newcomer(tmp_path / "grace", 2, await joiner(2).by_link(link))
    try:
        await eventually(lambda: identity(2).peer_id in ada.peer._server.connected_peers())
        assert (await ada.do("remove", peer="grace"))["state"] == "removed"
        assert identity(2).peer_id not in ada.peer._server.connected_peers()
        with pytest.raises(InviteRefused) as caught:
            await joiner(2).by_link(link)
        assert caught.value.reason == "removed"
    finally:
        await grace.stop()


async def test_a_removal_that_would_pause_the_room_needs_a_word_more(
    ada: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = parse_link((await ada.do("invite", auto_approve=True))["text"])
    grace = await newcomer(tmp_path / "grace", 2, await joiner(2).by_link(link))
    try:
        monkeypatch.setattr(
            ada.peer.changes, "removal_pauses", lambda peer: peer == identity(2).peer_id
        )
        with pytest.raises(UsageError, match="too few voters"):
            await ada.do("remove", peer="Grace")
        assert identity(2).peer_id in ada.peer.members
        assert (await ada.do("remove", peer="Grace", anyway=True))["state"] == "removed"
    finally:
        await grace.stop()


async def test_two_requests_of_one_key_at_once_take_one_use(
    ada: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = parse_link((await ada.do("invite", uses=2, auto_approve=True))["text"])
    begun: list[Member] = []
    go_on, sign = asyncio.Event(), ada.peer.changes.add_member

    async def slow(member: Member) -> Operation:
        begun.append(member)
        await go_on.wait()
        return await sign(member)

    monkeypatch.setattr(ada.peer.changes, "add_member", slow)
    first = asyncio.create_task(joiner(2).by_link(link))
    await eventually(lambda: len(begun) == 1)
    second = asyncio.create_task(joiner(2).by_link(link))
    await eventually(lambda: second.done() or len(begun) == 2)
    go_on.set()
    await asyncio.wait({first, second})
    assert [invite["used"] for invite in (await ada.do("invites"))["invites"]] == [1]
    assert len(begun) == 1
    assert first.exception() is None
    assert isinstance(busy := second.exception(), NotNow)
    assert busy.reason == "busy"


async def test_who_has_become_a_member_gives_no_use_back(
    ada: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = parse_link((await ada.do("invite", auto_approve=True))["text"])
    sign = ada.peer.changes.add_member

    async def stumble(member: Member) -> Operation:
        await sign(member)
        raise StorageError("the disk was slow to say so")

    monkeypatch.setattr(ada.peer.changes, "add_member", stumble)
    with pytest.raises(NotNow):
        await joiner(2).by_link(link)
    assert [invite["used"] for invite in (await ada.do("invites"))["invites"]] == [1]
    await joiner(2).by_link(link)


async def test_a_trust_file_that_cannot_be_written_keeps_nobody_out(
    ada: Host, tmp_path: Path
) -> None:
    (tmp_path / "ada" / "trust.jsonl").mkdir()
    link = parse_link((await ada.do("invite"))["text"])
    joining = asyncio.create_task(joiner(2).by_link(link))
    await ada.do("answer", id=await asked(ada), approve=True)
    await joining
    assert [event["name"] for event in ada.of("member.added")] == ["Grace"]
    ada.reception.on_removed(identity(2).peer_id, "Grace")
    told = [event["text"] for event in ada.of("notice")]
    assert len(told) == 3
    assert all("cannot write" in text for text in told)


async def test_no_is_remembered(ada: Host) -> None:
    link = parse_link((await ada.do("invite"))["text"])
    joining = asyncio.create_task(joiner(2).by_link(link))
    await ada.do("answer", id=await asked(ada), approve=False)
    with pytest.raises(InviteRefused):
        await joining
    assert [event.event for event in ada.trust.history()] == ["asked", "declined"]
    assert ada.of("join.declined")[0]["name"] == "Grace"


async def test_who_gives_up_is_no_question_any_more(ada: Host) -> None:
    link = parse_link((await ada.do("invite"))["text"])
    joining = asyncio.create_task(joiner(2).by_link(link))
    await asked(ada)
    joining.cancel()
    await eventually(lambda: bool(ada.of("join.gone")))
    assert (await ada.do("requests"))["requests"] == []


async def test_a_known_name_with_another_key_is_shouted_before_and_after(ada: Host) -> None:
    await ada.peer.changes.add_member(Member.of(identity(2), "Grace"))
    link = parse_link((await ada.do("invite"))["text"])
    joining = asyncio.create_task(joiner(3, "GRACE").by_link(link))
    request = await asked(ada)
    assert ada.of("join.requested")[0]["namesake"] == identity(2).peer_id
    await ada.do("answer", id=request, approve=True)
    await joining
    (shout,) = ada.of("identity.changed")
    assert (shout["peer"], shout["before"]) == (identity(3).peer_id, identity(2).peer_id)


async def test_a_member_who_takes_anothers_name_is_shouted(ada: Host) -> None:
    await ada.peer.changes.add_member(Member.of(identity(2), "Grace"))
    await ada.peer.changes.add_member(Member.of(identity(2), "Grace Hopper"))
    assert [event.event for event in ada.trust.history()] == ["added", "renamed"]
    assert ada.of("identity.changed") == []
    await ada.peer.changes.add_member(Member.of(identity(2), "ADA"))
    assert ada.of("identity.changed")[0]["before"] == identity(1).peer_id


async def test_a_new_key_that_the_old_one_signed_is_no_impostor_and_has_no_mark(ada: Host) -> None:
    grace, her_new = identity(2), identity(3)
    await ada.peer.changes.add_member(Member.of(grace, "Grace"))
    await ada.do("verify", peer="Grace")
    known = ada.peer._membership
    ada.peer._membership = replace(
        known,
        members={ada.identity.peer_id: known.members[ada.identity.peer_id]},
        successors={grace.peer_id: her_new.peer_id},
    )
    ada.reception.on_added(her_new.peer_id, "Grace")
    assert ada.of("identity.changed") == []
    last = ada.trust.history()[-1]
    assert (last.event, last.peer, last.detail) == ("rekeyed", her_new.peer_id, grace.peer_id)
    assert not ada.trust.verified(her_new.peer_id)
    assert ada.trust.verified(grace.peer_id), "the mark stays with the key that was compared"


async def test_who_is_no_admin_may_look_but_not_invite(ada: Host, tmp_path: Path) -> None:
    ada.peer._membership = type(ada.peer._membership)(
        members=ada.peer.members, admins=frozenset({identity(9).peer_id}), threshold=1
    )
    with pytest.raises(TrustError) as caught:
        await ada.do("invite")
    assert caught.value.code == 4
    assert len((await ada.do("members"))["members"]) == 1


async def test_an_invite_of_who_is_no_admin_any_more_refuses_with_a_reason(ada: Host) -> None:
    link = parse_link((await ada.do("invite", auto_approve=True))["text"])
    ada.peer._membership = type(ada.peer._membership)(
        members=ada.peer.members, admins=frozenset({identity(9).peer_id}), threshold=1
    )
    with pytest.raises(NotNow) as refused:
        await joiner(2).by_link(link)
    assert refused.value.reason == "failed"
    assert [invite["used"] for invite in (await ada.do("invites"))["invites"]] == [0]


async def test_a_mark_stays_with_the_member(ada: Host) -> None:
    await ada.peer.changes.add_member(Member.of(identity(2), "Grace"))
    assert (await ada.do("verify", peer="Grace"))["verified"]
    marked = {m["name"]: m["verified"] for m in (await ada.do("members"))["members"]}
    assert marked == {"Ada": False, "Grace": True}
    assert not (await ada.do("verify", peer="Grace", verified=False))["verified"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("answer", {"id": "", "approve": True}),
        ("answer", {"id": "beef", "approve": True}),
        ("revoke", {"id": "beef"}),
        ("remove", {"peer": "nobody"}),
        ("remove", {"peer": "Ada"}),
        ("verify", {"peer": "nobody"}),
        ("invite", {"uses": 0}),
        ("invite", {"uses": 1000}),
        ("invite", {"code": True, "uses": 2}),
        ("invite", {"expires_s": -1.0}),
        ("invite", {"role": "admin"}),
    ],
)
async def test_what_cannot_be_done_is_said(
    ada: Host, name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        await ada.do(name, **arguments)


async def test_the_last_admin_cannot_leave(ada: Host) -> None:
    with pytest.raises(FedtuiError) as caught:
        await ada.governance.leave()
    assert "admin" in caught.value.remedy


async def test_a_promoted_member_is_an_admin_and_then_one_may_leave(
    ada: Host, tmp_path: Path
) -> None:
    link = parse_link((await ada.do("invite", auto_approve=True))["text"])
    grace = await newcomer(tmp_path / "grace", 2, await joiner(2).by_link(link))
    try:
        assert len((await ada.do("promote", peer="Grace"))["admins"]) == 2
        await eventually(lambda: identity(2).peer_id in grace.admins)
        assert not ada.peer.is_leaving
        await ada.governance.leave()
        assert ada.peer.is_leaving, "at once, did anybody else vote"
    finally:
        await grace.stop()


async def test_who_has_left_may_come_back_and_who_was_removed_may_not(
    ada: Host, tmp_path: Path
) -> None:
    """The same machine, with all it remembers of the room."""
    link = parse_link((await ada.do("invite", uses=3, auto_approve=True))["text"])
    for comes_back in (True, False):
        grace = await newcomer(tmp_path / "grace", 2, await joiner(2).by_link(link))
        try:
            assert identity(2).peer_id in grace.members
            if comes_back:
                await grace.changes.remove_member(identity(2).peer_id)
            else:
                await ada.do("remove", peer="Grace")
            await eventually(lambda: identity(2).peer_id not in ada.peer.members)
        finally:
            await grace.stop()
    with pytest.raises(InviteRefused, match="removed"):
        await joiner(2).by_link(link)
