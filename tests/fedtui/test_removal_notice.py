"""A machine that was removed hears of it, and only from those who may remove it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from member_rig import eventually, held_port, identity
from reception_rig import Guest, Host, guest, host

from p2p import farewell
from p2p.errors import RemovedError
from p2p.operations import MemberRemove, Operation


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncExitStack]:
    monkeypatch.setattr(farewell, "FAREWELL_RETRY_MAX", 1.0)
    monkeypatch.setattr(farewell, "FAREWELL_RETRY_MIN", 0.5)
    async with AsyncExitStack() as stack:
        yield stack


async def two(stack: AsyncExitStack, tmp_path: Path, port: int = 0) -> tuple[Host, Guest]:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    return ada, await stack.enter_async_context(guest(tmp_path / "grace", 2, ada, port))


async def test_who_is_removed_is_shown_the_signed_removal(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace = await two(stack, tmp_path)
    assert grace.governance.removal() is None
    await ada.do("remove", peer=grace.peer.identity.peer_id[:8], reason="spam", anyway=True)
    await eventually(lambda: grace.governance.removal() is not None)
    told = grace.governance.removal()
    assert told is not None
    assert (told.signed, told.reason, told.left) == (("Ada",), "spam", False)
    assert told.text == "this machine was removed from the room by Ada: spam"
    proof = Operation.model_validate_json(told.operation)
    assert proof.signers == {ada.peer.identity.peer_id}
    assert not grace.peer.is_asked


async def test_who_slept_while_it_was_removed_hears_of_it_when_it_is_back(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    port = stack.enter_context(held_port())
    ada, grace = await two(stack, tmp_path, port)
    # A member is dialled where it has been: it must have been seen there once.
    await eventually(lambda: bool(ada.of("peer.found")))
    await grace.peer.stop()
    await ada.do("remove", peer=grace.peer.identity.peer_id[:8], anyway=True)
    back = Guest(tmp_path / "grace", identity(2), ada, grace.joined, port)
    await back.peer.start()
    stack.push_async_callback(back.peer.stop)
    await eventually(lambda: back.governance.removal() is not None)


async def test_who_was_told_is_told_again_at_the_next_start(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace = await two(stack, tmp_path)
    await ada.do("remove", peer=grace.peer.identity.peer_id[:8], reason="spam", anyway=True)
    await eventually(lambda: grace.governance.removal() is not None)
    await grace.peer.stop()
    again = Guest(tmp_path / "grace", identity(2), ada, grace.joined)
    with pytest.raises(RemovedError) as caught:
        await again.peer.start()
    assert caught.value.cause == "signed by Ada: spam"


@pytest.mark.parametrize("author", [1, 3], ids=["in the admin's name", "in its own name"])
async def test_no_member_makes_another_believe_it_was_removed(
    stack: AsyncExitStack, tmp_path: Path, author: int
) -> None:
    ada, grace = await two(stack, tmp_path)
    linus = await stack.enter_async_context(guest(tmp_path / "linus", 3, ada))
    await eventually(lambda: identity(3).peer_id in grace.peer.members)
    lie = MemberRemove(
        author=identity(author).peer_id,
        seq=99,
        after=ada.room.id,
        peer=grace.peer.identity.peer_id,
    )
    notice = linus.peer._core.notice(linus.peer._core.sign(lie)).to_bytes()
    await eventually(lambda: bool(linus.peer.addresses().get(grace.peer.identity.peer_id)))
    linus.peer._client.send(grace.peer.identity.peer_id, notice)
    liar = identity(3).peer_id
    await eventually(
        lambda: any(e["type"] == "message.refused" and e["peer"] == liar for e in grace.events)
    )
    assert grace.governance.removal() is None
    assert grace.peer.identity.peer_id in grace.peer.members
