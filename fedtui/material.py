"""Operations on the folder of pictures a node trains on: look at it, word its captions, keep
pictures out, agree to it, choose it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fedtui import rooms
from fedtui.captioning import WriteCaption, write_caption
from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.excluding import ExcludePicture, exclude
from fedtui.paths import Profile, absolute
from fedtui.training import TrainerProcess
from trainer.protocol import CheckData, DataOptions

LEAST = 32
"""Pixels; no usable picture is smaller."""


@dataclass(frozen=True)
class CheckFolder:
    """A folder of pictures."""

    folder: str


@dataclass(frozen=True)
class NameCaptions:
    """Captions out of file names, for the pictures of a folder that have none: ``red_house.png`` is
    "red house". They are only told unless one shall ``write`` them."""

    folder: str
    write: bool


@dataclass(frozen=True)
class ChooseFolder:
    """Train on this folder from now on. ``agreed``: a person was shown what leaves the machine."""

    folder: str
    agreed: bool


class Material:
    """Adds its operations to a node's; ``used`` is the folder it trains on, ``use`` makes it train
    on another, ``excluded`` is told what changed in the one it uses. The room trains ``model`` at
    ``resolution`` (0: the model's own) with ``options``.
    """

    def __init__(
        self,
        profile: Profile,
        arithmetic: TrainerProcess,
        *,
        fixed: bool,
        resolution: int,
        model: str = "",
        options: DataOptions | None = None,
        used: Callable[[], str] = str,
        use: Callable[[str], Awaitable[None]],
        excluded: Callable[[bool, int], Awaitable[None]] | None = None,
    ) -> None:
        self._profile = profile
        self._arithmetic = arithmetic
        self._fixed = fixed
        self._resolution = resolution
        self._model = model
        room = options or DataOptions()
        self._trigger = room.trigger
        self._options = DataOptions(buckets=room.buckets, bucket_step=room.bucket_step)
        self._used = used
        self._use = use
        self._excluded = excluded
        self._listing = asyncio.Lock()

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("check_folder", CheckFolder, self.check)
        operations.add("write_caption", WriteCaption, self.caption)
        operations.add("name_captions", NameCaptions, self.name_captions)
        operations.add("exclude_picture", ExcludePicture, self.exclude)
        operations.add("choose_folder", ChooseFolder, self.choose)

    async def check(self, asked: CheckFolder) -> Result:
        """What is in a folder, see :class:`trainer.protocol.CheckData`, and ``folder``, the room's
        ``trigger`` word, and how training on this very folder was ``agreed``: when, in seconds
        since 1970, 0 if the settings name it, or None where nobody has. ``sides`` is None where the
        model is not on this machine.
        """
        folder = _existing(asked.folder)
        report = await self.look(folder)
        agreed = await asyncio.to_thread(rooms.agreed_at, self._profile, str(folder))
        if self._fixed:
            agreed = 0 if absolute(self._used()) == folder else None
        told = {"folder": str(folder), "trigger": self._trigger, "agreed": agreed}
        return {**report, **told}

    async def caption(self, asked: WriteCaption) -> Result:
        """See :func:`fedtui.captioning.write_caption`."""
        folder = _existing(asked.folder)
        return await asyncio.to_thread(write_caption, folder, asked.file, asked.caption)

    async def name_captions(self, asked: NameCaptions) -> Result:
        """Result: ``{"captions": [{"file", "caption"}...], "missing"}``: of the first 200 pictures
        those that can be named so, and how many have no caption now. Raises :class:`FedtuiError`
        when one cannot be written; those before it are."""
        folder = _existing(asked.folder)
        plain = await self.look(folder)
        named = await self.look(folder, name_captions=True)
        missing = {each["file"] for each in plain["pictures"] if not each["caption"]}
        found = [
            {"file": each["file"], "caption": each["caption"]}
            for each in named["pictures"]
            if each["file"] in missing and each["caption"]
        ]
        for each in found if asked.write else ():
            await asyncio.to_thread(write_caption, folder, each["file"], each["caption"])
        return {"captions": found, "missing": int(plain["captions"].get("missing", 0))}

    async def look(self, folder: Path, *, name_captions: bool = False) -> Result:
        """A folder as training in this room would see it, see :class:`trainer.protocol.CheckData`.

        Without the model, its size may not be known: then no picture is called small.
        """
        options = replace(self._options, name_captions=name_captions)
        asked = CheckData(str(folder), self._resolution, options, self._model)
        try:
            return await self._arithmetic.request(asked)
        except FedtuiError:
            if not self._model:
                raise
        plain = CheckData(str(folder), LEAST, DataOptions(name_captions=name_captions))
        return {**await self._arithmetic.request(plain), "sides": None}

    async def exclude(self, asked: ExcludePicture) -> Result:
        """See :func:`fedtui.excluding.exclude`. A training on this folder begins anew, so that
        nothing more is sent that was learned from the picture."""
        # Whoever asked may be gone before the training has begun anew: it does so all the same.
        return await asyncio.shield(asyncio.create_task(self._exclude(asked)))

    async def _exclude(self, asked: ExcludePicture) -> Result:
        folder = _existing(asked.folder)
        async with self._listing:
            made = await asyncio.to_thread(exclude, folder, asked.file, asked.excluded)
            if self._excluded and self._used() and absolute(self._used()) == folder:
                await self._excluded(asked.excluded, int(made["count"]))
        return made

    async def choose(self, asked: ChooseFolder) -> Result:
        """Result: ``{"folder"}``. Raises :class:`UsageError` when that is decided elsewhere."""
        if self._fixed:
            raise UsageError(
                "the folder is set in the settings of this node",
                f"{self._profile.config} or FEDTUI_DATA names it",
                "change it there and start the node again",
            )
        if not asked.agreed:
            raise UsageError("nobody has agreed to it", "what leaves the machine must be shown")
        folder = _existing(asked.folder)
        rooms.write_state(self._profile, data=str(folder), agreed=int(time.time()))
        await self._use(str(folder))
        return {"folder": str(folder)}


def _existing(text: str) -> Path:
    folder = absolute(text)
    if not text.strip() or not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", remedy="type the path of one")
    return folder
