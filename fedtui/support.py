"""``fedtui support``: one file to send along with a question, with nothing private in it.

What describes the program is kept; what describes people is not: no name, identity, address, path,
caption, prompt or picture. JSON is filtered by what may stay (numbers, and text under known keys),
log lines by what must go. Members appear as ``member-1``, ``member-2``, the same in all files.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedtui import __version__, doctor
from fedtui.control.client import ControlClient, NoNode
from fedtui.errors import UsageError
from fedtui.limits import SUPPORT_EVENTS, SUPPORT_LOG_BYTES
from fedtui.paths import Profile
from fedtui.settings import Settings
from fedtui.view import to_json

SAFE_KEYS = frozenset(
    {
        "type", "state", "phase", "role", "device", "level", "verdict", "before", "version",
        "algorithm", "grade", "stage", "kind", "node",
    }
)  # fmt: skip
"""Keys whose text is chosen by this program; all other text is left out."""
PRIVATE_SETTINGS = frozenset({"name", "data", "host", "interfaces", "seeds"})
REMOVED = "…"

_PEER = re.compile(r"\b[a-z2-7]{52}\b")
_HASH = re.compile(r"\b[0-9a-f]{24,64}\b")
_IP = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[?(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}\]?")
_PATH = re.compile(r"(?:~|[A-Za-z]:\\|/)[^\s'\",;]*[/\\][^\s'\",;]*")
_HOST = re.compile(r"\b[\w-]+(?:\.[\w-]+)+:\d{1,5}\b")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class Redaction:
    """One bundle's way of hiding: the same member has the same stand-in everywhere."""

    def __init__(self, members: Iterable[tuple[str, str]]) -> None:
        """``members`` are (peer id, name)."""
        self._stand_ins: dict[str, str] = {}
        self._names: list[tuple[str, str]] = []
        for number, (peer, name) in enumerate(members, 1):
            self._stand_ins[peer] = f"member-{number}"
            if name:
                self._names.append((name, f"member-{number}"))
        # Longest first: a name may be part of another.
        self._names.sort(key=lambda pair: -len(pair[0]))

    def value(self, data: Any, key: str = "") -> Any:
        """JSON data with text left out unless its key is safe or it is a member's identity."""
        if isinstance(data, Mapping):
            return {self._key(str(k)): self.value(v, str(k)) for k, v in data.items()}
        if isinstance(data, list | tuple):
            return [self.value(item, key) for item in data]
        if isinstance(data, str):
            if data in self._stand_ins:
                return self._stand_ins[data]
            return self.line(data) if key in SAFE_KEYS else (REMOVED if data else "")
        return data

    def line(self, text: str) -> str:
        """A line of a log without identities, hashes, addresses, paths, names and quotations."""
        for peer, stand_in in self._stand_ins.items():
            text = text.replace(peer, stand_in)
        for pattern in (_PEER, _PATH, _IP, _HOST, _HASH, _QUOTED):
            text = pattern.sub(REMOVED, text)
        for name, stand_in in self._names:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", stand_in, text)
        return text

    def _key(self, key: str) -> str:
        return self._stand_ins.get(key, self.line(key))


async def write(profile: Profile, settings: Settings, out: Path, *, trainer: bool) -> list[str]:
    """Writes the bundle; returns the names of the files in it.

    Raises :class:`UsageError` when ``out`` exists or cannot be written.
    """
    view: dict[str, Any] = {}
    members: list[tuple[str, str]] = []
    try:
        async with ControlClient(profile.control) as client:
            node = await client.view()
            events = [event async for event in client.events()]
        members = [(peer.id, peer.name) for peer in node.peers]
        members.append(("", node.room_name))
        view = to_json(node)
    except NoNode:
        events = list(_past_events(profile.events))
    hidden = Redaction(members)
    checks = [asdict(check) async for check in doctor.examine(profile, settings, trainer=trainer)]
    files = {
        "about.json": {"fedtui": __version__, "node": bool(view)},
        "doctor.json": [
            check | {"said": hidden.line(check["said"]), "remedy": hidden.line(check["remedy"])}
            for check in checks
        ],
        "settings.json": {
            name: bool(value) if name in PRIVATE_SETTINGS else value
            for name, value in settings.model_dump(mode="json").items()
        },
        "view.json": hidden.value(view),
        "events.json": [hidden.value(event) for event in events[-SUPPORT_EVENTS:]],
    }
    texts = {name: json.dumps(data, indent=1) + "\n" for name, data in files.items()}
    for name, path in (("node.log", profile.log), ("trainer.log", profile.trainer_log)):
        if path.exists():
            texts[name] = "\n".join(hidden.line(line) for line in _last_lines(path)) + "\n"
    try:
        with zipfile.ZipFile(out, "x", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in texts.items():
                bundle.writestr(name, text)
    except FileExistsError as error:
        raise UsageError(f"{out} exists already", remedy="name another file") from error
    except OSError as error:
        raise UsageError(f"cannot write {out}", error.strerror or "") from error
    return list(texts)


def _past_events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in _last_lines(path):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the line a crash cut off
        if isinstance(event, dict):
            yield event


def _last_lines(path: Path) -> list[str]:
    """The end of a text file, whole lines."""
    with path.open("rb") as file:
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - SUPPORT_LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return lines[1:] if size > SUPPORT_LOG_BYTES else lines
