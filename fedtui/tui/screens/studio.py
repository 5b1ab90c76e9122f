"""Drawing: a prompt, a rack of adapters with weights, and what comes of it while it comes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, Static

from fedtui.tui.feed import Feed
from fedtui.tui.keymap import STUDIO_KEYS
from fedtui.tui.limits import PROMPT_CHARS, STUDIO_POLL_S, STUDIO_REDRAW_S
from fedtui.tui.lines import Line, cut_words, plain
from fedtui.tui.messages import Answered, PictureOpened
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.live import LiveScreen, Value, copy
from fedtui.tui.studio_plan import (
    AXES,
    SEEDS_MOST,
    WEIGHT_MOST,
    Drawing,
    Slot,
    Wanted,
    WrongSetting,
    axis,
    planned,
)
from fedtui.tui.widgets.drawn import Drawn, notice
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.picturegrid import Grid
from fedtui.tui.widgets.table import Column, Table, number
from fedtui.tui.wording import clock
from fedtui.view import PreviewView

FIELDS = (
    ("prompt", "Prompt", "what shall be drawn"),
    ("negative", "Without", "what shall not be there"),
    ("seed", "Seed", ""),
    ("steps", "Steps", ""),
    ("cfg", "Guidance", ""),
    ("sampler", "Sampler", "the model's own"),
    ("size", "Size", "the model's own"),
    ("count", "Count", ""),
    ("across", "Across", "a grid: v, or seed=1,2,3"),
    ("down", "Down", "a grid: V, or cfg=2:8:4"),
)
NAMED = re.compile(r"(seed|steps|cfg|round|lora\d*) -?[\d.e+-]+$")
"""A label of :mod:`fedtui.grid` that begins with its axis."""
RACK_EMPTY = "No adapter yet: the base model draws. Each round adds one."
START = "F5 draws. The picture appears here while it is drawn."


def weight_cell(slot: Slot, width: int) -> Line:
    """The weight as a bar from 0 to 2."""
    bar = width - 6
    full = round(min(1.0, abs(slot.weight) / WEIGHT_MOST) * bar)
    return (
        ("━" * full, "accent" if slot.on else "muted"),
        ("─" * (bar - full), "faint"),
        (f"{slot.weight:6.2f}", "text" if slot.on else "muted"),
    )


def slot_cell(slot: Slot, width: int) -> Line:
    """On or off, and the name."""
    name = cut_words(slot.name, width - 2, "")
    padded = name + " " * (width - 2 - len(name))
    return (("● " if slot.on else "○ ", "ok" if slot.on else "faint"), (padded, "text"))


COLUMNS: tuple[Column[Slot], ...] = (
    Column("adapter", 0, 10, 30, slot_cell),
    Column("weight", 0, 14, 24, weight_cell),
    Column("round", 2, 5, 5, lambda s, w: number(str(s.round or "–"), w, "muted"), True),
)


class StudioState(Drawn):
    """Two lines: what is being drawn, and what is behind it."""

    lines: tuple[Line, ...] = ()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """As they were set."""
        return list(self.lines)


class Start(Drawn):
    """The empty state."""

    DEFAULT_CSS = "Start { height: 1fr; width: 1fr; }"

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """What will appear here."""
        return notice(START, width, height)


class StudioScreen(LiveScreen):
    """Fields and rack at the left, pictures at the right."""

    PLACE = "studio"
    BINDINGS: ClassVar[list[BindingType]] = STUDIO_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.fields = {
            name: Field(max_length=PROMPT_CHARS, placeholder=hint, compact=True, id=f"field-{name}")
            for name, _, hint in FIELDS
        }
        self.rack: Table[Slot] = Table(COLUMNS, lambda s: s.identity, empty=RACK_EMPTY, id="rack")
        self.grid = Grid()
        self.state = StudioState(id="state")
        self._start = Start()
        self._slots: dict[tuple[str, int], Slot] = {}
        self._axes = {"across": 0, "down": 0}
        self._job: dict[str, Any] = {}
        self._open = 0
        self._drawings: dict[int, Drawing] = {}
        self._asked: Drawing | None = None
        self._history: list[dict[str, Any]] = []
        self._back = 0
        self._marked = 0
        self._redraw: Timer | None = None
        self._seen_prompt = False

    def body(self) -> ComposeResult:
        """What is set, and what comes of it."""
        self.rack.add_class("panel")
        with Container(id="studio"):
            with Vertical(id="set"):
                for name, title, _ in FIELDS:
                    with Horizontal(classes="row"):
                        yield Static(Content(title))
                        yield self.fields[name]
                yield self.rack
            with Vertical(id="drawn"):
                yield self._start
                yield self.grid
                yield self.state

    def on_mount(self) -> None:
        """Usual values; looks at the node's jobs while the screen is open."""
        for name, value in (("seed", "0"), ("steps", "20"), ("cfg", "3"), ("count", "1")):
            self.fields[name].value = value
        self.grid.display = False
        self.set_interval(STUDIO_POLL_S, self._poll)

    def look_again(self) -> None:
        """Other jobs may have come."""
        self.ask("generations")

    def _poll(self) -> None:
        if self.is_current and self._open:
            self.ask("generations")

    def watch_feed(self) -> None:
        """Every round's adapter takes its place in the rack, the newest switched on."""
        view = self.view
        if view is None:
            return
        rounds = [commit.round for commit in view.commits if not commit.skipped]
        for n in rounds:
            if ("", n) not in self._slots:
                for key, slot in self._slots.items():
                    if slot.round:
                        self._slots[key] = replace(slot, on=False)
                self._slots[("", n)] = Slot(f"round {n}", round=n, on=True)
        self._fill()
        if view.previews and not self._seen_prompt:
            self._seen_prompt = True
            self.fields["prompt"].value = plain(view.previews[0].prompt)
            self.fields["seed"].value = str(view.previews[0].seed)

    def _fill(self) -> None:
        self.rack.fill(tuple(sorted(self._slots.values(), key=lambda s: (-s.round, s.name))))
        self.rack.entitle((("Adapters", "muted"),))

    def take_adapter(self, name: str, path: str, number: int) -> None:
        """Puts an adapter of the library into the rack and switches it on."""
        key = ("", number) if number else (path, 0)
        slot = self._slots.get(key, Slot(name, "" if number else path, number))
        self._slots[key] = replace(slot, on=True)
        self._fill()
        self.rack.choose(key)

    # --- keys ------------------------------------------------------------------------------------
    def action_draw(self) -> None:
        """Asks the node to draw."""
        try:
            drawing = planned(self._wanted(), tuple(self.rack.rows))
        except WrongSetting as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        if self._open:
            self.ask("cancel_generation", id=self._open)
        self._asked = drawing
        self.ask("generate", **drawing.arguments)

    def _wanted(self) -> Wanted:
        return Wanted(**{name: field.value for name, field in self.fields.items()})

    def action_seed(self) -> None:
        """Another seed, and the picture it gives."""
        self.fields["seed"].value = str(secrets.randbelow(SEEDS_MOST))
        self.action_draw()

    def action_stop(self) -> None:
        """Stops the drawing under way."""
        if self._open:
            self.ask("cancel_generation", id=self._open)

    def action_vary(self, where: str) -> None:
        """What varies across or down: the next thing there is something of."""
        rack, chosen = tuple(self.rack.rows), self.rack.selected
        at = rack.index(chosen) if chosen in rack else len(rack)
        taken = self.fields["down" if where == "across" else "across"].value.partition("=")[0]
        for _ in AXES:
            self._axes[where] = (self._axes[where] + 1) % len(AXES)
            found = axis(AXES[self._axes[where]], self._wanted(), rack, at)
            if not self._axes[where] or (found and found.partition("=")[0] != taken):
                break
        self.fields[where].value = found

    def action_weight(self, step: float) -> None:
        """Changes the weight under the cursor; the picture follows a moment later."""
        chosen = self.rack.selected
        if chosen is None:
            return
        weight = round(max(-WEIGHT_MOST, min(WEIGHT_MOST, chosen.weight + step)), 2)
        self._slots[chosen.identity] = replace(chosen, weight=weight, on=True)
        self._fill()
        self._redraw_soon()

    def action_switch(self) -> None:
        """Uses the adapter under the cursor, or not."""
        chosen = self.rack.selected
        if chosen is not None:
            self._slots[chosen.identity] = replace(chosen, on=not chosen.on)
            self._fill()
            self._redraw_soon()

    def _redraw_soon(self) -> None:
        if self._redraw is not None:
            self._redraw.stop()
        if self._drawings:
            self._redraw = self.set_timer(STUDIO_REDRAW_S, self.action_draw)

    def action_prompt(self) -> None:
        """Goes to the prompt."""
        self.fields["prompt"].focus()

    def action_again(self) -> None:
        """Takes over the settings of the pictures on show."""
        drawing = self._drawings.get(int(self._job.get("id", 0)))
        if drawing is None:
            self.notify("How it was made is not known.", severity="warning", markup=False)
            return
        made = drawing.arguments
        size = f"{made['width']}x{made['height']}" if made["width"] else ""
        values = {
            "prompt": made["prompts"][0],
            "negative": made["negative"],
            "seed": made["seeds"][0],
            "steps": made["steps"],
            "cfg": f"{made['cfg']:g}",
            "sampler": made["sampler"],
            "size": size,
            "count": len(made["seeds"]),
            "across": (*made["grid"], "")[0],
            "down": (*made["grid"], "", "")[1],
        }
        for name, value in values.items():
            self.fields[name].value = str(value)
        self.notify("Prompt, seed and settings are those of the pictures.", markup=False)

    def action_earlier(self, step: int) -> None:
        """Pages through what was drawn."""
        if self._history:
            self._back = max(0, min(len(self._history) - 1, self._back + step))
            self._show(self._history[-1 - self._back])

    def action_sheet(self) -> None:
        """Saves the pictures on show on one sheet."""
        paths = [str(path) for path in self._job.get("paths", ())]
        if not paths:
            self.notify("There is no picture to save yet.", severity="warning", markup=False)
            return
        prompt = str(self._job["prompt"])
        columns, rows = list(self._job.get("columns", ())), list(self._job.get("rows", ()))
        if columns:
            width = len(columns)
            pictures = [paths[n : n + width] for n in range(0, len(paths), width)]
            labels = [row or prompt for row in rows[: len(pictures)]]
        else:
            named = self._labels()
            columns = [named[i] if i < len(named) else "" for i in range(len(paths))]
            pictures, labels = [paths], [prompt]
        self.ask("export_sheet", columns=columns, labels=labels, pictures=pictures)

    def _labels(self) -> tuple[str, ...]:
        """What the pictures on show are called, in reading order."""
        if self._job.get("columns"):
            return tuple(
                ", ".join(filter(None, (column, row)))
                for row in self._job["rows"]
                for column in self._job["columns"]
            )
        drawing = self._drawings.get(int(self._job.get("id", 0)))
        return drawing.labels if drawing else ()

    async def action_outside(self) -> None:
        """Opens the marked picture in a viewer."""
        path = self._marked_path()
        if not path:
            self.notify("There is no picture to open yet.", severity="warning", markup=False)
        elif not await show_outside(path):
            self.notify(plain(path), title="No viewer here; it is at", markup=False)

    def copy_values(self) -> Iterator[Value | None]:
        """The path of the marked picture."""
        path = self._marked_path()
        yield ("the path of the picture", path) if path else None

    def _marked_path(self) -> str:
        paths = self._job.get("paths", ())
        return str(paths[min(self._marked, len(paths) - 1)]) if paths else ""

    def on_table_opened(self, message: Table.Opened) -> None:
        """Enter draws from the rack as it does from a field."""
        message.stop()
        self.action_draw()

    def on_picture_opened(self, message: PictureOpened) -> None:
        """A click marks a picture."""
        self._marked = message.round
        self._show(self._job)

    def action_mark(self, step: int) -> None:
        """Marks the picture before or after, for looking at it outside."""
        paths = self._job.get("paths", ())
        if paths:
            self._marked = max(0, min(len(paths) - 1, self._marked + step))
            self._show(self._job)

    async def action_back(self) -> None:
        """First out of a field, then to the dashboard."""
        if isinstance(self.focused, Input):
            self.rack.focus()
        else:
            await super().action_back()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Enter in a field draws."""
        message.stop()
        self.action_draw()

    # --- answers ---------------------------------------------------------------------------------
    def on_answered(self, message: Answered) -> None:
        """A job was taken, has gone on, or was saved."""
        result = message.result
        if message.operation == "generate" and self._asked is not None:
            self._drawings[int(result["id"])] = self._asked
            self._open, self._back, self._marked = int(result["id"]), 0, 0
            self.ask("generations")
        elif message.operation == "generations":
            self._history = list(result["jobs"])
            if self._history:
                self._show(self._history[-1 - min(self._back, len(self._history) - 1)])
        elif message.operation == "export_sheet":
            copy(self, "the path of the sheet", str(result["path"]))

    def _show(self, job: dict[str, Any]) -> None:
        self._job = job
        if not job:
            return
        waiting = job["state"] in ("waiting", "drawing")
        newest = self._history[-1] if self._history else job
        self._open = int(newest["id"]) if newest["state"] in ("waiting", "drawing") else 0
        paths = [str(path) for path in job["paths"]]
        if waiting and job["preview"]:
            paths.append(str(job["preview"]))
        labels = self._labels()
        pictures = [PreviewView(i, job["prompt"], 0, path) for i, path in enumerate(paths)]
        table = len(job.get("rows", ())) > 1
        names = {i: short(label) if table else label for i, label in enumerate(labels) if label}
        self.grid.display = bool(pictures)
        self._start.display = not pictures
        marked = min(self._marked, max(0, len(pictures) - 1))
        self.grid.show(pictures, marked, None, names or {0: ""}, len(job.get("columns", ())))
        told = labels[marked] if marked < len(labels) else ""
        self.state.lines = job_lines(job, len(self._history), self._back, self.view_busy(), told)
        self.state.redraw()

    def view_busy(self) -> str:
        """What the trainer does before it can draw."""
        view = self.view
        if view is None or view.trainer.state not in ("training", "loading"):
            return ""
        return plain(view.trainer.state)


def short(label: str) -> str:
    """The values of a grid's label without their names: ``round 3, cfg 4`` is ``3 · 4``."""
    values = (part.rpartition(" ")[2] if NAMED.match(part) else part for part in label.split(", "))
    return " · ".join(values)


def job_lines(
    job: dict[str, Any], count: int, back: int, busy: str, marked: str = ""
) -> tuple[Line, ...]:
    """How far a job is, where it is in the history, and what the ``marked`` picture is called."""
    state = str(job["state"])
    waits, draws = job.get("wait_s"), job.get("draw_s")
    if state == "waiting":
        after = f" behind the {busy} of this machine" if busy else ""
        first: Line = ((f"○ waits{after}{about(waits)}", "muted"),)
        if draws is not None:
            first = (*first, (f", then draws{about(draws)}", "muted"))
    elif state == "drawing":
        told = f"● step {job['step']} of {job['steps']}"
        first = ((told, "accent"), (f"{about(draws)} left" if about(draws) else "", "muted"))
    elif state == "finished":
        first = ((f"✓ {len(job['paths'])} drawn", "ok"),)
    elif state == "cancelled":
        first = (("○ stopped", "muted"),)
    else:
        first = ((f"✗ {plain(str(job['error']))}", "error"),)
    place: Line = ((f"  {count - back} of {count}", "faint"),) if count > 1 else ()
    what: Line = ((f"{plain(marked)}  ", "text"),) if marked else ()
    return (*first, *place), (*what, (cut_words(str(job["prompt"]), 70), "muted"))


def about(seconds: float | None) -> str:
    """How long something may take, in words; nothing where nobody can say."""
    if seconds is None:
        return ""
    return f" about {clock(seconds)}"
