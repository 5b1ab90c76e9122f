"""The rooms a profile belongs to, as they lie on disk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedtui.errors import FedtuiError, UsageError
from fedtui.paths import Profile, RoomPaths
from fedtui.task import Task, read_task
from p2p.envelope import Envelope, open_genesis
from p2p.room import Genesis

_ADAPTER = re.compile(r"round-(\d+)\.safetensors")


@dataclass(frozen=True)
class Room:
    """A room this profile has joined; ``id`` is 64 hexadecimal digits."""

    id: str
    envelope: Envelope
    genesis: Genesis
    task: Task
    paths: RoomPaths


def current(profile: Profile) -> Room:
    """The room a profile works for.

    Raises :class:`UsageError` when it has none, :class:`FedtuiError` when its files are damaged.
    """
    room_id = _state(profile).get("room")
    if not isinstance(room_id, str) or not room_id:
        raise UsageError(
            "this machine belongs to no room",
            f"{profile.root} has none",
            "see a whole room on this machine with `fedtui demo`",
        )
    return load(profile, room_id)


def load(profile: Profile, room_id: str) -> Room:
    """Reads a room's genesis and checks that it is the room its folder is named after."""
    paths = profile.room(room_id)
    try:
        envelope = open_genesis(paths.genesis.read_bytes())
        genesis = Genesis.model_validate_json(envelope.payload)
    except OSError as error:
        raise FedtuiError(f"cannot read {paths.genesis}", error.strerror or str(error)) from error
    except ValidationError as error:
        raise FedtuiError(f"{paths.genesis} is damaged", str(error)) from error
    if envelope.id != room_id:
        raise FedtuiError(f"{paths.genesis} is damaged", "it is the genesis of another room")
    return Room(room_id, envelope, genesis, read_task(genesis.plan.task), paths)


def enter(profile: Profile, envelope: Envelope) -> Room:
    """Writes a room into a profile and makes it the current one."""
    paths = profile.room(envelope.id)
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.genesis.write_bytes(envelope.to_bytes())
    write_state(profile, room=envelope.id)
    return load(profile, envelope.id)


def write_state(profile: Profile, **changes: Any) -> None:
    """Changes what the program remembers of this profile; the file is whole at every moment."""
    state = {**_state(profile), **changes}
    draft = profile.state.with_suffix(".draft")
    draft.write_text(json.dumps(state, indent=1), encoding="utf-8")
    draft.replace(profile.state)


def committed_adapters(paths: RoomPaths) -> dict[int, Path]:
    """The adapters kept on disk, by round."""
    found: dict[int, Path] = {}
    if paths.adapters.is_dir():
        for path in paths.adapters.iterdir():
            if match := _ADAPTER.fullmatch(path.name):
                found[int(match[1])] = path
    return found


def export_metadata(room: Room, round_number: int) -> dict[str, str]:
    """What an exported adapter says about its origin."""
    return {
        "fedtui_room": room.id,
        "fedtui_room_name": room.genesis.room_name,
        "fedtui_round": str(round_number),
        "fedtui_algorithm": room.genesis.plan.algorithm,
        "fedtui_model_sha256": room.task.model_sha256,
    }


def _state(profile: Profile) -> dict[str, Any]:
    try:
        state = json.loads(profile.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FedtuiError(
            f"{profile.state} is damaged", str(error), "restore it, or move it away and join again"
        ) from error
    return state if isinstance(state, dict) else {}
