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
from fedtui.view import PreviewView
from p2p.client import PeerRefused

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
    with pytest.raises(ValueError, match="instead of"):
        unpack(pack([png()]), 2, 64)
