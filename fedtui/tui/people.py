"""Who is in the room or wants something of it: rows of a table, and what is told of one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fedtui.tui.facts import fact, heading, said
from fedtui.tui.lines import Ink, Line, keyed, listed, plain, wrapped
from fedtui.tui.widgets.table import Column, one
from fedtui.tui.wording import NOTHING, clock, count, short_id
from fedtui.view import ChangeView, NodeView, RequestView

ALONE = "You are alone in this room. i makes a link that lets others in, I a code to say aloud."
COMPARE = (
    "Compare these six words with those on the other person's screen, by voice or side by side. "
    "v marks that they are the same. It means: this key is that person's."
)


@dataclass(frozen=True)
class Person:
    """A row: a member; with ``request`` somebody who waits to be let in; with ``change`` what other
    admins have still to sign. ``may`` lists what a member is allowed beside watching."""

    peer: str
    name: str
    role: str
    fingerprint: str
    words: tuple[str, ...]
    me: bool = False
    verified: bool = False
    may: tuple[str, ...] = ()
    request: RequestView | None = None
    change: ChangeView | None = None

    @property
    def member(self) -> bool:
        """Whether somebody belongs to the room already."""
        return self.request is None and self.change is None


def member_of(told: dict[str, Any]) -> Person:
    """A member as the node tells of it."""
    return Person(
        told["peer"],
        told["name"],
        told["role"],
        told["fingerprint"],
        tuple(told["words"]),
        told["me"],
        told["verified"],
        tuple(told.get("may", ())),
    )


def waiting_of(view: NodeView) -> tuple[Person, ...]:
    """Those at the door, then the changes that wait for signatures."""
    asked = [
        Person(r.peer, r.name, r.role, r.fingerprint, r.words, request=r) for r in view.requests
    ]
    wanted = [Person(c.id, c.text, "change", "", (), change=c) for c in view.changes]
    return (*asked, *wanted)


def name_cell(person: Person, width: int) -> Line:
    """The name, and which one is me."""
    mine = " (you)" if person.me else ""
    ink: Ink = "strong" if person.me else "text" if person.member else "warning"
    return one(f"{plain(person.name)}{mine}", width, ink)


def trust_cell(person: Person, width: int) -> Line:
    """Whether anybody has compared the key, or what is asked of me."""
    if person.change:
        return one("signed" if person.change.mine else "! TO SIGN", width, "warning")
    if person.request:
        return one("! WAITS", width, "warning")
    if person.me:
        return one("this machine", width, "muted")
    return one("✓ verified", width, "ok") if person.verified else one("○ new", width, "muted")


COLUMNS: tuple[Column[Person], ...] = (
    Column("name", 0, 14, 24, name_cell),
    Column("trust", 1, 12, 12, trust_cell),
    Column("role", 2, 11, 11, lambda p, w: one(p.role, w, "muted")),
    Column("words", 3, 40, 60, lambda p, w: one(" ".join(p.words), w, "faint")),
)


def person_lines(view: NodeView, person: Person, alone: bool, width: int) -> list[Line]:
    """Who somebody says to be, and what can be compared."""
    lines: list[Line] = [*wrapped(ALONE, width - 1, "accent"), ()] if alone else []
    if person.change:
        return change_lines(person.change, width)
    if person.request:
        asked = person.request
        lines += wrapped(f"{plain(person.name)} asks to be let in as {plain(person.role)}.", width)
        lines.append(keyed("`a` lets in   `x` sends away"))
        if asked.namesake:
            told = (
                f"Careful: {plain(person.name)} is the name of another key "
                f"({short_id(asked.namesake)})."
            )
            lines += [(), *wrapped(told, width - 1, "error")]
        lines += [(), *said("from", plain(asked.address), width)]
        lines += said("waits", clock(asked.waiting_s), width)
    else:
        lines.append(fact("role", ((plain(person.role), "text"),)))
        lines += said("may", ", ".join(person.may) or "only watch", width)
        lines.append(fact("trust", trust_cell(person, 12)))
    lines += [(), heading("Fingerprint"), *wrapped(plain(person.fingerprint), width - 1)]
    lines += [(), heading("The same in six words")]
    lines += wrapped(" ".join(map(plain, person.words)) or NOTHING, width - 1, "strong")
    if person.me:
        lines += [
            (),
            *wrapped("Read these words aloud when somebody verifies you.", width, "muted"),
        ]
    else:
        lines += [(), *wrapped(COMPARE, width - 1, "muted")]
    return [*lines, (), *policy_lines(view, width)]


def change_lines(change: ChangeView, width: int) -> list[Line]:
    """What an admin asks the others to sign."""
    lines = wrapped(f"{plain(change.author)} asks to {plain(change.text)}.", width - 1, "strong")
    lines += [(), *said("signed by", listed(change.signed), width)]
    lines += said("needs", f"{count(change.missing, 'signature')} more", width)
    lines += said("forgotten", f"with the commit of round {change.last_round}", width, "muted")
    if change.mine:
        return [*lines, (), *wrapped("You have signed it.", width, "ok")]
    return [*lines, (), keyed("`a` signs it, after a question")]


def policy_lines(view: NodeView, width: int) -> list[Line]:
    """What the room has agreed on."""
    now = view.round
    lines: list[Line] = [(*heading("The room's plan"), ("  p shows all of it", "muted"))]
    lines += said("model", plain(view.model), width)
    lines += said("combines by", plain(view.combines_by), width)
    if view.shared:
        lines += said("shares", plain(view.shared), width)
    if now.rounds:
        lines += said("rounds", str(now.rounds), width)
    if now.voters:
        lines += said("quorum", f"{now.quorum} of {len(now.voters)} voters", width)
    return lines + said("room id", view.room_id, width, "muted")


def history_lines(events: list[dict[str, Any]], width: int) -> list[Line]:
    """Trust events, newest first."""
    if not events:
        return [*wrapped("Nothing has happened yet.", width, "muted")]
    lines: list[Line] = []
    for event in reversed(events):
        stamp = time.strftime("%m-%d %H:%M", time.localtime(float(event["ts"])))
        bad = event["event"] in ("impostor", "removed", "declined")
        ink: Ink = "warning" if bad else "text"
        words = f"{plain(str(event['event']))} {plain(str(event['name']))}"
        lines.append(((f"{stamp}  ", "faint"), (words, ink)))
    return lines
