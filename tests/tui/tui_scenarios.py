"""Views of a node in every state a screen must show, and a source that plays them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from fedtui.doctor import Check
from fedtui.errors import UsageError
from fedtui.view import (
    CommitView,
    EventView,
    InputView,
    LaneView,
    LossPoint,
    NodeView,
    PeerView,
    PreviewView,
    RoundView,
    ShareView,
    StatisticsView,
    TimesView,
    TrafficView,
    TrainerView,
)

NAMES = ("lena", "amir-mbp", "gpu-srv-1", "tomoko", "lab-pc-07", "pierre", "maria-x1", "gpu-srv-2")
DEVICES = ("RTX 4090", "M3 Max", "H200", "RTX 3060", "CPU 8 cores", "M1", "Iris Xe", "A100")
SAMPLES = (20, 40, 60, 40, 40, 80, None, 256)
PROMPTS = (
    ("van_gogh, night, crescent_moon, mountain, lighthouse, scenery", 7),
    ("van_gogh, sunset, sea, boat, scenery", 7),
)
ADAPTER = "rooms/sunflower-42/adapters/round-0008.safetensors"
NOON = 1_700_000_000.0


class ScriptedSource:
    """Answers with ``now``; raises it when it is an exception."""

    def __init__(self, now: NodeView | Exception) -> None:
        self.now: NodeView | Exception = now
        self.asked = 0
        self.stopped = False
        self.closed = False
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    async def do(self, name: str, *, within_s: float, **arguments: Any) -> dict[str, Any]:
        self.done.append((name, arguments))
        answer = self.answers.get(name)
        if callable(answer):
            answer = answer(**arguments)
        if isawaitable(answer):
            answer = await answer
        if answer is None:
            raise UsageError(f"this node cannot {name!r}")
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    async def view(self) -> NodeView:
        self.asked += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def stop(self) -> None:
        self.stopped = True

    async def close(self) -> None:
        self.closed = True


def identity(i: int) -> str:
    return f"{i * 7919 + 4096:04x}c2{i:02d}" + "q7m2x4k6" * 5


def peers(n: int) -> tuple[PeerView, ...]:
    states = ("TRAIN", "TRAIN", "UPLOAD", "TRAIN", "IDLE", "LOST", "WATCH", "SENT")
    steps = (124, 82, 200, 36, 0, 66, 0, 200)
    return tuple(
        PeerView(
            id=identity(i),
            name=NAMES[i] if i < len(NAMES) else f"peer-{i:03}",
            me=i == 0,
            role="observer" if states[i % 8] == "WATCH" else "participant",
            state=states[i % 8],  # type: ignore[arg-type]
            step=steps[i % 8],
            steps=0 if states[i % 8] in ("WATCH", "IDLE") else 200,
            loss=None if states[i % 8] in ("WATCH", "IDLE") else 0.1042 + 0.0073 * (i % 8),
            samples=SAMPLES[i % 8],
            device=DEVICES[i % 8],
            address=f"192.168.1.{20 + i}:47{i:03}",
            last_seen_s=31.0 if states[i % 8] == "LOST" else 1.0,
            rtt_ms=None if states[i % 8] == "LOST" else 2.0 + i,
            aggregator=i == 1,
            contributed=states[i % 8] in ("SENT",),
        )
        for i in range(n)
    )


def losses(rounds: int, steps: int = 60) -> tuple[LossPoint, ...]:
    points = []
    for r in range(1, rounds + 1):
        total = 0.0
        for s in range(steps):
            t = (r - 1) * steps + s
            value = 0.09 + 0.16 * math.exp(-t / 45) + 0.012 * math.sin(t * 1.7) * math.exp(-t / 90)
            total += value + (0.02 * math.exp(-s / 6) if r > 1 else 0)
            points.append(LossPoint(r, s + 1, total / (s + 1)))
    return tuple(points)


def landscape(path: Path, warmth: float, *, seed: int = 0) -> None:
    """A simple scene whose colours move from grey to warm, 64x64."""
    image = Image.new("RGB", (64, 64))
    draw = ImageDraw.Draw(image)
    for y in range(64):
        draw.line(
            [(0, y), (63, y)],
            fill=(int(40 + 90 * warmth + y), int(60 + y), int(140 + 40 * warmth - y)),
        )
    x = 14 + 13 * seed
    draw.ellipse([x, 8, x + 12, 20], fill=(250, int(240 - 30 * warmth), int(200 - 100 * warmth)))
    draw.polygon([(0, 46), (20, 24), (34, 42), (48, 28), (63, 46)], fill=(50, 60, 90))
    draw.rectangle([0, 46, 63, 63], fill=(int(40 + 60 * warmth), 90, int(60 - 20 * warmth)))
    image.save(path)


def pictures(folder: Path, rounds: int) -> tuple[PreviewView, ...]:
    """Pictures of two prompts for round 0 to ``rounds``, drawn into ``folder``."""
    made = []
    for r in range(rounds + 1):
        for i, (prompt, seed) in enumerate(PROMPTS):
            path = folder / f"r{r}-{i}.png"
            if not path.exists():
                landscape(path, r / 4, seed=i)
            made.append(PreviewView(r, prompt, seed, str(path)))
    return tuple(made)


def events() -> tuple[EventView, ...]:
    told = (
        ("info", "room.joined", "lena joined sunflower-42"),
        ("info", "round.started", "round 5 started from 3f9a·c21e, five participants"),
        ("ok", "contribution.checked", "gpu-srv-1 contributed 4.6 MB, signature and shapes ok"),
        ("warning", "peer.state", "pierre does not answer, SUSPECT"),
        ("error", "peer.state", "pierre is LOST, the quorum of 3 is still met"),
        ("ok", "aggregator.elected", "round 5: amir-mbp combines"),
    )
    return tuple(
        EventView(i, NOON + 9 * i, kind, text, level)  # type: ignore[arg-type]
        for i, (level, kind, text) in enumerate(told)
    )


def training(folder: Path, n: int = 5, *, rounds: int = 2) -> NodeView:
    """The third round of a healthy room."""
    order = tuple(identity(i) for i in (1, 2, 0, 3, 4))
    return NodeView(
        id=identity(0),
        name="lena",
        version="0.1.0",
        uptime_s=412,
        room_id="q7m2x4k6" * 6,
        room_name="sunflower-42",
        model="tiny-landscapes",
        algorithm="fedex",
        dataset="moons",
        round=RoundView(
            number=3,
            rounds=8,
            phase="TRAIN",
            aggregator=identity(1),
            order=order,
            voters=order,
            quorum=3,
            contributions=1,
            expected=5,
            elapsed_s=48,
            deadline_in_s=72,
        ),
        trainer=TrainerView("training", "cpu", 4242, "", 48),
        peers=peers(n),
        losses=losses(3),
        previews=pictures(folder, rounds),
        events=events(),
    )


def verifying(folder: Path) -> NodeView:
    """Contributions are in, the second aggregator proposes."""
    view = training(folder)
    return replace(
        view,
        round=replace(
            view.round,
            phase="VERIFY",
            attempt=1,
            aggregator=identity(2),
            contributions=4,
            prepares=2,
        ),
    )


def paused(folder: Path) -> NodeView:
    """Half of the laptops went to lunch."""
    view = training(folder, 8)
    return replace(
        view,
        round=replace(
            view.round,
            phase="PAUSED",
            contributions=2,
            deadline_in_s=None,
            waiting_for=(identity(3), identity(5)),
        ),
    )


def loading() -> NodeView:
    """A node that has just started: no room work yet, the model is being loaded."""
    return NodeView(
        id=identity(0),
        name="lena",
        room_id="q7m2x4k6" * 6,
        room_name="sunflower-42",
        model="tiny-landscapes",
        algorithm="fedex",
        round=RoundView(0, 8),
        trainer=TrainerView("loading", "cpu", 4242, "", 7),
        peers=(PeerView(id=identity(0), name="lena", me=True, state="LOADING"),),
    )


def roomless() -> NodeView:
    """A node without a room."""
    return NodeView(id=identity(0), name="lena")


COMMIT = CommitView(
    8,
    "ab" * 32,
    "cd" * 32,
    "ef" * 32,
    0,
    identity(1),
    signers=tuple(identity(i) for i in range(3)),
    inputs=tuple(InputView(identity(i), 40, "0f" * 32) for i in range(5)),
)


def done(folder: Path) -> NodeView:
    """All rounds are committed."""
    view = training(folder, rounds=8)
    return replace(
        view,
        adapter=ADAPTER,
        round=replace(
            view.round,
            number=8,
            phase="DONE",
            deadline_in_s=None,
            contributions=5,
            prepares=3,
            commits=3,
        ),
        commits=(COMMIT,),
        trainer=TrainerView("idle", "cpu"),
        peers=tuple(replace(p, state="IDLE", steps=0) for p in view.peers),
    )


def several_rounds(folder: Path) -> NodeView:
    """Three rounds: clean, with one left out and the second attempt, and one that differs."""
    inputs = tuple(InputView(identity(i), 20 * (i + 1), "0f" * 32) for i in range(4))
    first = replace(COMMIT, round=1, inputs=inputs, recomputed=True, seconds=0.4)
    second = replace(
        first, round=2, attempt=1, excluded=((identity(4), "norm 40 times the median"),)
    )
    third = replace(first, round=3, recomputed=False)
    shares = (
        ShareView(identity(0), 20, 4600, 1.25, 0.91, 0.4),
        ShareView(identity(1), 40, 4600, 9.5, -0.2, 0.6, clipped=0.5),
        ShareView(identity(2), 40, excluded="NaN in layer 3"),
    )
    found = StatisticsView("fedex", "n_k", 0.123, shares=shares, bytes_in=9200, bytes_out=8000)
    fourth = replace(first, round=4, statistics=found)
    view = training(folder)
    return replace(
        view,
        round=replace(view.round, number=5),
        commits=(first, second, third, fourth),
        times=times(),
    )


def lanes(n: int, *, open_: bool = False) -> tuple[LaneView, ...]:
    """Members who finish one after another; one is refused, one only ever trained."""
    found = []
    for i in range(n):
        sent = 9.0 + 1.3 * i
        lane = LaneView(
            identity(i), 0.4 + 0.2 * i, sent - 0.2, sent, sent + 0.4, loss=0.09 + i / 90
        )
        if open_ and i > 1:
            lane = replace(lane, rests=None, sent=None, checked=None, loss=None)
        if not open_:
            lane = replace(lane, agreed=16.0 + i / 5, signed=17.0 + i / 9)
        found.append(lane)
    if not open_ and n > 3:
        found[2] = replace(found[2], refused="NaN in layer 3")
        found[3] = LaneView(identity(3), 0.6, 12.0)
    return tuple(found)


def times() -> tuple[TimesView, ...]:
    """Of the fourth round, which took two attempts, and of the fifth, which is open."""
    turns = ((0.0, identity(2)), (15.1, identity(1)))
    return (
        TimesView(4, 18.2, True, turns, lanes(5)),
        TimesView(5, None, True, ((0.0, identity(1)),), lanes(5, open_=True)),
    )


def connected(folder: Path, n: int = 8) -> NodeView:
    """A room on a network that keeps some of it apart, and what has moved in it."""
    ways = ("", "direct", "direct", "relayed", "one_way", "direct", "direct", "")
    view = training(folder, n)
    members = tuple(
        replace(
            peer,
            reach="" if peer.me or peer.state == "LOST" else ways[i % 8],
            via=identity(1) if ways[i % 8] == "relayed" else "",
            rtt_ms=240.0 if i % 8 == 6 else peer.rtt_ms,
            received=0 if peer.me else 4_600_000 + i,
            sent=0 if peer.me else 9_100_000,
        )
        for i, peer in enumerate(view.peers)
    )
    received = tuple(0 if i % 20 < 14 else 1_500_000 - 200_000 * (i % 20 - 14) for i in range(60))
    sent = tuple(0 if i % 20 < 12 else 90_000 * (i % 20) for i in range(60))
    return replace(view, peers=members, traffic=TrafficView(5.0, received, sent))


async def examined() -> AsyncIterator[Check]:
    yield Check("python", "ok", "Python 3.11.9")
    yield Check("mdns", "failed", "nothing came back", "Allow UDP 5353 in the firewall.")
