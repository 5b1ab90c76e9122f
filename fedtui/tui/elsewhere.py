"""From the room on the screen to another one: what is asked, what it means, and how far it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from textual.timer import Timer

from fedtui.room_plan import RoomPlan
from fedtui.tui.limits import FIELD_CHARS, JOURNEY_POLL_S, ROOM_NAME_CHARS
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.founding import FoundingScreen
from fedtui.tui.screens.line import LineScreen
from fedtui.tui.screens.rooms import JourneyScreen, OwnRoom, RoomsChoice, RoomsScreen

if TYPE_CHECKING:
    from fedtui.tui.screens.live import LiveScreen

JOURNEYS = frozenset({"make_room", "enter_room", "switch"})
"""Operations after which this machine is on its way."""
NAMING = (
    "The others see it. What the room agrees on is asked next.\n\nenter goes on, esc stays here."
)
INVITED = (
    "The link (fedtui:…), the spoken code (7-river-candy-bronze), or a file that holds one. "
    "Somebody there has to let this machine in.\n\nenter goes on, esc stays here."
)


class Elsewhere:
    """What the room's screen does about other rooms."""

    def __init__(self, screen: LiveScreen) -> None:
        self._screen = screen
        self._journey: JourneyScreen | None = None
        self._bound = ""
        self._timer: Timer | None = None

    def open(self) -> None:
        """Lists the rooms of this machine, and listens for others meanwhile."""
        self._screen.ask("rooms")
        self._screen.ask("rooms_nearby")

    def answered(self, message: Answered) -> None:
        """Takes what the node says of rooms."""
        result, top = message.result, self._screen.app.screen
        match message.operation:
            case "rooms":
                if top is self._screen:
                    self._screen.app.push_screen(RoomsScreen(result), self._choose)
            case "rooms_nearby":
                if isinstance(top, RoomsScreen):
                    top.tell_nearby(int(result["count"]))
            case "make_room" | "enter_room" | "switch":
                self._follow(result)
            case "arriving":
                self._tell(result)
            case "stay":
                self._stayed(bool(result["stayed"]))

    def refused(self, message: Refused) -> bool:
        """Whether a refusal is told here; a node that starts anew is silent for a while."""
        if message.operation == "rooms_nearby":
            if isinstance(top := self._screen.app.screen, RoomsScreen):
                top.tell_nearby(None)
            return True
        return message.operation == "arriving"

    def watch(self) -> None:
        """Ends the journey when the node works for the other room."""
        view, lost = self._screen.view, self._screen.feed.lost
        if self._bound and view is not None and not lost and view.room_id == self._bound:
            self._end()
            told = f"This machine works for {plain(view.room_name)} now."
            self._screen.notify(told, markup=False)

    # --- what a person wants ---------------------------------------------------------------------
    def _choose(self, choice: RoomsChoice | None) -> None:
        push = self._screen.app.push_screen
        match choice:
            case RoomsChoice("use", OwnRoom() as room):
                self._use(room)
            case RoomsChoice("make", _):
                asked = LineScreen("What is the room called?", NAMING, "a name", ROOM_NAME_CHARS)
                push(asked, self._plan)
            case RoomsChoice("join", _):
                asked = LineScreen("Which invite?", INVITED, "fedtui:…", FIELD_CHARS)
                push(asked, self._join)

    def _use(self, room: OwnRoom) -> None:
        if room.active:
            self._screen.notify(f"This machine works for {room.name} already.", markup=False)
            return
        self._confirm(
            f"Work for {room.name} from now on?", "Work for it", "switch", {"room": room.id}
        )

    def _plan(self, name: str | None) -> None:
        if not name:
            return

        def planned(plan: RoomPlan | None) -> None:
            if plan is not None:
                wanted = {"room": name, **asdict(plan)}
                self._confirm(
                    f"Make {name}, and work for it?", "Make the room", "make_room", wanted
                )

        self._screen.app.push_screen(FoundingScreen(name, RoomPlan()), planned)

    def _join(self, invite: str | None) -> None:
        if invite:
            asked = "Ask to be let in, and work for that room?"
            self._confirm(asked, "Ask", "enter_room", {"invite": invite})

    def _confirm(self, question: str, yes: str, operation: str, wanted: dict[str, Any]) -> None:
        view = self._screen.view
        if view is None:
            return
        here = plain(view.room_name) or "this room"
        folder = (
            f"There it trains on the folder that was chosen here, {plain(view.dataset)}: key 5 "
            "changes that."
            if view.dataset
            else "No folder is chosen, so it only watches there: key 5 chooses one."
        )

        def go(agreed: bool | None) -> None:
            if agreed:
                self._screen.ask(operation, **wanted)

        told = (
            f"This machine then stops working for {here}: the others see it as away, it trains "
            "and votes there no more until you come back (key 8, o). It stays a member, and all "
            f"it has of {here} stays on this disk. What it trains now is lost.\n\n{folder}"
        )
        self._screen.app.push_screen(ConfirmScreen(question, told, yes), go)

    # --- the way ---------------------------------------------------------------------------------
    def _follow(self, told: dict[str, Any]) -> None:
        told = {"step": "done", **told}
        self._end()
        self._journey = JourneyScreen(told)
        self._bound = str(told["room"]) if told["switching"] else ""
        self._screen.app.push_screen(self._journey, self._stay)
        self._timer = self._screen.set_interval(JOURNEY_POLL_S, self._poll)

    def _poll(self) -> None:
        if not self._bound:
            self._screen.ask("arriving")

    def _tell(self, told: dict[str, Any]) -> None:
        if self._journey is None:
            return
        if told["step"] == "failed":
            self._end()
            parts = (str(told[part]) for part in ("title", "cause", "remedy"))
            self._screen.post_message(Refused("arrival", *parts))
        elif told["step"] == "done" and not told["switching"]:
            self._end()
            name = plain(str(told["name"]))
            self._screen.notify(f"This machine works for {name} already.", markup=False)
        else:
            self._bound = str(told["room"]) if told["switching"] else ""
            self._journey.tell(told)

    def _stay(self, wanted: bool | None) -> None:
        if wanted:
            self._end()
            self._screen.ask("stay")

    def _stayed(self, stayed: bool) -> None:
        told = "This machine stays here." if stayed else "It is too late: the node starts anew."
        self._screen.notify(told, markup=False)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        if self._journey is not None and self._journey.is_current:
            self._journey.dismiss()
        self._timer, self._journey, self._bound = None, None, ""
