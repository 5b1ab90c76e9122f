"""The trainer process: its death is a state, its nonsense is refused, its end is sure."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from fedtui.errors import TrainerDied, TrainerError
from fedtui.training import TrainerProcess
from trainer.protocol import CheckData, SampleData

SCRIPT = """
import json, os, signal, subprocess, sys, time
def say(**message):
    print(json.dumps(message), flush=True)
say(kind="ready", role="full", device="none", pid=os.getpid())
for line in sys.stdin:
    request = json.loads(line)
    folder = request.get("folder")
    number = request["id"]
    if folder == "die":
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if folder == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder == "nonsense":
        print("this is no message", flush=True)
    if folder == "endless":
        sys.stdout.write("x" * (3 << 20)); sys.stdout.flush()
    if folder == "fail":
        say(kind="failed", request=number, title="no", cause="because", remedy="do", code=5)
    if folder == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say(kind="done", request=number, result={"pid": child.pid})
    if folder == "work":
        say(kind="progress", request=number, data={"step": 1})
        say(kind="progress", request=number, data={"step": 2})
        say(kind="done", request=number, result={"pid": os.getpid()})
    if request["kind"] == "cancel":
        say(kind="failed", request=request["request"], title="cancelled", cancelled=True)
    if request["kind"] == "stop" and len(sys.argv) < 2:
        break
if len(sys.argv) > 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "worker.py"
    path.write_text(SCRIPT)
    return path


def worker(script: Path, *arguments: str, log: Path | None = None) -> TrainerProcess:
    return TrainerProcess(command=(sys.executable, str(script), *arguments), log=log)


async def test_progress_comes_before_the_result(script: Path) -> None:
    trainer = worker(script)
    steps: list[int] = []
    result = await trainer.request(CheckData("work"), lambda data: steps.append(data["step"]))
    assert steps == [1, 2]
    assert result["pid"] == trainer.pid
    await trainer.stop()
    assert trainer.state.kind == "off"


async def test_a_failure_carries_title_cause_remedy_and_exit_code(script: Path) -> None:
    trainer = worker(script)
    with pytest.raises(TrainerError) as caught:
        await trainer.request(CheckData("fail"))
    error = caught.value
    assert (error.title, error.cause, error.remedy, error.code) == ("no", "because", "do", 5)
    await trainer.stop()


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("die", "exit code 7"),
        ("killed", "memory ran out"),
        ("nonsense", "broke the protocol"),
        ("endless", "broke the protocol"),
    ],
)
async def test_every_owed_answer_fails_when_the_worker_ends(
    script: Path, folder: str, why: str
) -> None:
    trainer = worker(script)
    await trainer.start()
    waiting = asyncio.create_task(trainer.request(CheckData("never answered")))
    await asyncio.sleep(0)
    with pytest.raises(TrainerDied, match="ended unexpectedly") as caught:
        await trainer.request(CheckData(folder))
    assert why in caught.value.cause
    with pytest.raises(TrainerDied):
        await waiting
    assert trainer.state.kind == "failed"
    assert why in trainer.state.detail
    await trainer.stop()


async def test_the_cause_of_a_death_includes_the_last_words(script: Path, tmp_path: Path) -> None:
    trainer = worker(script, log=tmp_path / "worker.log")
    with pytest.raises(TrainerDied) as caught:
        await trainer.request(CheckData("die"))
    await trainer.stop()
    assert "last words" in caught.value.cause
    assert "last words" in (tmp_path / "worker.log").read_text()


async def test_the_next_request_starts_another_worker(script: Path) -> None:
    trainer = worker(script)
    first = (await trainer.request(CheckData("work")))["pid"]
    with pytest.raises(TrainerDied):
        await trainer.request(CheckData("die"))
    second = (await trainer.request(CheckData("work")))["pid"]
    assert first != second
    await trainer.stop()


async def test_cancelling_the_call_cancels_the_request(script: Path) -> None:
    trainer = worker(script)
    await trainer.start()
    call = asyncio.create_task(trainer.request(CheckData("never answered")))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await trainer.request(CheckData("work")))["pid"]
    await trainer.stop()


LONG = """
import os, sys, time
from pathlib import Path
from trainer.protocol import CheckData, Ready, SampleData
from trainer.worker import Worker

def until_told(request, job):
    job.announce({"runs": True})
    while not Path(request.folder, "go").exists():  # and never looks whether it is cancelled
        time.sleep(0.01)
    return {}

def leave_a_trace(request, job):
    Path(request.folder).mkdir()
    return {}

sink = os.fdopen(os.dup(1), "wb")
worker = Worker(os.fdopen(os.dup(0), "rb"), sink)
worker.handlers = {CheckData: until_told, SampleData: leave_a_trace}
worker.say(Ready("full", "cpu", os.getpid()))
worker.run()
"""


async def test_cancelling_what_only_waits_leaves_the_running_request_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtui.training.TRAINER_CANCEL_S", 30.0)
    trainer = TrainerProcess(command=(sys.executable, "-c", LONG))
    runs = asyncio.Event()
    running = asyncio.create_task(
        trainer.request(CheckData(str(tmp_path)), lambda data: runs.set())
    )
    await asyncio.wait_for(runs.wait(), 90)
    waiting = asyncio.create_task(trainer.request(SampleData(str(tmp_path / "trace"), 1)))
    await asyncio.sleep(0)  # The request is on its way.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running.done()
    (tmp_path / "go").touch()
    assert await running == {}
    await trainer.stop()
    assert not (tmp_path / "trace").exists()


async def test_stop_kills_a_worker_that_ignores_sigterm_and_its_children(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtui.training.TRAINER_STOP_S", 0.2)
    trainer = worker(script, "stubborn")
    child = psutil.Process((await trainer.request(CheckData("child")))["pid"])
    process = psutil.Process(trainer.pid)
    await trainer.stop()
    assert not process.is_running()
    gone, alive = psutil.wait_procs([child], timeout=60)
    assert gone
    assert not alive


async def test_a_program_that_is_no_worker_is_an_error_and_no_hang() -> None:
    trainer = TrainerProcess(command=(sys.executable, "-c", "print('hello')"))
    with pytest.raises(TrainerError):
        await trainer.start()
    await trainer.stop()


async def test_a_missing_program_is_an_error() -> None:
    trainer = TrainerProcess(command=("/nonexistent/python",))
    with pytest.raises(TrainerError, match="does not start"):
        await trainer.start()


async def test_the_real_arithmetic_worker_writes_and_reads_pictures(tmp_path: Path) -> None:
    trainer = TrainerProcess("arithmetic")
    folder = tmp_path / "pictures"
    written = await trainer.request(SampleData(str(folder), 6, seed=3))
    report = await trainer.request(CheckData(str(folder)))
    await trainer.stop()
    assert written["written"] == 6
    assert report["usable"] == 6


PARENT = """
import asyncio, sys
from fedtui.training import TrainerProcess
async def main():
    trainer = TrainerProcess("arithmetic")
    await trainer.start()
    print(trainer.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_the_real_worker_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, [child], 30)
    assert gone
    assert not alive
