"""Previews go to those who may see them, from those who agreed, and hold nothing but pixels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_rig import eventually, identity
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from reception_rig import Guest, Host, guest, host

from fedtui import exhibition
from fedtui.exhibition import Exhibition, pack, unpack
from fedtui.gallery.png import pixels_only
from fedtui.view import PreviewView
from p2p.blobs.uploads import Uploads
from p2p.client import PeerRefused
from p2p.errors import NetworkError

SECRET = b"/home/ada/pictures"


def png(side: int = 8) -> bytes:
    note, file = PngInfo(), BytesIO()
    note.add_text("parameters", SECRET.decode())
    Image.new("RGB", (side, side), "red").save(file, "PNG", pnginfo=note)
    return file.getvalue()


def bytes_of(view: PreviewView) -> bytes:
    return Path(view.path).read_bytes()


class Shelf:
    def __init__(self, *previews: PreviewView) -> None:
        self.previews = previews

    def adopt(self, drawn: Sequence[PreviewView]) -> None:
        self.previews = (*self.previews, *drawn)


def exhibit(node: Host | Guest, room: Host, shelf: Shelf, **choices: Any) -> Exhibition:
    emit = room.emit
    task, paths = room.room.task, room.room.paths
    return Exhibition(node.peer, task, paths, shelf, emit=emit, **choices)


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncExitStack]:
    monkeypatch.setattr(exhibition, "EXHIBIT_LOOK_S", 0.1)
    async with AsyncExitStack() as stack:
        yield stack


async def two(stack: AsyncExitStack, tmp_path: Path) -> tuple[Host, Guest, Shelf]:
    ada = await stack.enter_async_context(host(tmp_path / "ada", identity(1)))
    grace = await stack.enter_async_context(guest(tmp_path / "grace", 2, ada))
    await eventually(lambda: bool(grace.peer.addresses().get(identity(1).peer_id)))
    drawn = tmp_path / "drawn.png"
    drawn.write_bytes(png())
    return ada, grace, Shelf(PreviewView(0, "night", 0, str(drawn)))


async def test_who_draws_none_is_shown_what_another_agreed_to_share(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    giving = exhibit(ada, ada, drawn, shares=True, draws=True)
    ada.peer.set_status({"state": "WATCH", exhibition.SHARES: giving.shares})
    empty = Shelf()
    looking = exhibit(grace, ada, empty, shares=False, draws=False)
    running = asyncio.create_task(looking.run())
    stack.callback(running.cancel)
    await eventually(lambda: bool(empty.previews))
    (seen,) = empty.previews
    assert (seen.round, seen.prompt, seen.seed) == (0, "night", 0)
    assert seen.author == identity(1).peer_id
    picture = bytes_of(seen)
    assert SECRET not in picture
    assert Image.open(BytesIO(picture)).size == (8, 8)


async def test_without_the_permission_nothing_is_given_whatever_the_member_asks(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, shares=True, draws=True)
    assert unpack(await grace.peer.exhibit_of(identity(1).peer_id, 0), 1, 64)
    await ada.do("permit", peer=grace.peer.identity.peer_id[:8], see_previews=False)
    with pytest.raises(PeerRefused) as refused:
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    assert refused.value.status == 403


async def test_what_others_drew_is_not_passed_on(stack: AsyncExitStack, tmp_path: Path) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    (own,) = drawn.previews
    exhibit(ada, ada, Shelf(replace(own, author="another")), shares=True, draws=True)
    with pytest.raises(PeerRefused) as refused:
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    assert refused.value.status == 404


@pytest.mark.parametrize("choices", [{"shares": False, "draws": True}])
async def test_nothing_is_given_by_somebody_who_did_not_agree(
    stack: AsyncExitStack, tmp_path: Path, choices: dict[str, bool]
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, **choices)
    with pytest.raises(PeerRefused) as refused:
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    assert refused.value.status == 404


@given(st.lists(st.binary(max_size=64), max_size=4).map(pack) | st.binary(max_size=200))
def test_any_bytes_are_pictures_or_refused(data: bytes) -> None:
    try:
        unpack(data, 1, 64)
    except ValueError:
        return
    raise AssertionError("random bytes are no picture")


def test_a_picture_larger_than_asked_for_is_refused() -> None:
    assert len(unpack(pack([png(64)]), 1, 64)) == 1
    with pytest.raises(ValueError, match="not asked for"):
        unpack(pack([png(65)]), 1, 64)
    with pytest.raises(ValueError, match="too much in it"):
        unpack(pack([png(), png()]), 1, 64)
    assert len(unpack(pack([png()]), 2, 64)) == 1, "what fits is given"
    with pytest.raises(ValueError, match="empty"):
        unpack(b"", 2, 64)


async def test_a_round_is_read_once_however_many_ask(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(data: bytes) -> bytes:
        read.append(len(data))
        return pixels_only(data)

    monkeypatch.setattr(exhibition, "pixels_only", counted)
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, shares=True, draws=True)
    ask = grace.peer.exhibit_of
    one, *others = [await ask(identity(1).peer_id, 0) for _ in range(3)]
    assert others == [one, one]
    assert len(read) == 1
    with pytest.raises(PeerRefused):
        await ask(identity(1).peer_id, 7)


async def test_a_picture_that_could_not_be_read_once_is_given_later(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, shares=True, draws=True)
    read = exhibition.fitting

    def refused(files: Sequence[Path]) -> list[bytes]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(exhibition, "fitting", refused)
    with pytest.raises(PeerRefused):
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    monkeypatch.setattr(exhibition, "fitting", read)
    assert await grace.peer.exhibit_of(identity(1).peer_id, 0)


async def test_pictures_wait_their_turn_like_everything_else_that_is_sent(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, shares=True, draws=True)
    monkeypatch.setattr(Uploads, "begin", lambda *_: None)
    with pytest.raises(PeerRefused) as refused:
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    assert refused.value.status == 503


async def test_as_many_pictures_as_fit_are_given_and_the_owner_is_told_once(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    (own,) = drawn.previews
    monkeypatch.setattr(exhibition, "MAX_EXHIBIT_BYTES", 2 * len(png()))
    giving = exhibit(ada, ada, drawn, shares=True, draws=True)
    given = await giving._pack([Path(own.path)] * 3)
    assert given is not None
    assert len(unpack(given, 3, 64)) == 1
    monkeypatch.setattr(exhibition, "MAX_EXHIBIT_BYTES", len(png()))
    with pytest.raises(PeerRefused) as refused:
        await grace.peer.exhibit_of(identity(1).peer_id, 0)
    assert refused.value.status == 404
    notices = [e["text"] for e in ada.events if "previews a round" in e.get("text", "")]
    assert len(notices) == 1
    assert "1 of 3" in notices[0]


async def test_one_who_sends_slowly_does_not_keep_the_asker_for_long(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, drawn = await two(stack, tmp_path)
    exhibit(ada, ada, drawn, shares=True, draws=True)

    async def trickle(data: bytes, *_: object) -> AsyncIterator[memoryview]:
        for at in range(len(data)):
            yield memoryview(data)[at : at + 1]
            await asyncio.sleep(0.05)

    monkeypatch.setattr("p2p.server.admitted", trickle)
    monkeypatch.setattr("p2p.client.EXHIBIT_TIMEOUT", 1.0)
    with pytest.raises(NetworkError):
        await grace.peer.exhibit_of(identity(1).peer_id, 0)


async def test_who_failed_is_asked_after_the_others(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, _ = await two(stack, tmp_path)
    now = grace.peer.snapshot()
    shares = {exhibition.SHARES: True}
    peers = tuple(
        replace(now.peers[0], id=each, me=False, state="alive", status=shares)
        for each in ("slow", "honest")
    )
    snapshot = replace(now, peers=peers)
    monkeypatch.setattr(grace.peer, "snapshot", lambda: snapshot)
    asked: list[str] = []

    async def exhibit_of(peer_id: str, round_number: int) -> bytes:
        asked.append(peer_id)
        if peer_id == "slow":
            raise NetworkError("slow")
        if len(asked) == 2:
            raise PeerRefused(peer_id, 404)
        return pack([png()])

    monkeypatch.setattr(grace.peer, "exhibit_of", exhibit_of)
    empty = Shelf()
    looking = exhibit(grace, ada, empty, shares=False, draws=False)
    await looking._look()
    await looking._look()
    assert asked == ["slow", "honest", "honest"]
    assert [view.author for view in empty.previews] == ["honest"]
