"""Who belongs to the room, who waits at its door, how to let others in, and whom to believe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import BindingType

from fedtui.tui.elsewhere import Elsewhere
from fedtui.tui.keymap import ROOM_KEYS
from fedtui.tui.limits import INVITE_USES
from fedtui.tui.lines import Ink, plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.people import COLUMNS, Person, history_lines, member_of, person_lines, waiting_of
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.invite import InviteScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.live import Value
from fedtui.tui.screens.plan import PlanScreen
from fedtui.tui.screens.rights import RightsScreen, ThresholdScreen
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.table import Table
from fedtui.tui.wording import absent, count, short_id
from fedtui.view import ChangeView, NodeView

if TYPE_CHECKING:
    from fedtui.tui.app import FedtuiApp

EMPTY = "The members appear here."


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
        self._folder = ""
        self._elsewhere = Elsewhere(self)

    def look_again(self) -> None:
        """The members may have changed."""
        self.ask("members")

    def watch_feed(self) -> None:
        """Newcomers appear at the top; a changed membership is read anew."""
        self._elsewhere.watch()
        view = self.view
        if view is None:
            self.table.fill((), absent(self.feed))
            return
        seen = (view.room_id, tuple((peer.id, peer.role) for peer in view.peers))
        if seen != self._seen and self.is_current:
            self._seen = seen
            self.ask("members")
        self._fill(view)

    def _fill(self, view: NodeView) -> None:
        self.table.fill((*waiting_of(view), *self._members), absent(self.feed) or EMPTY)
        title: list[tuple[str, Ink]] = [
            ("Room ", "muted"),
            (plain(view.room_name), "strong"),
            (f"  {count(len(self._members or view.peers), 'member')}", "text"),
        ]
        if view.requests:
            title.append((f" · {len(view.requests)} at the door", "warning"))
        if view.changes:
            title.append((f" · {len(view.changes)} to be signed", "warning"))
        self.table.entitle(tuple(title))
        self.show_chosen()

    def on_answered(self, message: Answered) -> None:
        """Shows the members, an invite, or what was done."""
        result = message.result
        match message.operation:
            case "members":
                self._members = tuple(map(member_of, result["members"]))
                self._folder = plain(str(result.get("folder", "")))
            case "plan":
                self.app.push_screen(PlanScreen(result))
            case "leave":
                cast("FedtuiApp", self.app).say_farewell(farewell_words(result))
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
            case "remove" | "permit" | "promote" | "threshold" | "endorse":
                self.notify(done_words(message.operation, result), markup=False)
                self.ask("members")
            case "trust_history":
                self._history = list(result["events"])
            case _:
                self._elsewhere.answered(message)
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
            ("the fingerprint", person.fingerprint) if person.fingerprint else None,
        )

    # --- keys ------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys without an object are greyed."""
        person = self.table.selected
        if action in ("approve", "decline"):
            asked = bool(self.view and self.view.requests)
            return True if asked or (action == "approve" and self._unsigned()) else None
        if action in ("verify", "remove", "admin"):
            return True if person and person.member and not person.me else None
        if action == "rights":
            return True if person and person.member else None
        if action in ("plan", "leave", "rooms"):
            # A demo's room ends with its interface.
            owned = action != "plan" and cast("FedtuiApp", self.app).owns_room
            return False if owned else True if self.view and self.view.room_id else None
        return super().check_action(action, parameters)

    def action_invite(self, code: bool) -> None:
        """A link for many days and machines, or a code to say aloud."""
        if code:
            self.ask("invite", code=True)
        else:
            self.ask("invite", uses=INVITE_USES)

    def _unsigned(self) -> bool:
        return any(not change.mine for change in self.view.changes) if self.view else False

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
        elif self.view and self.view.changes:
            self.table.choose(self.view.changes[0].id)
            self.notify("Read what it changes, then press it again.", markup=False)
        return False

    def _answer(self, approve: bool) -> None:
        person = self.table.selected
        if person and person.request:
            self.ask("answer", id=person.request.request, approve=approve)

    def action_approve(self) -> None:
        """Lets the newcomer in; asks twice when the name belongs to another key. Signs a change."""
        person = self.table.selected
        if person and person.change:
            self._endorse(person.change)
            return
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

    def _endorse(self, change: ChangeView) -> None:
        if change.mine:
            told = f"You have signed this; {count(change.missing, 'admin')} more must."
            self.notify(told, markup=False)
            return
        question = ConfirmScreen(
            f"Sign what {change.author} asks for?",
            f"It would {plain(change.text)}.\n\nYour signature cannot be taken back.",
            "Sign",
        )

        def sign(agreed: bool | None) -> None:
            if agreed:
                self.ask("endorse", id=change.id)

        self.app.push_screen(question, sign)

    def action_rights(self) -> None:
        """What the member may do from now on."""
        person = self.table.selected
        if not person or not person.member:
            return

        def permit(changes: dict[str, Any] | None) -> None:
            if changes:
                self.ask("permit", peer=person.peer, **changes)

        self.app.push_screen(RightsScreen(person), permit)

    def action_admin(self) -> None:
        """Makes the member an admin, or takes that back."""
        person = self.table.selected
        if not person or not person.member or person.me:
            return
        is_one = person.role == "admin"
        question = ConfirmScreen(
            f"{'Take the admin role from' if is_one else 'Make an admin of'} {person.name}?",
            "It stays a member and keeps its other rights."
            if is_one
            else "Admins let machines in, remove them and give rights, in the name of the room.",
            "Take it" if is_one else "Make admin",
        )

        def promote(agreed: bool | None) -> None:
            if agreed:
                self.ask("promote", peer=person.peer, admin=not is_one)

        self.app.push_screen(question, promote)

    def action_threshold(self) -> None:
        """How many admins must sign a change from now on."""
        admins = sum(member.role == "admin" for member in self._members)

        def ask(wanted: int | None) -> None:
            if wanted:
                self.ask("threshold", admins=wanted)

        self.app.push_screen(ThresholdScreen(max(1, admins)), ask)

    def action_verify(self) -> None:
        """Marks the key as compared, or takes the mark back."""
        person = self.table.selected
        if person and person.member:
            self.ask("verify", peer=person.peer, verified=not person.verified)

    def action_remove(self) -> None:
        """Removes a member for good."""
        person = self.table.selected
        if not person or not person.member or person.me:
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

    def action_plan(self) -> None:
        """Shows what the room agreed on."""
        self.ask("plan")

    def action_leave(self) -> None:
        """Takes this machine out of the room, after a question."""
        view = self.view
        if view is None:
            return
        where = f" below {self._folder}" if self._folder else ""
        question = ConfirmScreen(
            f"Leave {plain(view.room_name) or 'the room'}?",
            "The others are told, and go on without this machine. What it contributed to committed "
            "rounds stays in the adapter; what it trains now is lost to them.\n\n"
            f"On this disk everything stays{where}: adapters, pictures, history. "
            "The node here stops. To come back takes a new invite.",
            "Leave",
        )

        def leave(agreed: bool | None) -> None:
            if agreed:
                self.ask("leave")

        self.app.push_screen(question, leave)

    def action_rooms(self) -> None:
        """The rooms of this machine, and the way to others."""
        self._elsewhere.open()

    def on_refused(self, message: Refused) -> None:
        """A room that cannot be left in good order, by its last admin say, can be left without
        telling; the base class says why it was refused."""
        if self._elsewhere.refused(message):
            message.prevent_default()
        if message.operation != "leave" or self.feed.lost:
            return
        alone = len(self._members) == 1
        question = ConfirmScreen(
            "Leave anyway?" if alone else "Leave without telling the others?",
            "Nobody else belongs to this room: it ends here."
            if alone
            else f"It was refused: {plain(message.cause or message.title)}.\n\n"
            "The others would see this machine as away, and go on as far as they can without it.",
            "Leave anyway",
        )

        def leave(agreed: bool | None) -> None:
            if agreed:
                self.ask("leave", anyway=True)

        self.app.push_screen(question, leave)

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
        yield ("the fingerprint", person.fingerprint) if person and person.fingerprint else None


def farewell_words(result: dict[str, Any]) -> str:
    """What stands in the terminal when the room has been left."""
    name = plain(str(result["name"]))
    if result.get("waits"):
        return (
            f"This machine leaves {name} with the round under way, because its vote is needed until"
            " then. Its node stops by itself."
        )
    told = "" if result["told"] else " The others have not been told."
    return (
        f"This machine has left {name}.{told} What it has of the room stays below "
        f"{plain(str(result['folder']))}. `fedtui` joins or makes another room."
    )


def done_words(operation: str, result: dict[str, Any]) -> str:
    """What has become of a change of the room."""
    if operation == "endorse":
        missing = int(result["missing"])
        left = f"{count(missing, 'admin')} more must sign" if missing else "it is in effect"
        return f"Signed; {left}: {plain(str(result['text']))}."
    if result.get("needs_others") or result.get("state") == "needs others":
        return "Asked for: it takes effect when enough other admins have signed it."
    name = plain(str(result.get("name", "")))
    match operation:
        case "remove":
            return f"{name} is no member any more."
        case "permit":
            return f"{name} is {plain(str(result['role']))} and may {rights_words(result['may'])}."
        case "promote":
            return f"The room has {count(len(result['admins']), 'admin')} now."
        case _:
            return f"{count(int(result['threshold']), 'admin')} must sign a change from now on."


def rights_words(may: list[str]) -> str:
    """What somebody is allowed beside watching."""
    return plain(", ".join(may)) or "only watch"
