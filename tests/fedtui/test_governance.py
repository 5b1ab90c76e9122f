"""What members may do, and what admins decide together, between real nodes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from lobby_rig import joiner
from member_rig import eventually, identity
from reception_rig import Guest, Host, guest, host

from fedtui import governance, reception
from fedtui.errors import FedtuiError, NetworkError, TrustError, UsageError
from fedtui.governance import Governance
from p2p.errors import ProtocolError
from p2p.identity import Identity
from p2p.joining.link import parse_link
from p2p.joining.refusals import NotNow
from p2p.joining.words import fingerprint_words
from p2p.operations import AdminChange, MemberAdd, RoundStart
from p2p.room import Member, Permissions


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def rights_of(node: Host | Guest, number: int) -> Permissions:
    return node.peer.members[identity(number).peer_id].permissions


async def test_an_admin_gives_and_takes_rights_and_everybody_hears_of_it(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    told = await ada.do("permit", peer="Grace", start_rounds=True, see_previews=False)
    assert told["may"] == ["contribute", "start rounds"]
    await eventually(lambda: rights_of(grace, 2).start_rounds)
    assert not rights_of(grace, 2).see_previews
    (listed,) = (m for m in (await grace.do("members"))["members"] if m["me"])
    assert tuple(listed["may"]) == ("contribute", "start rounds")
    told = await ada.do("permit", peer="Grace", role="observer")
    assert (told["role"], told["may"]) == ("observer", ["start rounds"])
    await eventually(lambda: not grace.peer.members[identity(2).peer_id].trains)
    assert not grace.peer.is_asked
    with pytest.raises(UsageError, match="nothing changes"):
        await ada.do("permit", peer="Grace", role="observer")


async def test_a_change_that_nobody_confirms_in_time_may_still_take_effect(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    await ada.peer.changes.add_member(Member.of(identity(2), "Grace"))

    async def for_ever(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(governance, "ROOM_OPERATION_S", 0.01)
    monkeypatch.setattr(ada.peer.changes, "add_member", for_ever)
    with pytest.raises(NetworkError, match="not known whether") as caught:
        await ada.do("permit", peer="Grace", role="observer")
    assert "may still take effect" in caught.value.cause


async def test_nobody_gives_rights_to_itself(stack: AsyncExitStack, tmp_path: Path) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    with pytest.raises(TrustError, match="only an admin"):
        await grace.do("permit", peer="Grace", start_rounds=True)
    mine = grace.peer.members[identity(2).peer_id]
    greedy = mine.model_copy(update={"permissions": Permissions(start_rounds=True)})
    change = MemberAdd(author=mine.peer_id, seq=9, after=ada.room.id, member=greedy)
    with pytest.raises(ProtocolError, match="may not"):
        await ada.peer.changes.hand_in(grace.peer._core.sign(change))
    assert not rights_of(ada, 2).start_rounds


async def test_rounds_wait_for_somebody_who_may_start_them(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada = await stack.enter_async_context(
        host(tmp_path / "ada", identity(1), start_on_request=True)
    )
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    for node in (ada, grace):
        snapshot = node.peer.snapshot()
        assert (snapshot.held, snapshot.phase) == (True, "WAITING")
        assert "waits to be started" in snapshot.headline
        assert not node.peer.is_asked
    with pytest.raises(TrustError, match="may not start rounds"):
        await grace.do("start_rounds")
    lie = RoundStart(author=identity(2).peer_id, seq=9, after=ada.room.id, through=1)
    with pytest.raises(ProtocolError, match="may not"):
        await ada.peer.changes.hand_in(grace.peer._core.sign(lie))
    assert ada.peer.snapshot().held
    await ada.do("permit", peer="Grace", start_rounds=True)
    await eventually(lambda: rights_of(grace, 2).start_rounds)
    assert (await grace.do("start_rounds", rounds=2))["through"] == 2
    await eventually(lambda: ada.of("rounds.allowed") == [{"type": "rounds.allowed", "through": 2}])
    assert ada.peer.is_asked
    assert not ada.peer.snapshot().held
    assert (await ada.do("start_rounds", rounds=0))["through"] == 3
    with pytest.raises(UsageError, match="have been started already"):
        await ada.do("start_rounds")


async def test_a_room_whose_rounds_begin_by_themselves_says_so(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    with pytest.raises(UsageError, match="begin by themselves"):
        await ada.do("start_rounds")


async def test_a_knock_that_waits_for_other_admins_is_signed_once(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "ENDORSEMENT_WAIT_S", 0.01)
    ada, grace = await two_admins(stack, tmp_path)

    made = await ada.do("invite", auto_approve=True)
    link = parse_link(made["text"])
    for name in ("Mallory", "Mallory", "Eve"):
        with pytest.raises(NotNow):
            await joiner(4, name).by_link(link)
        assert len(ada.peer.changes.waiting_operations()) == 1
        used = {i["id"]: i["used"] for i in (await ada.do("invites"))["invites"]}
        assert used[made["id"]] == 1, "the use is kept while the change waits"
    await endorsed(grace)
    await eventually(lambda: identity(4).peer_id in ada.peer.members)
    await joiner(4).by_link(link)


async def test_nobody_signs_a_change_that_no_round_could_hold(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace = await two_admins(stack, tmp_path)
    lie = MemberAdd(
        author=identity(1).peer_id,
        seq=99,
        after="f" * 64,
        member=Member.of(identity(5), "Mallory"),
    )
    await ada.peer.changes.hand_in(ada.peer._core.sign(lie))
    await eventually(lambda: bool(grace.peer.changes.waiting_operations()))
    (waiting,) = (await grace.do("changes"))["changes"]
    with pytest.raises(FedtuiError) as caught:
        await grace.do("endorse", id=waiting["id"][:8])
    assert "does not know" in str(caught.value.cause)
    assert identity(5).peer_id not in grace.peer.members


async def test_two_admins_of_whom_both_must_sign(stack: AsyncExitStack, tmp_path: Path) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1), threshold=2))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    linus = await stack.enter_async_context(guest(tmp_path / "linus", 3, ada))
    told = await ada.do("promote", peer=identity(2).peer_id[:8])
    assert told["needs_others"], "nobody becomes an admin without agreeing"
    await endorsed(grace)
    await eventually(lambda: len(ada.peer.admins) == 2)

    told = await ada.do("remove", peer=identity(3).peer_id[:8], reason="spam", anyway=True)
    assert told["state"] == "needs others"
    assert identity(3).peer_id in ada.peer.members
    (waiting,) = (await ada.do("changes"))["changes"]
    assert (waiting["missing"], waiting["mine"]) == (1, True)
    words = " ".join(fingerprint_words(identity(3).peer_id))
    assert words in waiting["text"], "a name is its owner's choice; the words are the key's"
    with pytest.raises(UsageError, match="signed that already"):
        await ada.do("endorse", id=waiting["id"][:8])
    await eventually(
        lambda: waiting["id"] in {o.id for o, _ in linus.peer.changes.waiting_operations()}
    )
    with pytest.raises(FedtuiError) as refused:
        await linus.do("endorse", id=waiting["id"][:8])
    assert "signed by somebody who may not" in refused.value.cause
    assert identity(3).peer_id in ada.peer.members, "who is no admin adds nothing"
    await endorsed(grace)
    await eventually(lambda: identity(3).peer_id not in ada.peer.members)
    assert (await ada.do("changes"))["changes"] == []


async def test_a_newcomer_waits_at_the_door_while_the_other_admin_signs(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace = await two_admins(stack, tmp_path)
    link = parse_link((await ada.do("invite", auto_approve=True))["text"])
    joining = asyncio.create_task(joiner(3).by_link(link))
    await endorsed(grace)
    await joining
    assert identity(3).peer_id in ada.peer.members


async def test_what_is_asked_names_keys_old_names_and_this_machine(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    governance = Governance(ada.peer, ada.room, ada.trust)
    me, grace = identity(1).peer_id, identity(2).peer_id
    led = AdminChange(author=me, seq=9, after=ada.room.id, admins=(grace,), threshold=1)
    asked = governance.in_words(led)
    assert f"make Grace ({' '.join(fingerprint_words(grace))}) an admin" in asked
    assert "take the admin role from Ada (this machine: " in asked
    renamed = ada.peer.members[grace].model_copy(update={"name": "Ada"})
    asked = governance.in_words(MemberAdd(author=me, seq=9, after=ada.room.id, member=renamed))
    assert asked.startswith("let Grace (")
    assert "from now on called Ada" in asked


async def two_admins(stack: AsyncExitStack, tmp_path: Path) -> tuple[Host, Guest]:
    """A founder and a second admin, who must both sign."""
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1), threshold=2))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    await ada.do("promote", peer=identity(2).peer_id[:8])
    await endorsed(grace)
    await eventually(lambda: len(ada.peer.admins) == 2)
    return ada, grace


async def endorsed(node: Guest) -> None:
    await eventually(lambda: bool(node.peer.changes.waiting_operations()))
    (waiting,) = (await node.do("changes"))["changes"]
    assert not waiting["mine"]
    told = await node.do("endorse", id=waiting["id"][:8])
    assert told["missing"] == 0


async def test_an_admins_new_key_is_shown_to_the_others_who_must_sign_and_waits_for_a_commit(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace = await two_admins(stack, tmp_path)
    told = await ada.do("change_key")
    assert told["needs_others"]
    kept = ada.room.paths.next_identity
    assert Identity.load_or_create(kept).peer_id == told["peer"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    await eventually(lambda: bool(grace.peer.changes.waiting_operations()))
    (waiting,) = (await grace.do("changes"))["changes"]
    assert waiting["text"].endswith(f"another key ({' '.join(told['words'])})")
    assert " ".join(fingerprint_words(identity(1).peer_id)) in waiting["text"]
    await grace.do("endorse", id=waiting["id"][:8])
    await eventually(lambda: not ada.peer.changes.waiting_operations())
    assert identity(1).peer_id in grace.peer.members, "the old key votes until the commit"
    with pytest.raises(FedtuiError) as refused:
        await ada.do("change_key")
    assert "already" in refused.value.cause


async def test_a_threshold_is_raised_by_the_admins_it_binds(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    with pytest.raises(UsageError, match="2 of 1 admins cannot sign"):
        await ada.do("threshold", admins=2)
    await ada.do("promote", peer=identity(2).peer_id[:8])
    assert (await ada.do("threshold", admins=2))["needs_others"]
    await endorsed(grace)
    await eventually(lambda: ada.peer.admin_threshold == 2)
    asked = ada.of("change.waiting")
    assert [event["kind"] for event in asked] == ["admin-change"]
