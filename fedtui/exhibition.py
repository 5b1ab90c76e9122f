"""Previews that one member drew and others may look at: for machines that do not draw themselves.

Nothing is given unless this machine's owner agreed (the setting ``share_previews``) and the asker
may see previews. What is given are the pixels of the prompts and seeds that the room's plan names;
what is taken is nothing else, so nobody can add a picture or text of his own. That the pixels are
what the adapter draws is his word alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from fedtui.gallery.png import pixels_only
from fedtui.limits import EXHIBIT_LOOK_S, EXHIBIT_SIDE
from fedtui.paths import RoomPaths
from fedtui.task import Task
from fedtui.view import PreviewView
from p2p.client import PeerRefused
from p2p.durable import publish
from p2p.errors import P2PError
from p2p.limits import MAX_EXHIBIT_BYTES
from p2p.peer import Peer

log = logging.getLogger("fedtui.exhibition")

SHARES = "shares"
"""In a member's status: whether it gives its previews to others."""
_NUMBER = 4
"""Bytes of a picture's length in front of it."""


class Shelf(Protocol):
    """Where a node's previews are; :class:`~fedtui.learner.Learner` is one."""

    @property
    def previews(self) -> tuple[PreviewView, ...]: ...

    def adopt(self, drawn: Sequence[PreviewView]) -> None:
        """Adds previews that somebody else drew."""
        ...


def pack(pictures: Sequence[bytes]) -> bytes:
    """Pictures one behind the other, each behind its length."""
    return b"".join(len(picture).to_bytes(_NUMBER) + picture for picture in pictures)


def fitting(files: Sequence[Path]) -> list[bytes]:
    """As many of the pictures, from the first on, as may be given together.

    Raises OSError, and :class:`ValueError` for what is no picture.
    """
    pictures: list[bytes] = []
    left = MAX_EXHIBIT_BYTES
    for file in files:
        left -= file.stat().st_size + _NUMBER
        if left < 0:
            break
        pictures.append(pixels_only(file.read_bytes()))
    return pictures


def unpack(data: bytes, count: int, side: int) -> list[bytes]:
    """The pictures, up to ``count`` of at most ``side`` pixels each way, in an exhibit.

    Raises :class:`ValueError` for anything else.
    """
    pictures: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + _NUMBER])
        start = at + _NUMBER
        at = start + size
        if not size or at > len(data) or len(pictures) == count:
            raise ValueError("an exhibit is cut short, or has too much in it")
        picture = pixels_only(data[start:at])
        sides = int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])
        if not all(0 < each <= side for each in sides):
            raise ValueError(f"a picture of {sides[0]}x{sides[1]} was not asked for")
        pictures.append(picture)
    if not pictures:
        raise ValueError("an exhibit is empty")
    return pictures


class Exhibition:
    """Gives the previews of one node to others, or fetches theirs."""

    def __init__(
        self,
        peer: Peer,
        task: Task,
        paths: RoomPaths,
        shelf: Shelf,
        *,
        shares: bool,
        draws: bool,
        emit: Callable[..., None],
    ) -> None:
        self._peer = peer
        self._task = task
        self._paths = paths
        self._shelf = shelf
        # A member's own layers are his: pictures drawn with them stay at home.
        self.shares = shares and draws and not task.adapter.personal
        self._draws = draws
        self._emit = emit
        self._looked: dict[int, set[str]] = {}
        self._failed: set[str] = set()
        self._packed: tuple[int, asyncio.Task[bytes | None]] | None = None
        self._told = False
        if self.shares:
            peer.exhibits = self._exhibit

    @property
    def _recipes(self) -> list[tuple[str, int]]:
        preview = self._task.preview
        return [(prompt, seed) for prompt in preview.prompts for seed in preview.seeds]

    async def _exhibit(self, round_number: int) -> bytes | None:
        """The newest pictures in the plan's order; None when not all of them are here.

        They are read once a round, however often and by how many they are asked for.
        """
        if round_number != self._peer.round - 1:
            return None
        drawn = {
            (view.prompt, view.seed): Path(view.path)
            for view in self._shelf.previews
            if view.round == round_number and not view.author
        }
        if not drawn.keys() >= set(self._recipes):
            return None
        if self._packed is None or self._packed[0] != round_number:
            files = [drawn[recipe] for recipe in self._recipes]
            self._packed = round_number, asyncio.create_task(self._pack(files))
        # Who asked may hang up; the others wait for the same.
        return await asyncio.shield(self._packed[1])

    async def _pack(self, files: Sequence[Path]) -> bytes | None:
        try:
            pictures = await asyncio.to_thread(fitting, files)
        except (OSError, ValueError) as error:
            log.warning("previews cannot be given: %s", error)
            self._packed = None  # It may have passed when somebody asks again.
            return None
        if len(pictures) < len(files) and not self._told:
            self._told = True
            self._emit(
                "notice",
                text=f"members who draw none get {len(pictures)} of {len(files)} previews a round: "
                f"more than {MAX_EXHIBIT_BYTES >> 20} MB are not given at once",
                level="warning",
            )
        return pack(pictures) or None

    async def run(self) -> None:
        """Where this machine draws none itself: looks for the newest previews of others."""
        while not self._draws:
            try:
                await self._look()
            except OSError as error:
                log.warning("previews of others cannot be kept: %s", error)
            await asyncio.sleep(EXHIBIT_LOOK_S)

    async def _look(self) -> None:
        newest = self._peer.round - 1
        if any(preview.round == newest for preview in self._shelf.previews):
            return
        looked = self._looked.setdefault(newest, set())
        self._looked = {newest: looked}
        # Those that failed are asked last: a slow one shall not keep the others' from being seen.
        everybody = sorted(self._peer.snapshot().peers, key=lambda peer: peer.id in self._failed)
        for member in everybody:
            if member.me or member.state != "alive" or not member.status.get(SHARES):
                continue
            if member.id in looked:
                continue
            try:
                data = await self._peer.exhibit_of(member.id, newest)
                pictures = unpack(data, len(self._recipes), EXHIBIT_SIDE)
            except P2PError as error:
                log.info("previews of %s: %s", member.id[:8], error)
                if not isinstance(error, PeerRefused):
                    self._failed.add(member.id)
                continue
            except ValueError as error:
                looked.add(member.id)
                self._emit(
                    "notice", text=f"previews of {member.name} are refused: {error}",
                    level="warning",
                )  # fmt: skip
                continue
            self._failed.discard(member.id)
            self._shelf.adopt(await asyncio.to_thread(self._kept, newest, member.id, pictures))
            return

    def _kept(self, round_number: int, author: str, pictures: Sequence[bytes]) -> list[PreviewView]:
        folder = self._paths.previews / f"round-{round_number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = []
        for number, (recipe, picture) in enumerate(zip(self._recipes, pictures, strict=False)):
            path = folder / f"by-{author[:8]}-{number:03d}.png"
            publish(path, picture)
            kept.append(PreviewView(round_number, *recipe, str(path), author))
        return kept
