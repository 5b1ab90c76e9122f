"""For a projector: who is in, where the round stands, and the same picture before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Digits

from fedtui.recipes import Recipe, recipes
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import WALL_KEYS
from fedtui.tui.limits import INVITE_USES, WALL_SLIDE_S
from fedtui.tui.lines import (
    Line,
    centred,
    cut,
    cut_words,
    joined,
    keyed,
    left,
    listed,
    spread,
    width_of,
    wrapped,
)
from fedtui.tui.messages import Answered
from fedtui.tui.screens.invite import InviteScreen
from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.themes import WALL
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.picturerow import Caption
from fedtui.tui.widgets.sizeplate import SizePlate
from fedtui.tui.wording import (
    AGGREGATOR,
    clock,
    count,
    loss,
    must_agree,
    name_of,
    names_by_id,
    peer_sign,
    phase_sign,
    short_id,
)
from fedtui.view import NodeView, PeerView

if TYPE_CHECKING:
    from fedtui.tui.app import FedtuiApp

REFUSED = 3
"""So many of those who could not join are told of, with the reason."""
HIDDEN = "hidden"
NAME = 16
STATE = 10


class WallTitle(Drawn):
    """The room, and how it does."""

    DEFAULT_CSS = "WallTitle { height: 1; padding: 0 2; }"

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line."""
        return [title_line(feed, width)]


class WallState(Drawn):
    """What happens now, in a few large words' worth of lines."""

    DEFAULT_CSS = "WallState { width: 2fr; padding: 0 2; }"
    nameless = False
    acts = True

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """Phase, tallies, aggregator; at the end what can be done if anything can."""
        if feed.view is None:
            return []
        lines = state_lines(feed.view, width, nameless=self.nameless)
        if feed.view.round.phase == "DONE" and self.acts:
            lines.append(keyed("`e` packs what to take home"))
        return lines


class WallPeers(Drawn):
    """A thick bar per participant."""

    DEFAULT_CSS = "WallPeers { width: 3fr; padding: 0 2; }"
    nameless = False

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """As many as fit; the rest are counted."""
        if feed.view is None:
            return []
        return peer_lines(feed.view.peers, width, height, nameless=self.nameless)


class WallScreen(LiveScreen):
    """Nothing here changes anything but an invite; nothing moves but the bars and the slideshow."""

    PLACE = "wall"
    BINDINGS: ClassVar[list[BindingType]] = WALL_KEYS
    AUTO_FOCUS: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self._state, self._peers, self._digits = WallState(), WallPeers(), Digits("")
        self._before, self._after = Picture(), Picture()
        self._captions = (Caption(), Caption())
        self._prompt_line = Caption()
        self._prompt = 0
        self._frozen = False
        self._kept_theme = ""

    def compose(self) -> ComposeResult:
        """Room, round and members above, the same picture before and after below."""
        feed = WallScreen.feed
        yield SizePlate()
        yield WallTitle().data_bind(feed)
        with Horizontal(id="wall-now"):
            yield self._digits
            yield self._state.data_bind(feed)
            yield self._peers.data_bind(feed)
        with Horizontal(id="wall-pair"):
            for picture, caption in zip((self._before, self._after), self._captions, strict=True):
                with Vertical():
                    yield picture
                    yield caption
        yield self._prompt_line

    def on_mount(self) -> None:
        """As it was left: names that were hidden stay hidden. Starts the slideshow."""
        self._state.acts = not cast("FedtuiApp", self.app).observe
        if self.remembered("names"):
            self.action_names()
        if self.remembered("pictures"):
            self.action_pictures()
        self.set_interval(WALL_SLIDE_S, self._next_slide)

    def on_screen_resume(self) -> None:
        """High contrast while it is on show."""
        if self.app.theme != WALL.name:
            self._kept_theme, self.app.theme = self.app.theme, WALL.name

    def on_screen_suspend(self) -> None:
        """The person's own colours again."""
        if self._kept_theme:
            self.app.theme, self._kept_theme = self._kept_theme, ""

    def watch_feed(self) -> None:
        """The round's number and the newest picture."""
        view = self.view
        if view is None:
            return
        self._digits.update(str(view.round.number or len(view.peers)))
        self._show_pictures()

    def _next_slide(self) -> None:
        if not self._frozen and self.is_current:
            self.action_prompt(1)

    def _show_pictures(self) -> None:
        every = recipes(self.view) if self.view else ()
        if not every:
            self._prompt_line.show((("Pictures appear here when the first are drawn.", "muted"),))
            return
        recipe: Recipe = every[self._prompt % len(every)]
        first, last = recipe.pictures[0], recipe.pictures[-1]
        self._before.show(first.path)
        self._after.show(last.path)
        named = (
            (f"before: {first.moment}" if first.round == 0 else first.moment),
            (last.moment if last.round else "not trained yet"),
        )
        for caption, words in zip(self._captions, named, strict=True):
            caption.show(((words, "strong"),))
        width = max(10, self._prompt_line.size.width - 4)
        frozen = "  (still)" if self._frozen else ""
        self._prompt_line.show(((cut_words(recipe.prompt, width) + frozen, "muted"),))

    def action_prompt(self, step: int) -> None:
        """Another prompt."""
        self._prompt += step
        self._show_pictures()

    def action_invite(self) -> None:
        """A link for many machines, as a command and as a QR code."""
        self.ask("invite", uses=INVITE_USES)

    def on_answered(self, message: Answered) -> None:
        """Shows the invite."""
        if message.operation == "invite":
            self.app.push_screen(InviteScreen(message.result))

    @property
    def named(self) -> bool:
        """Whoever hides the names on the wall wants them nowhere."""
        return not self._state.nameless

    def action_freeze(self) -> None:
        """Stops or goes on with the slideshow."""
        self._frozen = not self._frozen
        self._show_pictures()

    def action_names(self) -> None:
        """Hides or shows names, for a picture of the room."""
        self._state.nameless = self._peers.nameless = not self._peers.nameless
        self.remember("names", "" if self.named else HIDDEN)
        self._state.redraw()
        self._peers.redraw()

    def action_pictures(self) -> None:
        """Hides or shows the pictures."""
        pair = self.query_one("#wall-pair")
        pair.display = self._prompt_line.display = not pair.display
        self.remember("pictures", "" if pair.display else HIDDEN)

    async def action_back(self) -> None:
        """Back to where it was opened, unless this window is only a wall."""
        app = cast("FedtuiApp", self.app)
        if not app.wall:
            await super().action_back()


def title_line(feed: Feed, width: int) -> Line:
    """The room's name, its size and, if the node is gone, that."""
    view = feed.view
    if view is None:
        return ((f"waiting for the node… {feed.lost}", "muted"),)
    here = sum(peer.state not in ("LOST", "LEFT") for peer in view.peers)
    start = joined(
        [
            ((cut(view.room_name or "no room yet", 32), "strong"),),
            ((f"{here} of {count(len(view.peers), 'member')} here", "text"),),
        ]
    )
    end: Line = (("✗ the node is gone", "error"),) if feed.lost else ()
    if not end:
        values = [peer.loss for peer in view.peers if peer.loss is not None]
        if values:
            mean = sum(values) / len(values)
            end = (
                ("members' loss ", "muted"),
                (loss(mean), "strong"),
                (" mean", "muted"),
                (f" ({loss(min(values))} to {loss(max(values))})", "muted"),
            )
    return spread(start, end, width)


def state_lines(view: NodeView, width: int, *, nameless: bool) -> list[Line]:
    """The phase, how far it is, and on whom it hangs."""
    now, names = view.round, names_by_id(view)

    def name(peer: str) -> str:
        return "somebody" if nameless else names.get(peer, short_id(peer))

    if not now.number:
        refused = [event.text for event in view.events if event.type == "join.refused"]
        return [
            ((f"{count(len(view.peers), 'member')} joined", "strong"),),
            *(line for why in refused[-REFUSED:] for line in wrapped(why, width, "warning")),
        ]
    sign = phase_sign(now.phase)
    of = f" of {now.rounds}" if now.rounds else ""
    number: Line = ((f"round {now.number}{of}", "strong"),)
    took = f"  {clock(now.elapsed_s)}" if now.phase not in ("DONE", "IDLE") else ""
    phase: Line = ((f"{sign.glyph} {sign.word}", sign.ink), (took, "text"))
    lines = [(*number, ("  ", "text"), *phase)]
    if width_of(lines[0]) > width:
        lines = [number, phase]
    if now.phase == "DONE":
        return [*lines, ((f"{count(now.rounds, 'round')} trained together", "text"),)]
    if now.expected:
        lines.append(((f"{now.contributions} of {now.expected} contributions", "text"),))
    if now.quorum:
        agreed = max(now.prepares, now.commits)
        told = f"{agreed} of {now.quorum} agree" if agreed else must_agree(now)
        lines.append(((told, "text"),))
    if now.aggregator:
        again = f", attempt {now.attempt + 1}" if now.attempt else ""
        lines.append(((f"{AGGREGATOR} {name(now.aggregator)} combines{again}", "strong"),))
    if now.waiting_for:
        told = listed(name(peer) for peer in now.waiting_for)
        lines.append(((f"waiting for {told}", "warning"),))
    return lines


def peer_lines(
    peers: tuple[PeerView, ...], width: int, height: int, *, nameless: bool
) -> list[Line]:
    """Name, state and a bar; those who are gone last."""
    gone = ("LOST", "LEFT")
    row = sorted(peers, key=lambda peer: peer.state in gone)
    shown = row if len(row) <= height else row[: height - 1]
    bar = max(0, width - NAME - STATE - 4)
    lines: list[Line] = []
    for i, peer in enumerate(shown):
        sign = peer_sign(peer)
        share = 1.0 if peer.state in ("SENT", "UPLOAD") else peer.progress
        full = round(share * bar) if peer.state not in gone else 0
        name = f"member {i + 1}" if nameless else name_of(peer)
        lines.append(
            (
                (f"{AGGREGATOR} " if peer.aggregator else "  ", "accent"),
                (left(name, NAME), "strong"),
                (left(f" {sign.glyph} {sign.word}", STATE + 1), sign.ink),
                ("█" * full, "ok" if share >= 1 else "accent"),
                ("░" * (bar - full) if peer.steps else "", "faint"),
            )
        )
    if len(shown) < len(row):
        lines.append(centred(((f"and {len(row) - len(shown)} more", "muted"),), width))
    return lines
