"""The invites of one room, on disk: who may still come in, who came, how often was guessed.

Every change is a committed SQLite transaction before anything depends on it leaves the machine:
a guess is spent before its answer is computed and a use is taken before the admission is signed,
so that neither kill -9 nor parallel attempts give anybody more of them.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from p2p.errors import LimitError
from p2p.joining.code import MAX_NAMEPLATE, SpokenCode, parse_code
from p2p.joining.handshake import invite_id
from p2p.joining.link import SECRET_BYTES
from p2p.joining.refusals import Refusal
from p2p.limits import (
    CODE_GUESSES,
    MAX_INVITE_LIFETIME,
    MAX_INVITE_USES,
    MAX_OPEN_INVITES,
)
from p2p.room import Role
from p2p.store import open_database, translated

FILE_NAME: Final = "invites.sqlite"
State = Literal["open", "expired", "used_up", "revoked", "burnt"]
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS invites (
    id TEXT PRIMARY KEY, secret BLOB NOT NULL, nameplate INTEGER, role TEXT NOT NULL,
    auto INTEGER NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, uses INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 0, guesses INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS guests (
    invite TEXT NOT NULL, peer TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (invite, peer));
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_COLUMNS: Final = (
    "id, secret, nameplate, role, auto, created, expires, uses, used, guesses, revoked"
)


@dataclass(frozen=True)
class Guest:
    """Somebody who came in by an invite; ``at`` is Unix time."""

    peer: str
    name: str
    at: float


@dataclass(frozen=True)
class Invite:
    """An invite as its room keeps it. Times are Unix seconds by this machine's clock.

    ``guesses`` counts tries at a code that have not proved right.
    """

    id: str
    secret: bytes = field(repr=False)
    nameplate: int | None
    role: Role
    auto_approve: bool
    created: float
    expires: float
    uses: int
    used: int
    guesses: int
    revoked: bool
    guests: tuple[Guest, ...] = ()

    @property
    def code(self) -> SpokenCode | None:
        """The spoken code; None for a link."""
        if self.nameplate is None:
            return None
        return parse_code(f"{self.nameplate}-{self.secret.decode()}")

    def has_guest(self, peer: str) -> bool:
        """Whether ``peer`` has taken one of its uses."""
        return any(guest.peer == peer for guest in self.guests)

    def state(self, now: float) -> State:
        if self.revoked:
            return "revoked"
        if self.guesses >= CODE_GUESSES:
            return "burnt"
        if self.used >= self.uses:
            return "used_up"
        return "expired" if now >= self.expires else "open"


class NotUsable(Exception):
    """An invite that lets nobody in now; ``reason`` says why."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason: Refusal = reason


def check_bounds(uses: int, lifetime: float) -> None:
    """Raises :class:`LimitError` for an invite that no book would make; ``lifetime`` in seconds."""
    if not 1 <= uses <= MAX_INVITE_USES:
        raise LimitError(
            f"an invite admits 1 to {MAX_INVITE_USES} machines",
            remedy="Make several invites for more machines.",
        )
    if not 0 < lifetime <= MAX_INVITE_LIFETIME:
        raise LimitError(
            "an invite lives for more than no time and at most a year",
            remedy="Say for example 90s, 10m, 2h or 1d.",
        )


class InviteBook:
    """The invites in ``directory``; several processes and threads may use the same one.

    ``clock`` gives Unix seconds.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = directory / FILE_NAME
        self._clock = clock
        self._turn = threading.Lock()
        with translated(self._path):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = open_database(self._path, _SCHEMA)

    def close(self) -> None:
        with self._turn:
            self._database.close()

    # --- making and listing ------------------------------------------------------------------
    def create_link(
        self, *, uses: int, lifetime: float, role: Role = "participant", auto_approve: bool = False
    ) -> Invite:
        """A new invite with a 128-bit secret.

        Raises:
            LimitError: too many uses, too long, or too many invites are open.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        return self._create(invite_id(secret), secret, None, uses, lifetime, role, auto_approve)

    def create_code(
        self, *, lifetime: float, role: Role = "participant", auto_approve: bool = False
    ) -> Invite:
        """A new invite to be read out; it admits one machine.

        Raises:
            LimitError: too long, or too many invites are open.
        """
        with self._changing():
            taken = {invite.nameplate for invite in self._open_invites()}
        free = [n for n in range(1, MAX_NAMEPLATE + 1) if n not in taken]
        # Short numbers while there are some: they are spoken and typed.
        nameplate = secrets.choice(free[:90])
        code = SpokenCode.random(nameplate)
        name = secrets.token_hex(16)
        return self._create(name, code.password, nameplate, 1, lifetime, role, auto_approve)

    def invites(self) -> list[Invite]:
        """All invites, oldest first."""
        with translated(self._path), self._turn:
            return list(self._select("1"))

    def open_invites(self) -> list[Invite]:
        """Those that can let somebody in now, oldest first."""
        with translated(self._path), self._turn:
            return self._open_invites()

    def revoke(self, id_prefix: str) -> list[Invite]:
        """Withdraws the invites whose id begins so, or whose nameplate it is; returns them."""
        with self._changing():
            chosen = [
                invite
                for invite in self._select("revoked = 0")
                if invite.id.startswith(id_prefix) or str(invite.nameplate) == id_prefix
            ]
            for invite in chosen:
                self._database.execute("UPDATE invites SET revoked = 1 WHERE id = ?", (invite.id,))
            return chosen

    # --- using -------------------------------------------------------------------------------
    def by_link(self, id_: str, peer: str) -> Invite:
        """The invite of a link for ``peer`` to prove its secret.

        Raises:
            NotUsable: unknown, or it lets nobody (else) in.
        """
        with self._changing():
            return self._usable(self._one("id = ? AND nameplate IS NULL", id_), peer)

    def guess(self, nameplate: int, peer: str) -> Invite:
        """Spends one guess at a code and gives the invite to compare with: durable on return.

        Raises:
            NotUsable: unknown, burnt, or it lets nobody (else) in. Nothing is spent then.
        """
        with self._changing():
            # Newest first: nameplates are used again once their invites are closed.
            query = "nameplate = ? ORDER BY rowid DESC LIMIT 1"
            invite = self._usable(self._one(query, nameplate), peer)
            self._database.execute(
                "UPDATE invites SET guesses = guesses + 1 WHERE id = ?", (invite.id,)
            )
            return self._one("id = ?", invite.id)

    def guessed_right(self, id_: str) -> None:
        """Gives back the guess that turned out to be the code."""
        with self._changing():
            self._database.execute(
                "UPDATE invites SET guesses = guesses - 1 WHERE id = ? AND guesses > 0", (id_,)
            )

    def take_use(self, id_: str, peer: str, name: str) -> None:
        """Counts ``peer`` as a guest of the invite; a second time for the same peer is free.

        Raises:
            NotUsable: the invite was revoked or used up meanwhile. Expiry does not matter any
                more: who proved the secret in time may wait for a person to say yes.
        """
        with self._changing():
            invite = self._one("id = ?", id_)
            if invite.has_guest(peer):
                return
            state = invite.state(self._clock())
            if state in {"revoked", "burnt", "used_up"}:
                raise NotUsable(cast(Refusal, state))
            self._database.execute("UPDATE invites SET used = used + 1 WHERE id = ?", (id_,))
            self._database.execute(
                "INSERT INTO guests VALUES (?, ?, ?, ?)", (id_, peer, name, self._clock())
            )

    def return_use(self, id_: str, peer: str) -> None:
        """Takes a guest back who could not be admitted after all."""
        with self._changing():
            gone = self._database.execute(
                "DELETE FROM guests WHERE invite = ? AND peer = ?", (id_, peer)
            )
            self._database.execute(
                "UPDATE invites SET used = used - ? WHERE id = ?", (gone.rowcount, id_)
            )

    # --- the lobby's port --------------------------------------------------------------------
    @property
    def port(self) -> int:
        """The port that links were printed with; 0 before the first."""
        with translated(self._path), self._turn:
            row = self._database.execute("SELECT value FROM facts WHERE name = 'port'").fetchone()
        return int(row[0]) if row else 0

    @port.setter
    def port(self, port: int) -> None:
        with self._changing():
            self._database.execute("INSERT OR REPLACE INTO facts VALUES ('port', ?)", (port,))

    # --- inside ------------------------------------------------------------------------------
    def _create(
        self,
        id_: str,
        secret: bytes,
        nameplate: int | None,
        uses: int,
        lifetime: float,
        role: Role,
        auto_approve: bool,
    ) -> Invite:
        check_bounds(uses, lifetime)
        now = self._clock()
        with self._changing():
            if len(self._open_invites()) >= MAX_OPEN_INVITES:
                raise LimitError(
                    f"{MAX_OPEN_INVITES} invites are open",
                    remedy="Withdraw some: `fedtui room invites`, `fedtui room revoke ID`.",
                )
            row = (id_, secret, nameplate, role, auto_approve, now, now + lifetime, uses)
            self._database.execute(
                "INSERT INTO invites (id, secret, nameplate, role, auto, created, expires, uses)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return self._one("id = ?", id_)

    def _open_invites(self) -> list[Invite]:
        now = self._clock()
        return [invite for invite in self._select("1") if invite.state(now) == "open"]

    def _usable(self, invite: Invite, peer: str) -> Invite:
        """Raises NotUsable unless the invite is open, or ``peer`` has come in by it already: it
        may have missed the answer, and asks again."""
        state = invite.state(self._clock())
        returning = invite.has_guest(peer)
        if state == "open" or (returning and state in {"used_up", "expired"}):
            return invite
        raise NotUsable(cast(Refusal, state))

    def _one(self, where: str, *values: object) -> Invite:
        for invite in self._select(where, *values):
            return invite
        raise NotUsable("unknown")

    def _select(self, where: str, *values: object) -> Iterator[Invite]:
        order = "" if "ORDER BY" in where else " ORDER BY rowid"
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM invites WHERE {where}{order}", values
        ).fetchall()
        for row in rows:
            id_, secret, nameplate, role, auto, *times_and_counts, revoked = row
            created, expires, uses, used, guesses = times_and_counts
            guests = self._database.execute(
                "SELECT peer, name, at FROM guests WHERE invite = ? ORDER BY rowid", (id_,)
            ).fetchall()
            yield Invite(
                id=id_,
                secret=secret,
                nameplate=nameplate,
                role=role,
                auto_approve=bool(auto),
                created=created,
                expires=expires,
                uses=uses,
                used=used,
                guesses=guesses,
                revoked=bool(revoked),
                guests=tuple(Guest(*guest) for guest in guests),
            )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One transaction that others see whole, and that is on the disk when it ends."""
        with translated(self._path), self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
