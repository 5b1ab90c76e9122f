"""Joining a room: from a link, a code or a file to a room on disk that a node can start with."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedtui import rooms
from fedtui.errors import FedtuiError, UsageError
from fedtui.inviting import translated
from fedtui.keys import identity_in, keep
from fedtui.limits import INVITE_FILE_BYTES
from fedtui.paths import Profile
from fedtui.settings import Settings
from fedtui.task import read_task
from fedtui.trust import TrustBook
from p2p.addresses import Address
from p2p.envelope import Envelope
from p2p.errors import P2PError, ProtocolError
from p2p.identity import Identity
from p2p.joining.code import SpokenCode, looks_like_code, parse_code
from p2p.joining.joiner import Joined, Joiner, Step
from p2p.joining.link import SCHEME, InviteLink, parse_link
from p2p.joining.refusals import InviteRefused, NotNow, Unreachable
from p2p.room import Genesis
from p2p.text import clean_text

_LIKE_A_FILE = re.compile(r"(?!fedtui:)[^\s]{0,200}[/\\.][^\s]{1,200}", re.IGNORECASE)
"""Neither links nor codes have a slash or a dot in them."""

OnStep = Callable[[Step, tuple[str, ...]], None]


@dataclass(frozen=True)
class Entry:
    """What came of joining. ``words`` stood on the inviter's screen, too; ``was_member``: the
    profile had the room already, and nobody was asked."""

    room: rooms.Room
    inviter: str = ""
    words: tuple[str, ...] = ()
    was_member: bool = False


def read_invite(text: str) -> InviteLink | SpokenCode:
    """The invite that a person typed, pasted, or has in a file.

    Raises :class:`UsageError` saying what is wrong with it.
    """
    text = text.strip()
    try:
        if text[: len(SCHEME)].lower() != SCHEME and (file := _file(text)) is not None:
            text = file.read_text(encoding="utf-8", errors="replace")[:INVITE_FILE_BYTES].strip()
        elif _LIKE_A_FILE.fullmatch(text):
            raise UsageError(
                f"there is no file {text}",
                "nor is this a link or a code",
                "name a file that `fedtui room invite --out` wrote",
            )
        if looks_like_code(text):
            return parse_code(text)
        return parse_link(text)
    except OSError as error:
        raise UsageError(f"cannot read {text}", error.strerror or str(error)) from error
    except ProtocolError as error:
        raise UsageError(
            "this is no invite",
            error.cause,
            "paste the whole link (fedtui:…), type the code (7-river-candy-bronze), or name a"
            " file that `fedtui room invite --out` wrote"
            if type(error).remedy == error.remedy
            else error.remedy,
        ) from error


def _file(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def own_name(settings: Settings, chosen: str = "") -> str:
    """What the others will call this machine's owner. Raises :class:`UsageError`."""
    try:
        return clean_text(chosen or settings.name or getpass.getuser())
    except (ProtocolError, OSError, KeyError) as error:
        raise UsageError("a name needs a visible character", remedy="say --as NAME") from error


async def enter(
    profile: Profile,
    settings: Settings,
    invite: InviteLink | SpokenCode,
    *,
    name: str = "",
    observe: bool = False,
    at: tuple[Address, ...] = (),
    ask_again: bool = True,
    on_step: OnStep = lambda *_: None,
) -> Entry:
    """Joins a room and makes it the profile's current one.

    A room that the profile has already is asked, too, because this machine may have left it or
    have been removed; where nobody can be asked, and without ``ask_again``, it is a member.

    Raises :class:`FedtuiError` with the words for what went wrong; nothing has changed then.
    """
    profile.create()
    known = _known(profile, invite)
    try:
        identity = (
            Identity.load_or_create(profile.identity)
            if known is None
            else identity_in(profile, known.paths)
        )
        if known is not None and (not ask_again or identity.peer_id in known.genesis.admins):
            return _again(profile, known)
        joiner = Joiner(
            identity,
            own_name(settings, name),
            role="observer" if observe else "participant",
            on_step=on_step,
        )
        if isinstance(invite, InviteLink):
            joined = await joiner.by_link(invite, interfaces=settings.interfaces or None)
        else:
            joined = await joiner.by_code(
                invite, addresses=at, interfaces=settings.interfaces or None
            )
    except P2PError as error:
        if known is not None and _leaves_it_open(error):
            return _again(profile, known)
        raise translated(error) from error
    genesis = _understood(joined.genesis)
    if isinstance(invite, InviteLink):
        vouched = (invite.head_round, invite.head)
    else:
        vouched = (joined.head_round, joined.head)
    room = rooms.enter(profile, joined.genesis, _record(joined, *vouched))
    keep(profile, room.paths, identity)
    _remember(TrustBook(profile.trust), joined, genesis)
    return Entry(room, joined.inviter, joined.words)


def _known(profile: Profile, invite: InviteLink | SpokenCode) -> rooms.Room | None:
    """The room of a link, where the profile has it; a code does not say which room it is for."""
    if isinstance(invite, InviteLink) and profile.room(invite.room).genesis.is_file():
        return rooms.load(profile, invite.room)
    return None


def _again(profile: Profile, room: rooms.Room) -> Entry:
    rooms.use(profile, room)
    return Entry(room, was_member=True)


def _leaves_it_open(error: P2PError) -> bool:
    """Whether this machine may be a member all the same: the invite is at fault, or the network."""
    if isinstance(error, InviteRefused):
        return error.reason in {"unknown", "expired", "used_up", "revoked", "other_room"}
    return isinstance(error, NotNow | Unreachable)


def _understood(envelope: Envelope) -> Genesis:
    """The genesis, if this version can work for such a room: asked before anything is written."""
    try:
        genesis = Genesis.model_validate_json(envelope.payload)
    except ValidationError as error:
        raise FedtuiError(
            "the room is not one this version understands",
            f"{error.error_count()} parts of its genesis are unknown",
            "update fedtui, or ask the room's admin which version they use",
        ) from error
    read_task(genesis.plan.task)
    return genesis


def _record(joined: Joined, head_round: int, head: str) -> rooms.Joining:
    return rooms.Joining(
        operations=joined.operations,
        addresses={peer: tuple(map(str, known)) for peer, known in joined.addresses.items()},
        inviter=joined.inviter,
        head_round=head_round,
        head=head,
    )


def _remember(trust: TrustBook, joined: Joined, genesis: Genesis) -> None:
    """The inviter's key was checked by the invite: he is the first one this profile knows."""
    names = {member.peer_id: member.name for member in genesis.members}
    inviter = names.get(joined.inviter, joined.inviter[:8])
    trust.note("joined", joined.inviter, inviter, room=joined.room, detail=" ".join(joined.words))
