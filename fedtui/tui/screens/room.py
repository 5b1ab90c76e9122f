"""Who belongs to the room, who waits at its door, how to let others in, and whom to believe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fedtui.tui.facts import fact, heading, said
from fedtui.tui.keymap import ROOM_KEYS, key
from fedtui.tui.lines import Ink, Line, plain, wrapped
from fedtui.tui.look import Look
from fedtui.tui.messages import Answered
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.live import Value, copy
from fedtui.tui.widgets.qr import QR
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.table import Column, Table, one
from fedtui.tui.wording import NOTHING, clock, count, short_id
from fedtui.view import NodeView, RequestView

EMPTY = "The members appear here."
ALONE = "You are alone in this room. i makes a link that lets others in, I a code to say aloud."
COMPARE = (
    "Compare these six words with those on the other person's screen, by voice or side by side. "
    "v marks that they are the same. It means: this key is that person's."
)


@dataclass(frozen=True)
class Person:
    """A row: a member, or with ``request`` somebody who waits to be let in."""

    peer: str
    name: str
    role: str
    fingerprint: str
    words: tuple[str, ...]
    me: bool = False
    verified: bool = False
    request: RequestView | None = None


def name_cell(person: Person, width: int) -> Line:
    """The name, and which one is me."""
    mine = " (you)" if person.me else ""
    ink: Ink = "warning" if person.request else "strong" if person.me else "text"
    return one(f"{plain(person.name)}{mine}", width, ink)


def trust_cell(person: Person, width: int) -> Line:
    """Whether anybody has compared the key."""
    if person.request:
        return one("! WAITS", width, "warning")
    if person.me:
        return one("this machine", width, "muted")
    return one("✓ verified", width, "ok") if person.verified else one("○ new", width, "muted")


COLUMNS: tuple[Column[Person], ...] = (
    Column("name", 0, 14, 28, name_cell),
    Column("trust", 1, 12, 12, trust_cell),
    Column("role", 2, 11, 11, lambda p, w: one(p.role, w, "muted")),
    Column("words", 3, 20, 60, lambda p, w: one(" ".join(p.words), w, "faint")),
)


class RoomScreen(ListScreen):
    """People at the left, one of them at the right."""

    PLACE = "room"
    BINDINGS: ClassVar[list[BindingType]] = ROOM_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Person] = Table(COLUMNS, lambda p: p.peer, empty=EMPTY, id="people")
        self.sheet = Sheet(id="person")
        self._members: tuple[Person, ...] = ()
        self._history: list[dict[str, Any]] | None = None
        self._seen: object = None

    def on_screen_resume(self) -> None:
        """The members may have changed."""
        self.ask("members")

    def watch_feed(self) -> None:
        """Newcomers appear at the top; a changed membership is read anew."""
        view = self.view
        if view is None:
            return
        seen = tuple((peer.id, peer.role) for peer in view.peers)
        if seen != self._seen and self.is_current:
            self._seen = seen
            self.ask("members")
        self._fill(view)

    def _fill(self, view: NodeView) -> None:
        waiting = tuple(
            Person(r.peer, r.name, r.role, r.fingerprint, r.words, request=r) for r in view.requests
        )
        self.table.fill((*waiting, *self._members), EMPTY)
        title: list[tuple[str, Ink]] = [
            ("Room ", "muted"),
            (plain(view.room_name), "strong"),
            (f"  {count(len(self._members or view.peers), 'member')}", "text"),
        ]
        if waiting:
            title.append((f" · {len(waiting)} at the door", "warning"))
        self.table.entitle(tuple(title))
        self.show_chosen()

    def on_answered(self, message: Answered) -> None:
        """Shows the members, an invite, or what was done."""
        result = message.result
        match message.operation:
            case "members":
                self._members = tuple(
                    Person(
                        m["peer"],
                        m["name"],
                        m["role"],
                        m["fingerprint"],
                        tuple(m["words"]),
                        m["me"],
                        m["verified"],
                    )
                    for m in result["members"]
                )
            case "invite":
                self.app.push_screen(InviteScreen(result))
            case "answer":
                done = "is let in" if result["approved"] else "was sent away"
                self.notify(f"{plain(str(result['name']))} {done}.", markup=False)
                self.ask("members")
            case "verify":
                done = "is marked as verified" if result["verified"] else "is not verified any more"
                self.notify(f"{plain(str(result['name']))} {done}.", markup=False)
                self.ask("members")
            case "remove":
                name, state = plain(str(result["name"])), plain(str(result["state"]))
                self.notify(f"{name}: {state}.", markup=False)
                self.ask("members")
            case "trust_history":
                self._history = list(result["events"])
        if self.view:
            self._fill(self.view)

    def on_table_moved(self, message: Table.Moved) -> None:
        """The person under the cursor, not what happened before; the base class shows it."""
        self._history = None

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        view, person = self.view, self.table.selected
        if self._history is not None:
            history = self._history
            self.sheet.entitle((("Trust", "muted"),))
            self.sheet.show(lambda width: history_lines(history, width))
            return
        if view is None or person is None:
            self.sheet.show(lambda width: [])
            return
        self.sheet.entitle(((plain(person.name), "strong"),))
        alone = len(self._members) == 1 and not view.requests
        self.sheet.show(
            lambda width: person_lines(view, person, alone, width),
            ("the fingerprint", person.fingerprint),
        )

    # --- keys ------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys without an object are greyed."""
        person = self.table.selected
        if action in ("approve", "decline"):
            return True if self.view and self.view.requests else None
        if action in ("verify", "remove"):
            return True if person and not person.request and not person.me else None
        return super().check_action(action, parameters)

    def action_invite(self, code: bool) -> None:
        """A link for many days and machines, or a code to say aloud."""
        if code:
            self.ask("invite", code=True)
        else:
            self.ask("invite", uses=INVITE_USES)

    def _at_the_door(self) -> bool:
        """Whether the cursor is on a newcomer; if not, it goes there, so that one sees who it is
        before one answers."""
        person = self.table.selected
        if person and person.request:
            return True
        waiting = next((row for row in self.table.rows if row.request), None)
        if waiting is not None:
            self.table.choose(waiting.peer)
            self.notify("Compare the six words, then press it again.", markup=False)
        return False

    def _answer(self, approve: bool) -> None:
        person = self.table.selected
        if person and person.request:
            self.ask("answer", id=person.request.request, approve=approve)

    def action_approve(self) -> None:
        """Lets the newcomer in; asks twice when the name belongs to another key."""
        if not self._at_the_door():
            return
        person = self.table.selected
        assert person is not None
        assert person.request is not None
        if not person.request.namesake:
            self._answer(True)
            return
        question = ConfirmScreen(
            f"Let {person.name} in?",
            f"A member with another key is called {person.name} too "
            f"({short_id(person.request.namesake)}).\n\n"
            "That is what an impostor looks like, and what a machine looks like that was set up "
            "anew. Speak with the person first.",
            "Let in",
        )
        self.app.push_screen(question, lambda yes: self._answer(True) if yes else None)

    def action_decline(self) -> None:
        """Sends the newcomer away."""
        if self._at_the_door():
            self._answer(False)

    def action_verify(self) -> None:
        """Marks the key as compared, or takes the mark back."""
        person = self.table.selected
        if person and not person.request:
            self.ask("verify", peer=person.peer, verified=not person.verified)

    def action_remove(self) -> None:
        """Removes a member for good."""
        person = self.table.selected
        if not person or person.request or person.me:
            return
        question = ConfirmScreen(
            f"Remove {person.name} from the room?",
            "Its key never gets in again, and the others hear of it. What it contributed to "
            "committed rounds stays in the adapter.",
            "Remove",
        )

        def remove(agreed: bool | None) -> None:
            if agreed:
                self.ask("remove", peer=person.peer)

        self.app.push_screen(question, remove)

    def action_history(self) -> None:
        """What has happened that concerns whom to believe."""
        if self._history is not None:
            self._history = None
            self.show_chosen()
        else:
            self.ask("trust_history")

    def copy_values(self) -> Iterator[Value | None]:
        """The fingerprint of the person under the cursor."""
        person = self.table.selected
        yield ("the fingerprint", person.fingerprint) if person else None


AROUND = 13
"""Lines of the invite's dialog beside its picture."""
INVITE_USES = 32
"""A link of a workshop admits so many machines."""


def person_lines(view: NodeView, person: Person, alone: bool, width: int) -> list[Line]:
    """Who somebody says to be, and what can be compared."""
    lines: list[Line] = [*wrapped(ALONE, width - 1, "accent"), ()] if alone else []
    if person.request:
        asked = person.request
        lines += wrapped(f"{plain(person.name)} asks to be let in as {plain(person.role)}.", width)
        lines += [
            (("a", "accent"), (" lets in   ", "muted"), ("x", "accent"), (" sends away", "muted"))
        ]
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


def policy_lines(view: NodeView, width: int) -> list[Line]:
    """What the room has agreed on."""
    now = view.round
    lines: list[Line] = [heading("The room's plan")]
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


class InviteScreen(ModalScreen[None]):
    """An invite as text and as a picture for phones and cameras."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q,enter", "close", "Close", "Close the invite", "invite.close"),
        key("y", "copy", "Copy", "Copy the invite", "invite.copy"),
    ]

    def __init__(self, invite: dict[str, Any]) -> None:
        super().__init__()
        self._invite = invite

    def compose(self) -> ComposeResult:
        """The command, the code, and until when."""
        invite = self._invite
        text = plain(str(invite["text"]))
        look: Look = getattr(self.app, "look", Look())
        until = time.strftime("%H:%M on %d %B", time.localtime(float(invite["expires"])))
        uses = count(int(invite["uses"]), "machine")
        with Vertical(id="dialog", classes="invite"):
            yield Static(Content("Others join with"), id="question")
            yield Static(Content(f"fedtui room join {text}"), id="consequences")
            if invite["kind"] == "link" and look.characters != "ascii":
                code = QR(text)
                if self.app.size.height >= code.lines + AROUND:
                    yield code
                else:
                    told = f"A window of {code.lines + AROUND} lines shows it as a QR code, too."
                    yield Static(Content(told), id="too-low")
            asked = "without asking you" if invite["auto_approve"] else "after you say yes"
            told = f"For {uses}, {asked}, until {until}.  y copies, esc closes."
            yield Static(Content(told), id="until")

    def action_close(self) -> None:
        """Back to the room."""
        self.dismiss()

    def action_copy(self) -> None:
        """Copies the whole command."""
        copy(self, "the command", f"fedtui room join {self._invite['text']}")
