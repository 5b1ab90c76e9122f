"""The way of the round: what is done, what goes on, who combines and who is waited for."""

from __future__ import annotations

from typing import NamedTuple

from fedtui.tui.feed import Feed
from fedtui.tui.lines import DOT, Ink, Line, joined, listed, plain, spread, width_of
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.wording import AGGREGATOR, clock, must_agree, namer
from fedtui.view import CommitView, NodeView, RoundView

STEPS = ("TRAIN", "COLLECT", "VERIFY", "MERGE", "PREVIEW")


class Step(NamedTuple):
    """One step of the round as it stands."""

    glyph: str
    word: str
    tally: str
    ink: Ink
    done: bool


class RoundStepper(Drawn):
    """Two lines: the steps, and the people they hang on."""

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """The steps and, below, who combines."""
        if feed.view is None:
            return []
        self.entitle(title(feed.view), advice(feed.view))
        return [steps_line(feed.view, width), people_line(feed.view, width)]


def title(view: NodeView) -> Line:
    """The panel's name."""
    return ((f"Round {view.round.number}" if view.round.number else "Round", "muted"),)


def advice(view: NodeView) -> Line:
    """That nobody has to do anything while a round goes on."""
    return (("goes on by itself", "muted"),) if view.round.phase in STEPS else ()


def steps(view: NodeView) -> list[Step]:
    """The five steps of the round. Only what is known is marked done.

    A machine draws the pictures of one round while the next is open already and has nothing yet:
    then PREVIEW goes on, and the steps before it are done only if the ledger has the round.
    """
    now = view.round
    committed = next((c for c in view.commits if c.round == now.number), None)
    phase = "COLLECT" if now.phase == "WAITING" else now.phase
    begun = phase in STEPS and not (now.phase == "WAITING" and not now.contributions)
    at = STEPS.index(phase) if begun else -1
    if now.phase == "DONE":
        at = len(STEPS)
    ahead = now.phase == "PREVIEW" and committed is None and now.commits < max(1, now.quorum)
    told = tallies(view, committed)
    found = []
    for i, word in enumerate(STEPS):
        if i < at and not ahead:
            found.append(Step("✓", word, told.get(word, ""), "ok", True))
        elif i == at:
            found.append(Step("▶", word, told.get(word, ""), "accent", False))
        else:
            found.append(Step("○", word, told.get(word, ""), "muted", False))
    return found


def tallies(view: NodeView, committed: CommitView | None) -> dict[str, str]:
    """How far each step is; of a committed round, what its ledger entry says.

    A step tells of it once something has come: 0/3 beside 1/5 made people ask what the room's
    other two were doing.
    """
    now = view.round
    made = sum(p.round == now.number for p in view.previews) if now.number else 0
    found = {"PREVIEW": f"{made} drawn"} if made else {}
    if committed:
        signed = f"{len(committed.signers)} signed" if committed.signers else ""
        return found | {"COLLECT": f"{len(committed.inputs)} sent", "MERGE": signed}
    if now.contributions and now.expected:
        found["COLLECT"] = f"{now.contributions}/{now.expected} sent"
    if now.prepares and now.quorum:
        found["VERIFY"] = f"{now.prepares}/{now.quorum} agree"
    if now.commits and now.quorum:
        found["MERGE"] = f"{now.commits}/{now.quorum} signed"
    return found


def steps_line(view: NodeView, width: int) -> Line:
    """All steps in one line, joined by a rail when there is room, shortened when there is not."""
    row = steps(view)
    full = [(f"{s.glyph} {s.word}", f" {s.tally}" if s.tally else "", s) for s in row]
    brief = [(f"{s.glyph} {s.word}", f" {s.tally.split()[0]}" if s.tally else "", s) for s in row]
    bare = [(f"{s.glyph} {s.word}", "", s) for s in row]
    for texts in (full, brief, bare):
        need = sum(width_of(((a, "text"), (b, "text"))) for a, b, _ in texts)
        if need + 2 * (len(texts) - 1) <= width:
            break
    rail = (width - need) // (len(texts) - 1)
    spans: list[tuple[str, Ink]] = []
    for head, tally, step in texts:
        if spans:
            spans.append(connector(rail, spans[-1][1] == "ok"))
        spans.append((head, step.ink))
        if tally:
            spans.append((tally, "text" if step.ink == "accent" else "muted"))
        spans.append(("", "ok" if step.done else "muted"))
    return tuple(spans)


def connector(width: int, done: bool) -> tuple[str, Ink]:
    """The rail between two steps: heavy behind us, light ahead."""
    if width < 4:
        return " " * width, "text"
    return f" {('━' if done else '─') * (width - 2)} ", "ok" if done else "faint"


def people_line(view: NodeView, width: int) -> Line:
    """Who combines, which attempt, who is waited for, how many must agree, who is next; says less
    where it is narrow."""
    now, name = view.round, namer(view)
    if now.phase in ("IDLE", "DONE") and not now.note:
        return ((resting(view), "muted"),)
    parts: list[Line] = []
    if now.phase == "PAUSED":
        waited = listed(name(peer) for peer in now.waiting_for)
        parts.append(
            (("! PAUSED", "warning"), (f" waiting for {waited}" if waited else "", "text"))
        )
    elif now.phase == "FAILED":
        parts.append((("✗ FAILED", "error"),))
    if now.aggregator:
        parts.append(((f"{AGGREGATOR} {name(now.aggregator)}", "strong"), (" combines", "muted")))
    if now.attempt:
        parts.append(((f"attempt {now.attempt + 1}", "warning"),))
    if now.waiting_for and now.phase != "PAUSED":
        parts.append((("waiting for ", "muted"), (listed(map(name, now.waiting_for)), "text")))
    if now.phase in STEPS and (told := must_agree(now)):
        parts.append(((told, "muted"),))
    upcoming = [name(peer) for peer in now.order[now.attempt + 1 : now.attempt + 3]]
    if now.aggregator and upcoming:
        parts.append((("next ", "muted"), (listed(upcoming), "text")))
    if now.note:
        parts.append(((plain(now.note), "muted"),))
    if not parts:
        parts.append(((resting(view), "muted"),))
    limit = waiting_words(now)
    room = width - width_of(limit) - 2 if limit else width
    while len(parts) > 1 and width_of(joined(parts)) > room:
        parts.pop()
    return spread(joined(parts, DOT), limit, width)


def waiting_words(now: RoundView) -> Line:
    """How long the room waits for contributions at most: a limit, and no estimate."""
    if now.phase not in ("TRAIN", "COLLECT") or now.deadline_in_s is None:
        return ()
    return ((f"waits {clock(now.deadline_in_s)} more at most", "muted"),)


def resting(view: NodeView) -> str:
    """What a room without a round in progress is about to do."""
    if not view.room_id:
        return "No room yet. Make one: fedtui room create NAME. Join: fedtui room join CODE."
    if view.round.phase == "DONE":
        return f"All {view.round.rounds} rounds are done." if view.round.rounds else "All done."
    if view.trainer.state == "loading":
        return "The first round starts when the model has loaded."
    return "No round in progress."
