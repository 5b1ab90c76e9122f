"""What participants take home when the rounds are over: one archive with all that is theirs.

==========================  =====================================================================
``README.txt``              what this is, how to use it, what to be careful about
``adapter.safetensors``     the newest committed adapter in kohya's format: ComfyUI, A1111
``adapter.fedtui.json``     its proof for ``fedtui verify``: genesis, commits, signatures
``pictures.png``            every prompt through the rounds; ``pictures/`` has one file for each
``rounds.csv``              who combined, how many contributed and signed, the result's hash
``contributors.csv``        who contributed to how many rounds
``losses.csv``              the training loss of the machine that wrote this
``events.txt``              what happened, as sentences
``SHA256SUMS``              of all the others
==========================  =====================================================================

Without names the members are numbered, and the proof, the fingerprints and the events, which cannot
do without names or keys, are left out.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtui import provenance
from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.events import QUIET, Event, sentence
from fedtui.paths import sha256_of
from fedtui.rooms import Room, committed_adapters, export_metadata
from fedtui.sheets import pictures_of, through_rounds
from fedtui.training import TrainerProcess
from fedtui.view import CommitView, NodeView, PreviewView
from p2p.identity import Identity
from p2p.joining.words import fingerprint_hex
from trainer.protocol import ExportAdapter

ADAPTER = "adapter.safetensors"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is computed by spreadsheets, and members choose their names."""
NAME_CHARS = 40
"""Of a room's name or a prompt, within a file's name."""
Rows = Iterable[Sequence[object]]


@dataclass(frozen=True)
class TakeHome:
    """``names`` False numbers the members and leaves out whatever names them."""

    names: bool = True


class Takeaway:
    """Adds its operation to a node's."""

    def __init__(
        self,
        room: Room,
        identity: Identity,
        arithmetic: TrainerProcess,
        *,
        view: Callable[[], NodeView],
        commits: Callable[[], Sequence[CommitView]],
        events: Callable[[], list[Event]],
        name_of: Callable[[str], str],
    ) -> None:
        self._room = room
        self._identity = identity
        self._arithmetic = arithmetic
        self._view = view
        self._commits = commits
        self._events = events
        self._name_of = name_of

    def offer(self, operations: Operations) -> None:
        """Makes the operation known."""
        operations.add("take_home", TakeHome, self.take_home)

    async def take_home(self, asked: TakeHome) -> Result:
        """Result: ``{"path", "bytes", "round", "files"}``.

        Raises :class:`UsageError` before the first commit, :class:`FedtuiError` when the disk or
        the worker refuses; then nothing is left behind, and an archive from before stays.
        """
        kept = await asyncio.to_thread(committed_adapters, self._room.paths)
        if not kept:
            raise UsageError(
                "there is nothing to take home yet",
                "no round of the room has been committed",
                "wait for the first one",
            )
        number = max(kept)
        try:
            return await self._packed(number, kept[number], names=asked.names)
        except OSError as error:
            raise FedtuiError(
                "what participants take home cannot be written",
                error.strerror or str(error),
                f"look at {self._room.paths.exports}",
            ) from error

    async def _packed(self, number: int, adapter: Path, *, names: bool) -> Result:
        paths = self._room.paths
        for folder in (paths.exports, paths.work):
            folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="take-home-", dir=paths.work))
        try:
            await self._adapter(number, adapter, work, names=names)
            await self._pictures(self._view().previews, work)
            out = paths.exports / f"{slug(self._room.name) or 'room'}-round-{number:04d}.zip"
            files = await asyncio.to_thread(self._finish, number, work, out, names=names)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        return {"path": str(out), "bytes": out.stat().st_size, "round": number, "files": files}

    async def _adapter(self, number: int, adapter: Path, work: Path, *, names: bool) -> None:
        metadata = export_metadata(self._room, number)
        request = ExportAdapter(
            str(adapter), str(work / ADAPTER), self._room.task.model, "kohya", metadata
        )
        made = await self._arithmetic.request(request)
        if names:
            await asyncio.to_thread(
                provenance.write,
                self._room, self._identity, number, work / ADAPTER, 0, float(made["error"]),
            )  # fmt: skip

    async def _pictures(self, previews: Sequence[PreviewView], work: Path) -> None:
        if not previews:
            return
        every = pictures_of(previews)
        await self._arithmetic.request(through_rounds(every, work / "pictures.png"))
        folder = work / "pictures"
        folder.mkdir()
        for place, recipe in enumerate(dict.fromkeys(key[1:] for key in every), 1):
            of_one = {key: path for key, path in every.items() if key[1:] == recipe}
            out = folder / f"{place:02d}-{slug(recipe[0])}.png"
            await self._arithmetic.request(through_rounds(of_one, out))

    def _finish(self, number: int, work: Path, out: Path, *, names: bool) -> list[str]:
        view, commits = self._view(), self._commits()
        told = self._named(view, commits) if names else numbered(view, commits)
        write_table(work / "rounds.csv", round_rows(commits, told))
        write_table(work / "contributors.csv", contributor_rows(commits, told, names=names))
        losses = [("round", "step", "loss"), *((p.round, p.step, p.loss) for p in view.losses)]
        write_table(work / "losses.csv", losses)
        if names:
            write_text(work / "events.txt", event_lines(self._events(), self._name_of))
        digest = sha256_of(work / ADAPTER)
        write_text(work / "README.txt", [readme(view, number, digest, names=names)])
        files = sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file())
        sums = [f"{sha256_of(work / name)}  {name}" for name in files]
        write_text(work / "SHA256SUMS", sums)
        files.append("SHA256SUMS")
        archive = work.with_suffix(".zip")
        try:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for name in files:
                    packed.write(work / name, f"{out.stem}/{name}")
            archive.replace(out)
        finally:
            archive.unlink(missing_ok=True)
        return files

    def _named(self, view: NodeView, commits: Sequence[CommitView]) -> dict[str, str]:
        return {peer: self._name_of(peer) for peer in everybody(view, commits)}


def everybody(view: NodeView, commits: Sequence[CommitView]) -> list[str]:
    """The ids of all who are in the room or have had a part in it."""
    past = (peer for c in commits for peer in (c.aggregator, *(i.peer for i in c.inputs)))
    return sorted({peer.id for peer in view.peers} | {peer for peer in past if peer})


def numbered(view: NodeView, commits: Sequence[CommitView]) -> dict[str, str]:
    """Members without their names."""
    return {peer: f"member {i}" for i, peer in enumerate(everybody(view, commits), 1)}


def round_rows(commits: Sequence[CommitView], told: Mapping[str, str]) -> Rows:
    """One row per committed round, oldest first."""
    yield ("round", "aggregator", "attempt", "contributions", "left out", "signed",
           "recomputed here", "result sha256")  # fmt: skip
    for c in commits:
        same = {None: "no", True: "equal", False: "DIFFERENT"}[c.recomputed]
        yield (c.round, told.get(c.aggregator, ""), c.attempt + 1, len(c.inputs), len(c.excluded),
               len(c.signers), same, c.result)  # fmt: skip


def contributor_rows(
    commits: Sequence[CommitView], told: Mapping[str, str], *, names: bool
) -> Rows:
    """Everybody whose contribution is in a committed round, the most frequent first."""
    yield ("contributor", "rounds", "pictures", *(["fingerprint"] if names else []))
    rounds = Counter(each.peer for c in commits for each in c.inputs)
    pictures = {each.peer: each.samples for c in commits for each in c.inputs}
    for peer, count in sorted(rounds.items(), key=lambda item: (-item[1], item[0])):
        name = told.get(peer, "")
        yield (name, count, pictures[peer], *([fingerprint_hex(peer)] if names else []))


def event_lines(events: Iterable[Event], name_of: Callable[[str], str]) -> Iterable[str]:
    """What happened, oldest first; what happens all the time is left out."""
    for event in events:
        if event["type"] not in QUIET:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["ts"]))
            yield f"{stamp}  {sentence(event, name_of)[0]}"


def readme(view: NodeView, number: int, digest: str, *, names: bool) -> str:
    """What the archive is, for somebody who was not there."""
    of = f" of {view.round.rounds}" if view.round.rounds else ""
    proof = (
        "adapter.fedtui.json proves it: `fedtui verify adapter.safetensors`.\n\n"
        "The members are named here. Ask them before you publish this.\n"
        if names
        else "The members' names, and the proof that names them, were left out.\n"
    )
    return (
        f"{view.room_name}: what was trained together, after round {number}{of}\n\n"
        f"adapter.safetensors changes how the model {view.model} draws. Put it where ComfyUI or\n"
        "A1111 look for LoRA files, or draw with it: fedtui generate PROMPT --lora"
        " adapter.safetensors\n\n"
        f"SHA-256 {digest}\nCombined by {view.combines_by}. {proof}\n"
        "pictures.png shows the same prompts from the same starting noise after each round.\n"
        "losses.csv is the training loss of the machine that wrote this: the mean of a round's\n"
        "steps so far; lower is better.\n\n"
        "An adapter can give away pictures that it was trained on to whoever may read it.\n"
    )


def slug(text: str) -> str:
    """What is left of a text as part of a file's name on any system."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:NAME_CHARS].strip("-")


def write_table(path: Path, rows: Rows) -> None:
    """A CSV file in which no cell is a formula."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([inert(cell) for cell in row] for row in rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


def inert(cell: object) -> object:
    """Text that a spreadsheet would compute gets an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Lines as a UTF-8 file; what is no character of it becomes a question mark."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
