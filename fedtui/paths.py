"""Where things lie. A profile is one directory: ``FEDTUI_HOME`` or the platform's data folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedtui.errors import TrustError, UsageError
from fedtui.limits import UNIX_SOCKET_PATH_BYTES

HOME_VARIABLE = "FEDTUI_HOME"


@dataclass(frozen=True)
class RoomPaths:
    """What a profile keeps of one room."""

    root: Path

    @property
    def identity(self) -> Path:
        """The key in this room, where it is not the profile's."""
        return self.root / "identity.key"

    @property
    def next_identity(self) -> Path:
        """A key that is to take the place of the one in use."""
        return self.root / "identity.next"

    @property
    def genesis(self) -> Path:
        """The room's signed founding document, as received."""
        return self.root / "genesis.json"

    @property
    def joining(self) -> Path:
        """What the lobby gave beside the genesis."""
        return self.root / "joining.json"

    @property
    def initial(self) -> Path:
        """The adapter every member started from."""
        return self.root / "initial.safetensors"

    @property
    def previews(self) -> Path:
        return self.root / "previews"

    @property
    def adapters(self) -> Path:
        """One committed adapter per round, ``round-0003.safetensors``."""
        return self.root / "adapters"

    def adapter(self, round_number: int) -> Path:
        return self.adapters / f"round-{round_number:04d}.safetensors"

    @property
    def contributions(self) -> Path:
        """What this node trained, one file per round."""
        return self.root / "contributions"

    def contribution(self, round_number: int) -> Path:
        return self.contributions / f"round-{round_number:04d}.safetensors"

    @property
    def exports(self) -> Path:
        """What a person asked to be written: grids of pictures, adapters for other programs."""
        return self.root / "exports"

    def blob(self, sha256: str) -> Path:
        """Where the bytes with this name lie, if they are here."""
        return self.root / "blobs" / sha256[:2] / sha256[2:]

    @property
    def personal(self) -> Path:
        """The layers that this member trains for itself."""
        return self.root / "personal.safetensors"

    @property
    def shared(self) -> Path:
        """Where this member has the pictures that the room shares."""
        return self.root / "shared.json"

    @property
    def history(self) -> Path:
        """Loss points and previews of earlier rounds, for the screen after a restart."""
        return self.root / "history.json"

    @property
    def statistics(self) -> Path:
        """How the rounds' results came about, as far as this node computed them."""
        return self.root / "statistics.json"

    @property
    def times(self) -> Path:
        """How long what took in the rounds, as this node saw it."""
        return self.root / "times.json"

    @property
    def left_out(self) -> Path:
        """Rounds that were combined again without one of their contributions."""
        return self.root / "left-out"

    @property
    def work(self) -> Path:
        """Files under construction; emptied when the node starts."""
        return self.root / "work"

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint"


@dataclass(frozen=True)
class Profile:
    """One participant's directory."""

    root: Path

    @property
    def identity(self) -> Path:
        return self.root / "identity.key"

    @property
    def config(self) -> Path:
        """The user's own settings; read, never rewritten."""
        return self.root / "config.toml"

    @property
    def state(self) -> Path:
        """What the program remembers between runs."""
        return self.root / "state.json"

    @property
    def interface(self) -> Path:
        """How the interface looks: what was chosen on its settings screen."""
        return self.root / "interface.json"

    @property
    def trust(self) -> Path:
        """Whom this profile has met and what it decided: one JSON object per line."""
        return self.root / "trust.jsonl"

    @property
    def lock(self) -> Path:
        return self.root / "node.lock"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "node.log"

    @property
    def trainer_log(self) -> Path:
        return self.root / "trainer.log"

    @property
    def downloads_log(self) -> Path:
        return self.root / "downloads.log"

    @property
    def arithmetic_log(self) -> Path:
        return self.root / "arithmetic.log"

    @property
    def rooms(self) -> Path:
        return self.root / "rooms"

    def room(self, room_id: str) -> RoomPaths:
        return RoomPaths(self.rooms / room_id)

    @property
    def shelf(self) -> Path:
        """Adapter files from elsewhere, for trying them beside the room's."""
        return self.root / "adapters"

    def cache(self, dataset: str) -> Path:
        """Where the trainer keeps what it computed from a folder of pictures."""
        return self.root / "cache" / hashlib.sha256(dataset.encode()).hexdigest()[:16]

    @property
    def pictures(self) -> Path:
        """What a person had drawn on this node, a folder for each time."""
        return self.root / "pictures"

    @property
    def control(self) -> Path:
        """The control socket; in the temporary folder where the profile's path is too long for one.

        The kernel limits a socket's path to about a hundred bytes, whatever the file system takes.
        """
        inside = self.root / "control.sock"
        if len(os.fsencode(inside)) <= UNIX_SOCKET_PATH_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:20]
        return Path(tempfile.gettempdir()) / f"fedtui-{_user()}" / f"{name}.sock"

    def create(self) -> None:
        """Makes the directory, readable by its owner only. Raises :class:`UsageError`."""
        for directory in (self.root, self.control.parent):
            make_private(directory)


def default_profile() -> Profile:
    """The profile this process works on."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Profile(Path(chosen).expanduser().absolute())
    import platformdirs

    return Profile(platformdirs.user_data_path("fedtui", appauthor=False))


def make_private(directory: Path) -> None:
    """Creates a directory only its owner may enter. Raises when it belongs to somebody else."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and directory.stat().st_uid != os.getuid():
            raise TrustError(
                f"{directory} belongs to another user",
                "a node keeps its identity and its control socket there",
                f"choose another place with {HOME_VARIABLE}",
            )
    except OSError as error:
        raise UsageError(
            f"cannot use {directory}",
            error.strerror or str(error),
            f"choose another place with {HOME_VARIABLE}",
        ) from error


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def absolute(text: str) -> Path:
    """A path that a person typed, from the root on; ``~`` is a home where there is such a user."""
    path = Path(text.strip())
    with suppress(RuntimeError):  # Nobody here has this name: it may be a file's.
        path = path.expanduser()
    return path.absolute()


def sha256_of(path: Path) -> str:
    """Of a file's bytes, hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
