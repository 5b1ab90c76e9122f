"""The rooms a profile belongs to, as they lie on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.paths import Profile, RoomPaths
from fedtui.task import Task, read_task
from p2p.addresses import Address
from p2p.durable import publish
from p2p.envelope import Envelope, open_genesis
from p2p.errors import ProtocolError
from p2p.operations import Operation, read_payload
from p2p.room import Genesis
from p2p.text import clean_text

_ADAPTER = re.compile(r"round-(\d+)\.safetensors")


@dataclass(frozen=True)
class Joining:
    """What a lobby gave this machine beside the genesis; nothing in it is believed unchecked.

    ``operations`` changed the membership since the genesis, ``addresses`` say where members may
    be. ``head`` is the commit of round ``head_round`` that the inviter vouched for.
    """

    operations: tuple[str, ...] = ()
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inviter: str = ""
    head_round: int = 0
    head: str = ""


@dataclass(frozen=True)
class Room:
    """A room this profile has joined; ``id`` is 64 hexadecimal digits."""

    id: str
    envelope: Envelope
    genesis: Genesis
    task: Task
    paths: RoomPaths
    joining: Joining = Joining()

    @property
    def name(self) -> str:
        """What its founder called it, safe to show."""
        try:
            return clean_text(self.genesis.room_name)
        except ProtocolError:
            return self.id[:8]


def current(profile: Profile) -> Room:
    """The room a profile works for.

    Raises :class:`UsageError` when it has none, :class:`FedtuiError` when its files are damaged.
    """
    room_id = _state(profile).get("room")
    if not isinstance(room_id, str) or not room_id:
        raise UsageError(
            "this machine belongs to no room",
            f"{profile.root} has none",
            "make one with `fedtui room create NAME`, join one with `fedtui room join LINK`, or"
            " see a whole room on this machine with `fedtui demo`",
        )
    return load(profile, room_id)


def is_chosen(profile: Profile) -> bool:
    """Whether this profile works for a room at all."""
    return bool(_state(profile).get("room"))


def listed(profile: Profile) -> list[Room]:
    """Every room of a profile that can be read, by name."""
    found: list[Room] = []
    if profile.rooms.is_dir():
        for folder in profile.rooms.iterdir():
            with suppress(FedtuiError, ProtocolError):
                found.append(load(profile, folder.name))
    return sorted(found, key=lambda room: (room.name.casefold(), room.id))


def named(profile: Profile, name: str) -> Room:
    """The room with this name, or whose id begins so.

    Raises :class:`UsageError` when there is none or more than one.
    """
    rooms = listed(profile)
    fitting = [room for room in rooms if room.name.casefold() == name.casefold()]
    fitting = fitting or [room for room in rooms if len(name) >= 4 and room.id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(
        f"{'no' if not fitting else 'more than one'} room is called {name!r}",
        f"this machine has {', '.join(f'{r.name} ({r.id[:8]})' for r in rooms) or 'no room'}",
        "name one of them by its name or the beginning of its id",
    )


def use(profile: Profile, room: Room | None) -> None:
    """Makes a room the one that this profile works for; None: no room."""
    write_state(profile, room=room.id if room else "")


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
    task = read_task(genesis.plan.task)
    return Room(room_id, envelope, genesis, task, paths, _read_joining(paths))


def enter(profile: Profile, envelope: Envelope, joining: Joining | None = None) -> Room:
    """Writes a room into a profile and makes it the current one."""
    room = keep(profile, envelope, joining)
    use(profile, room)
    return room


def keep(profile: Profile, envelope: Envelope, joining: Joining | None = None) -> Room:
    """Writes a room into a profile, which goes on working for the one it works for."""
    paths = profile.room(envelope.id)
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if joining is not None:
        publish(paths.joining, json.dumps(asdict(joining)).encode())
    publish(paths.genesis, envelope.to_bytes())
    return load(profile, envelope.id)


def _read_joining(paths: RoomPaths) -> Joining:
    try:
        data = json.loads(paths.joining.read_bytes())
    except FileNotFoundError:
        return Joining()
    except (OSError, ValueError) as error:
        raise FedtuiError(
            f"{paths.joining} is damaged", str(error), "join the room again"
        ) from error
    addresses = {peer: tuple(texts) for peer, texts in data.pop("addresses").items()}
    return Joining(operations=tuple(data.pop("operations")), addresses=addresses, **data)


def read_operations(joining: Joining) -> tuple[Operation, ...]:
    """The changes of the membership that came with the admission; their signatures are checked
    by the peer. Raises :class:`ProtocolError` when one is malformed."""
    return tuple(read_payload(Operation, text.encode()) for text in joining.operations)


def read_addresses(joining: Joining) -> dict[str, tuple[Address, ...]]:
    """Where members may be. Raises :class:`ProtocolError` when an address is malformed."""
    return {peer: tuple(map(Address.parse, texts)) for peer, texts in joining.addresses.items()}


def contradiction(joining: Joining, commits: Mapping[int, str]) -> TrustError | None:
    """The error of a history (commit hashes by round) that is not the one the inviter vouched
    for, whoever has signed it. A history that is not that far yet contradicts nothing."""
    seen = commits.get(joining.head_round, joining.head)
    if not joining.head_round or seen == joining.head:
        return None
    return TrustError(
        "this is not the history that the inviter vouched for",
        f"round {joining.head_round} is {seen[:12]}…, the invite named {joining.head[:12]}…",
        "leave the room and speak with whoever invited you",
    )


def write_state(profile: Profile, **changes: Any) -> None:
    """Changes what the program remembers of this profile; the file is whole at every moment."""
    state = {**_state(profile), **changes}
    publish(profile.state, json.dumps(state, indent=1).encode())


def chosen_folder(profile: Profile) -> str:
    """The folder of pictures that was chosen on the screen; empty if none was."""
    folder = _state(profile).get("data")
    return folder if isinstance(folder, str) else ""


def agreed_at(profile: Profile, folder: str) -> int | None:
    """When a person agreed to train on this folder, in seconds since 1970; None if nobody did."""
    state = _state(profile)
    moment = state.get("agreed")
    return moment if state.get("data") == folder and isinstance(moment, int) else None


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
