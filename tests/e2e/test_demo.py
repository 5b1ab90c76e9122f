"""A whole room on this machine: real processes, discovery, TLS, training, agreement."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from demo_rig import PATIENCE, Demo, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    demos: list[Demo] = []

    def begin(*arguments: str, name: str = "demo") -> Demo:
        demo = Demo(tmp_path / name, *arguments)
        demos.append(demo)
        return demo

    yield begin
    for demo in demos:
        demo.end()


def small(nodes: int = 3, rounds: int = 1, steps: int = 4) -> tuple[str, ...]:
    return ("--nodes", str(nodes), "--rounds", str(rounds), "--steps", str(steps))


def test_a_room_trains_agrees_and_leaves_an_adapter_that_draws(
    start: Start, tmp_path: Path
) -> None:
    demo = start(*small(nodes=3, rounds=2))
    finished = demo.finish()
    assert finished["ok"] is True
    assert finished["rounds"] == 2
    assert len(set(finished["heads"].values())) == 1
    assert len(finished["heads"]) == 3
    assert finished["peak_memory_bytes"] > 0
    assert len(finished["seconds_after_last_contribution"]) == 2
    types = {event["type"] for event in demo.events}
    assert types >= {
        "node.ready", "peer.found", "room.joined", "round.started", "train.progress",
        "train.finished", "contribution.sent", "contribution.checked", "aggregator.elected",
        "result.recomputed", "round.committed", "preview.ready", "adapter.applied",
    }  # fmt: skip
    trained = [(e["node"], e["round"]) for e in demo.events if e["type"] == "train.finished"]
    assert len(trained) == len(set(trained)) == 6
    commits = [event for event in demo.events if event["type"] == "round.committed"]
    assert all(len(event["inputs"]) == 3 for event in commits)
    shown = {(e["round"], e["prompt"]) for e in demo.events if e["type"] == "preview.ready"}
    assert len(shown) == 3 * 4
    assert Path(finished["sheet"]).is_file()
    assert Path(finished["adapter"]).with_name("adapter.fedtui.json").is_file()
    assert finished["evaluation"]["pictures"] == 24
    assert draws(Path(finished["adapter"]), tmp_path / "with.png") != draws(
        None, tmp_path / "without.png"
    )


def draws(adapter: Path | None, out: Path) -> str:
    """The hash of a picture's pixels drawn by ``fedtui generate``."""
    from PIL import Image

    lora = ("--lora", str(adapter)) if adapter else ()
    command = ("generate", "night, full_moon", "--steps", "3", "--out", str(out), *lora)
    subprocess.run(
        [sys.executable, "-m", "fedtui", *command],
        env=clean_environment(FEDTUI_HOME=str(out.parent / "profile")),
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    with Image.open(out) as picture:
        return hashlib.sha256(picture.tobytes()).hexdigest()


def test_two_demos_of_one_seed_side_by_side_end_in_the_same_adapter(start: Start) -> None:
    """Their nodes have the same keys and hear one another's announcements."""
    demos = [start(*small(nodes=2), name=name) for name in "ab"]
    ends = [demo.finish() for demo in demos]
    assert len({end["adapter_sha256"] for end in ends}) == 1
    for demo in demos:
        assert not [e for e in demo.events if e["type"] == "message.refused"]


def test_the_room_survives_kill_9_of_its_aggregator_while_it_collects(start: Start) -> None:
    demo = start(*small(nodes=3, rounds=1, steps=20))
    demo.wait_for(lambda event: event["type"] == "train.progress")
    leader = demo.view(1)["round"]["order"][0]
    sent = demo.wait_for(lambda e: e["type"] == "contribution.sent" and e["node"] != leader)
    assert not any(event["type"] == "aggregator.elected" for event in demo.events)
    killed = demo.kill_node(leader)
    finished = demo.finish()
    assert finished["ok"] is True
    assert finished["lost"] == [killed]
    assert len(finished["heads"]) == 2
    commit = next(event for event in demo.events if event["type"] == "round.committed")
    assert commit["aggregator"] != leader
    assert sent["node"] in {each["peer"] for each in commit["inputs"]}


def test_the_room_survives_kill_9_of_its_aggregator_after_it_proposed(start: Start) -> None:
    demo = start(*small(nodes=3, rounds=2, steps=4))
    # A voter that has recomputed the result has the proposal of this very aggregator.
    recomputed = demo.wait_for(lambda event: event["type"] == "result.recomputed")
    elected = [event for event in demo.events if event["type"] == "aggregator.elected"][-1]
    assert elected["round"] == recomputed["round"]
    killed = demo.kill_node(elected["peer"])
    finished = demo.finish()
    assert finished["ok"] is True
    assert finished["lost"] == [killed]


def test_a_room_without_a_quorum_ends_with_a_reason_and_no_process(start: Start) -> None:
    demo = start(*small(nodes=2, rounds=1, steps=2000))
    demo.wait_for(lambda event: event["type"] == "train.progress")
    children = demo.processes()
    demo.kill_node(next(e["node"] for e in demo.events if e["type"] == "node.ready"))
    demo.process.wait(PATIENCE)
    assert demo.process.returncode == 1
    _, alive = psutil.wait_procs(children, PATIENCE)
    assert not alive
    assert "too few nodes are left" in demo.stderr


def test_a_trainer_that_is_killed_starts_again_and_its_node_contributes(start: Start) -> None:
    demo = start(*small(nodes=2, rounds=1, steps=40))
    demo.wait_for(lambda event: event["type"] == "train.progress")
    victim = next(p for p in demo.processes() if is_full_trainer(p))
    victim.kill()
    notice = demo.wait_for(lambda event: event["type"] == "notice")
    assert "again" in notice["text"]
    finished = demo.finish()
    assert finished["ok"] is True
    assert finished["lost"] == []
    commits = [event for event in demo.events if event["type"] == "round.committed"]
    assert len(commits[0]["inputs"]) == 2


def is_full_trainer(process: psutil.Process) -> bool:
    return process.cmdline()[-2:] == ["--role", "full"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_however_the_demo_ends(start: Start, number: signal.Signals) -> None:
    demo = start(*small(nodes=2, rounds=1, steps=2000))
    demo.wait_for(lambda event: event["type"] == "train.progress")
    children = demo.processes()
    assert len(children) >= 4
    demo.process.send_signal(number)
    demo.process.wait(PATIENCE)
    _, alive = psutil.wait_procs(children, PATIENCE)
    assert not alive
    expected = {signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    assert demo.process.returncode == expected


def test_a_node_can_be_looked_at_stopped_and_started_again(start: Start) -> None:
    """Second starts are refused, a restart trains nothing twice."""
    demo = start(*small(nodes=1, rounds=2, steps=3), "--stay")
    demo.wait_for(lambda event: event["type"] == "demo.finished")
    home = clean_environment(FEDTUI_HOME=str(demo.directory / "node-1"))

    def fedtui(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fedtui", *arguments],
            env=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    refused = fedtui("--daemon")
    assert refused.returncode == 2
    assert (demo.directory / "node-1" / "node.lock").read_text().strip() in refused.stderr
    assert len(json.loads(fedtui("rounds", "--json").stdout)) == 2
    assert json.loads(fedtui("peers", "--json").stdout)[0]["me"] is True
    assert "Ada" in fedtui("status").stdout
    exported = fedtui("export", "--round", "1", "--out", str(demo.directory / "one.safetensors"))
    assert exported.returncode == 0, exported.stderr
    demo.process.send_signal(signal.SIGINT)
    demo.process.wait(PATIENCE)

    events = demo.directory / "node-1" / "events.jsonl"
    before = events.read_text().count("train.finished")
    again = subprocess.Popen([sys.executable, "-m", "fedtui", "--daemon"], env=home)
    try:
        while fedtui("status").returncode == 3:
            assert again.poll() is None
        assert len(json.loads(fedtui("rounds", "--json").stdout)) == 2
        assert fedtui("stop").returncode == 0
        assert again.wait(PATIENCE) == 0
    finally:
        if again.poll() is None:
            again.kill()
    assert events.read_text().count("train.finished") == before == 2
