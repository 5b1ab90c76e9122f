"""Making and showing invites, with a running node or without one."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedtui.errors import ExitCode, FedtuiError, UsageError
from fedtui.settings import Settings
from p2p.addresses import Address
from p2p.discovery import own_addresses
from p2p.errors import LimitError, NetworkError, P2PError, TrustError
from p2p.joining.invites import Invite, InviteBook, check_bounds
from p2p.joining.link import InviteLink
from p2p.limits import CODE_LIFETIME, LINK_LIFETIME

_EVERYWHERE = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class InviteChoices:
    """What an admin decides about an invite. ``expires_s`` None: a day for a link, ten minutes for
    a code, which always admits one machine."""

    uses: int = 1
    expires_s: float | None = None
    code: bool = False
    auto_approve: bool = False
    role: Literal["participant", "observer"] = "participant"

    @property
    def lifetime_s(self) -> float:
        """How long it can be used, in seconds."""
        if self.expires_s is not None:
            return self.expires_s
        return CODE_LIFETIME if self.code else LINK_LIFETIME


@dataclass(frozen=True)
class GuestView:
    """Somebody who came in; ``at`` is Unix time."""

    peer: str
    name: str
    at: float


@dataclass(frozen=True)
class InviteView:
    """An invite as commands and screens show it: with its link or code to the room's admin only.

    Times are Unix seconds. ``addresses`` are where it can be used.
    """

    id: str
    kind: Literal["link", "code"]
    text: str = field(repr=False)
    state: str
    uses: int
    used: int
    expires: float
    role: str
    auto_approve: bool
    addresses: tuple[str, ...] = ()
    guests: tuple[GuestView, ...] = ()

    @property
    def short(self) -> str:
        """Enough to name it to a command."""
        return self.id[:8]


@dataclass(frozen=True)
class Place:
    """What an invite says of the room beside its secret. ``head`` is the commit of
    ``head_round`` that newcomers may rely on."""

    room: str
    inviter: str
    addresses: tuple[Address, ...]
    head_round: int
    head: str


def check(choices: InviteChoices) -> None:
    """Raises :class:`UsageError` for choices that do not do."""
    if choices.code and choices.uses != 1:
        raise UsageError(
            "a spoken code admits one machine",
            f"{choices.uses} uses were asked for",
            "make a link for several, or one code each",
        )
    try:
        check_bounds(choices.uses, choices.lifetime_s)
    except LimitError as error:
        raise _impossible(error) from error


def issue(book: InviteBook, choices: InviteChoices) -> Invite:
    """A new invite. Raises :class:`UsageError` for choices that do not do, and when too many are
    open."""
    check(choices)
    lifetime = choices.lifetime_s
    try:
        if choices.code:
            return book.create_code(
                lifetime=lifetime, role=choices.role, auto_approve=choices.auto_approve
            )
        return book.create_link(
            uses=choices.uses,
            lifetime=lifetime,
            role=choices.role,
            auto_approve=choices.auto_approve,
        )
    except LimitError as error:
        raise _impossible(error) from error


def _impossible(error: LimitError) -> UsageError:
    return UsageError("there can be no such invite", error.cause, error.remedy)


def shown(invite: Invite, place: Place) -> InviteView:
    """An invite with the text that is passed on."""
    code = invite.code
    link = InviteLink(
        room=place.room,
        inviter=place.inviter,
        secret=invite.secret,
        addresses=place.addresses,
        expires_ms=max(0, int(invite.expires * 1000)),
        uses=invite.uses,
        head_round=place.head_round,
        head=place.head,
    ) if code is None else None  # fmt: skip
    return InviteView(
        id=invite.id,
        kind="link" if code is None else "code",
        text=str(link or code),
        state=invite.state(time.time()),
        uses=invite.uses,
        used=invite.used,
        expires=invite.expires,
        role=invite.role,
        auto_approve=invite.auto_approve,
        addresses=tuple(map(str, place.addresses)),
        guests=tuple(GuestView(guest.peer, guest.name, guest.at) for guest in invite.guests),
    )


def lobby_addresses(settings: Settings, port: int) -> tuple[Address, ...]:
    """Where others may reach a lobby of this machine."""
    if settings.host in _EVERYWHERE:
        hosts: Sequence[str] = own_addresses(settings.interfaces or None)
    else:
        hosts = [settings.host]
    family = ipaddress.ip_address(settings.host).version
    return tuple(Address.checked(host, port) for host in hosts if _travels(host, family))


def _travels(host: str, family: int) -> bool:
    """Whether an address makes sense elsewhere: a link-local one does on one wire only, and of
    the other family than the lobby's nobody listens."""
    ip = ipaddress.ip_address(host)
    return ip.version == family and not ip.is_link_local


def reserved_port(book: InviteBook, host: str) -> int:
    """The port the lobby will have: the one of earlier links, or a free one that is kept."""
    if not book.port:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, 0))
            except OSError as error:
                raise UsageError(f"cannot listen on {host}", str(error)) from error
            book.port = int(probe.getsockname()[1])
    return book.port


def translated(error: P2PError) -> FedtuiError:
    """A peer's error with the exit code of its family."""
    code = ExitCode.FAILED
    if isinstance(error, TrustError):
        code = ExitCode.TRUST
    elif isinstance(error, NetworkError):
        code = ExitCode.NETWORK
    return FedtuiError(error.title, error.cause, error.remedy, code=code)
