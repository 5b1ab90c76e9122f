"""The trainer as fedtui sees it: a process on two pipes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hub_rig import serving
from PIL import Image
from trainer_rig import MakePictures
from worker_process import WorkerProcess

from trainer.aggregate.kernel import narrow, widen
from trainer.config import NICENESS
from trainer.models.store import STORE_VARIABLE
from trainer.protocol import (
    MAX_LINE,
    AdapterSpec,
    Cancel,
    CheckBlob,
    CheckData,
    Combine,
    Done,
    Evaluate,
    ExportAdapter,
    Failed,
    Generate,
    InitAdapter,
    Load,
    LoraFile,
    Progress,
    SampleData,
    SplitData,
    Stop,
    Train,
    WeightedFile,
    encode_request,
)
from trainer.tensor_file import read_all

SPEC = AdapterSpec(rank=2, alpha=2)


@pytest.fixture(scope="module")
def full() -> Iterator[WorkerProcess]:
    with WorkerProcess("full") as worker:
        assert worker.ready().device == "cpu"
        yield worker


@pytest.fixture(scope="module")
def arithmetic() -> Iterator[WorkerProcess]:
    with WorkerProcess("arithmetic") as worker:
        assert worker.ready().role == "arithmetic"
        yield worker


@pytest.fixture
def training(tiny_model: Path, make_pictures: MakePictures, tmp_path: Path) -> Train:
    return Train(
        str(tiny_model),
        str(make_pictures()),
        str(tmp_path / "out"),
        SPEC,
        steps=12,
        batch=2,
        cache=str(tmp_path / "cache"),
    )


def sha256(path: object) -> str:
    return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()


def test_a_round_by_hand(
    full: WorkerProcess,
    arithmetic: WorkerProcess,
    training: Train,
    make_pictures: MakePictures,
    tmp_path: Path,
) -> None:
    """Init, train twice, check, combine, draw, export: everything a room's round asks for."""
    model = training.model
    start = arithmetic.ask(InitAdapter(model, SPEC, 5, str(tmp_path / "a0")))
    assert start["sha256"] == sha256(tmp_path / "a0")
    other = make_pictures("others", 3, first=50)
    for node, folder in (("a", training.folder), ("b", str(other))):
        out = str(tmp_path / node)
        request = replace(training, node=node, folder=folder, out=out, initial=str(tmp_path / "a0"))
        answer, progress = full.finish(full.send(request))
        assert isinstance(answer, Done), answer
        assert answer.result["sha256"] == sha256(out)
        assert answer.result["steps"] == training.steps
        assert any(p.data["stage"] == "train" and p.data["loss"] > 0 for p in progress)
        verdict = arithmetic.ask(CheckBlob(out, model, SPEC, 1 << 20))
        assert verdict == {"ok": True, "reason": ""}
    inputs = tuple(WeightedFile(n, str(tmp_path / n), w) for n, w in (("a", 4), ("b", 3)))
    combine = Combine(inputs, "fedavg", str(tmp_path / "a0"), str(tmp_path / "round1"))
    result = arithmetic.ask(combine)
    assert result["sha256"] == sha256(tmp_path / "round1")
    assert [each["id"] for each in result["statistics"]["participants"]] == ["a", "b"]
    a, b, mean = (read_all(tmp_path / name)[0] for name in ("a", "b", "round1"))
    for name, value in mean.items():
        by_hand = widen(a[name]) * (4 / 7) + widen(b[name]) * (3 / 7)
        assert value.tobytes() == narrow(by_hand).tobytes()
    assert full.ask(combine)["sha256"] == result["sha256"]

    lora = str(tmp_path / "lora.safetensors")
    exported = arithmetic.ask(ExportAdapter(str(tmp_path / "round1"), lora, model, "kohya"))
    assert exported["modules"] == len(mean) // 2
    pictures = [
        full.ask(
            Generate(model, ("a house",), (1,), str(tmp_path / name), loras, steps=2, note="r1")
        )
        for name, loras in (
            ("base.png", ()),
            ("factors.png", (LoraFile(str(tmp_path / "round1"), 1.0),)),
            ("kohya.png", (LoraFile(lora, 1.0),)),
        )
    ]
    assert all(len(p["pictures"]) == 1 for p in pictures)
    base, one, two = (
        Image.open(tmp_path / f"{n}.png").tobytes() for n in ("base", "factors", "kohya")
    )
    assert one == two != base


@pytest.mark.slow
def test_two_runs_and_two_processes_give_the_same_bytes(
    full: WorkerProcess, training: Train, tmp_path: Path
) -> None:
    first = full.ask(training)["sha256"]
    assert full.ask(replace(training, cache=""))["sha256"] == first
    with WorkerProcess("full") as other:
        other.ready()
        assert other.ask(replace(training, out=str(tmp_path / "other")))["sha256"] == first


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bytes(
    full: WorkerProcess, training: Train, tmp_path: Path
) -> None:
    long = replace(training, steps=40)
    expected = full.ask(long)["sha256"]
    checkpoint = tmp_path / "checkpoint"
    saved = replace(long, out=str(tmp_path / "resumed"), checkpoint=str(checkpoint))
    with WorkerProcess("full") as doomed:
        doomed.ready()
        doomed.send(saved)
        while not checkpoint.exists():
            message = doomed.next()
            assert isinstance(message, Progress), message
        doomed.process.send_signal(signal.SIGKILL)
        assert doomed.exit_code() == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    answer, progress = full.finish(full.send(saved))
    assert isinstance(answer, Done)
    assert answer.result["sha256"] == expected
    steps = [p.data["step"] for p in progress if p.data["stage"] == "train"]
    assert min(steps, default=99) > 10


def test_cancel_ends_a_running_request_and_the_worker_goes_on(
    full: WorkerProcess, training: Train
) -> None:
    number = full.send(replace(training, steps=100_000))
    while not (isinstance(message := full.next(), Progress) and message.data["stage"] == "train"):
        pass
    waiting = full.send(replace(training, steps=100_000))
    for request in (waiting, number):  # What only waits does not wait for the other's end.
        full.send(Cancel(request))
        answer, _ = full.finish(request)
        assert isinstance(answer, Failed)
        assert answer.cancelled
    assert not Path(training.out).exists()
    full.ask(Load(training.model))


def test_cancelling_what_is_over_does_nothing(arithmetic: WorkerProcess, tmp_path: Path) -> None:
    arithmetic.send(Cancel(99))
    number = arithmetic.send(SampleData(str(tmp_path / "s"), 1))
    assert isinstance(arithmetic.finish(number)[0], Done)
    arithmetic.send(Cancel(number))
    arithmetic.ask(CheckData(str(tmp_path / "s")))


def test_generate_writes_pictures_with_their_recipe(
    full: WorkerProcess, tiny_model: Path, tmp_path: Path
) -> None:
    request = Generate(
        str(tiny_model),
        ("a house", "the sea, größer"),
        (1, 2),
        str(tmp_path / "previews"),
        negative="blue",
        steps=3,
        guidance=3.5,
        note="round 2",
    )
    answer, progress = full.finish(full.send(request))
    assert isinstance(answer, Done)
    pictures = answer.result["pictures"]
    assert [(p["prompt"], p["seed"]) for p in pictures] == [
        (prompt, seed) for prompt in request.prompts for seed in request.seeds
    ]
    announced = [p.data["path"] for p in progress if "path" in p.data]
    assert announced == [p["path"] for p in pictures]
    image = Image.open(pictures[3]["path"])
    assert image.size == (32, 32)
    assert image.info["parameters"].splitlines() == [
        "the sea, größer",
        "Negative prompt: blue",
        f"Steps: 3, Sampler: DDIM, CFG scale: 3.5, Seed: 2, Size: 32x32, Model hash: "
        f"{full.ask(Load(str(tiny_model)))['sha256'][:10]}, Model: tiny-random",
    ]
    recipe = json.loads(image.info["fedtui"])
    assert recipe["note"] == "round 2"
    assert recipe["prompt"] == "the sea, größer"
    contents = {Path(p["path"]).read_bytes() for p in pictures}
    assert len(contents) == 4

    alone = full.ask(
        replace(request, prompts=(request.prompts[1],), seeds=(2,), out=str(tmp_path / "alone.png"))
    )
    assert Image.open(alone["pictures"][0]["path"]).tobytes() == image.tobytes()
    both = full.ask(
        replace(request, prompts=(request.prompts[1],), out=str(tmp_path / "house.v2.png"))
    )
    assert [Path(p["path"]).name for p in both["pictures"]] == ["house.v2-1.png", "house.v2-2.png"]
    assert Image.open(both["pictures"][1]["path"]).tobytes() == image.tobytes()


def test_impossible_pictures_are_refused(
    full: WorkerProcess, tiny_model: Path, tmp_path: Path
) -> None:
    possible = Generate(str(tiny_model), ("x",), (1,), str(tmp_path / "o"), steps=1)
    for change in (
        {"prompts": ()},
        {"seeds": (-1,)},
        {"steps": 0},
        {"width": 33},
        {"height": 1 << 20},
    ):
        answer, _ = full.finish(full.send(replace(possible, **change)))
        assert isinstance(answer, Failed)
        assert answer.code == 2
        assert answer.remedy
    missing = replace(possible, loras=(LoraFile(str(tmp_path / "no"), 1.0),))
    answer, _ = full.finish(full.send(missing))
    assert isinstance(answer, Failed)
    assert answer.title == "The adapter cannot be read"


def test_evaluate_compares_on_the_same_draws(
    full: WorkerProcess, training: Train, tmp_path: Path
) -> None:
    full.ask(replace(training, learning_rate=0.01))
    request = Evaluate(training.model, training.folder, ("", training.out), draws=3)
    result = full.ask(request)
    assert result["pictures"] == 4
    assert result["losses"][""] != result["losses"][training.out]
    assert full.ask(request) == result
    assert full.ask(replace(request, seed=1))["losses"] != result["losses"]


def test_failures_have_title_remedy_and_code(
    arithmetic: WorkerProcess, full: WorkerProcess, training: Train, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for request, code in (
        (replace(training, folder=str(tmp_path / "empty")), 5),
        (replace(training, folder=str(tmp_path / "nowhere")), 5),
        (replace(training, model=str(tmp_path / "empty")), 5),
        (replace(training, model=str(tmp_path / "nowhere")), 2),
    ):
        answer, _ = full.finish(full.send(request))
        assert isinstance(answer, Failed)
        assert answer.code == code
        assert answer.title
        assert answer.cause
        assert answer.remedy
        assert not answer.cancelled
    answer, _ = arithmetic.finish(arithmetic.send(training))
    assert isinstance(answer, Failed)
    assert answer.code == 2


def test_bad_content_is_a_verdict(
    arithmetic: WorkerProcess, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x02}q\x00." + b"\0" * 100)
    verdict = arithmetic.ask(CheckBlob(str(tmp_path / "pickle"), str(tiny_model), SPEC, 1 << 20))
    assert verdict["ok"] is False
    assert "pickle" in str(verdict["reason"])


def test_data_is_sampled_checked_and_split(arithmetic: WorkerProcess, tmp_path: Path) -> None:
    for participant, style in ((-1, "plain"), (-2, "van_gogh"), (0, "van_gogh")):
        folder = str(tmp_path / str(participant))
        request = SampleData(folder, 6, style, 1, participant)
        assert arithmetic.ask(request) == {"written": 6}
        checked = arithmetic.ask(CheckData(folder))
        assert checked["usable"] == 6
        assert checked["problems"] == []
        assert checked["captions"] == {"txt": 6}
    out = tuple(str(tmp_path / f"part{n}") for n in range(2))
    split = SplitData(str(tmp_path / "-1"), out, 0, 2, str(tmp_path / "held"))
    assert arithmetic.ask(split) == {"counts": [2, 2], "holdout": 2}
    answer, _ = arithmetic.finish(arithmetic.send(SampleData(str(tmp_path / "x"), 1, "cubist")))
    assert isinstance(answer, Failed)
    assert "van_gogh" in answer.remedy


def test_garbage_is_survived_and_answered_where_it_has_an_id(
    arithmetic: WorkerProcess, tmp_path: Path
) -> None:
    for line in (b"garbage\n", b"\xff\xfe\n", b"[]\n", b"{}\n", b"\n", b'{"id":"x"}\n'):
        arithmetic.write(line)
    arithmetic.write(b"[" * 100_000 + b"\n")
    arithmetic.write(b'{"id":900,"kind":"check_data","folder":3}\n')
    arithmetic.write(b'{"id":901,"kind":"nonsense"}\n')
    arithmetic.write(b'{"id":902,"kind":"check_data","foldr":"x"}\n')
    for number in (900, 901, 902):
        answer, _ = arithmetic.finish(number)
        assert isinstance(answer, Failed)
        assert answer.code == 2
    arithmetic.ask(SampleData(str(tmp_path / "s"), 1))


def test_a_line_without_end_ends_the_conversation() -> None:
    with WorkerProcess("arithmetic") as worker:
        worker.ready()
        worker.write(b"x" * (MAX_LINE + 2))
        assert worker.exit_code() == 0
        assert any("ends the conversation" in line for line in worker.log)


def test_too_many_waiting_requests_are_turned_away(tmp_path: Path) -> None:
    with WorkerProcess("arithmetic") as worker:
        worker.ready()
        lines = [encode_request(n, SampleData(str(tmp_path / str(n)), 20)) for n in range(1, 80)]
        worker.write(b"".join(lines))
        answer, _ = worker.finish(79)
        assert isinstance(answer, Failed)
        assert "busy" in answer.title


@pytest.mark.parametrize("end", ["stop", "eof", "sigterm"])
@pytest.mark.parametrize("role", [pytest.param("full", marks=pytest.mark.slow), "arithmetic"])
def test_every_way_to_end_is_clean(role: str, end: str) -> None:
    with WorkerProcess(role) as worker:
        worker.ready()
        worker.process.send_signal(signal.SIGINT)
        if end == "stop":
            worker.send(Stop())
        elif end == "eof":
            worker.close()
        else:
            worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0, worker.log


@pytest.mark.slow
def test_stopping_ends_a_running_training_with_an_answer(training: Train) -> None:
    with WorkerProcess("full") as worker:
        worker.ready()
        number = worker.send(replace(training, steps=100_000))
        while not (
            isinstance(message := worker.next(), Progress) and message.data["stage"] == "train"
        ):
            pass
        worker.send(Stop())
        answer, _ = worker.finish(number)
        assert isinstance(answer, Failed)
        assert answer.cancelled
        assert worker.exit_code() == 0


def test_the_parents_death_ends_the_worker(tmp_path: Path) -> None:
    """Even when a sibling holds the pipe open: the middle process dies, we keep its stdin."""
    read, write = os.pipe()
    script = (
        "import subprocess, sys, os, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'trainer', '--role', 'arithmetic'],"
        f" stdin={read}, stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\n"
        "print(p.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    middle = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, pass_fds=(read,)
    )
    assert middle.stdout is not None
    worker = int(middle.stdout.readline())
    middle.wait()
    os.close(read)
    deadline = time.monotonic() + 60
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(worker)
    os.close(write)


def running(pid: int) -> bool:
    """Whether the process still does something; nobody may be there to collect its remains."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_but_messages_reaches_stdout() -> None:
    """Libraries print; a stray line would end the conversation."""
    code = (
        "import os, sys\n"
        "from trainer.__main__ import private_stdout\n"
        "sink = private_stdout()\n"
        "print('stray print')\n"
        "os.system('echo stray child')\n"
        "os.write(1, b'stray write\\n')\n"
        "sink.write(b'message\\n')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout == b"message\n"
    assert result.stderr.count(b"stray") == 3


HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")


def test_the_arithmetic_role_never_imports_torch_and_is_limited(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Runs each of its requests in this interpreter's child and looks at what was imported."""
    code = f"""
import json, sys
from pathlib import Path
from trainer.__main__ import limit_memory
limit_memory()
import resource
assert resource.getrlimit(resource.RLIMIT_AS)[0] == 2 << 30
from trainer.arithmetic import HANDLERS
from trainer.job import Job
from trainer import protocol as p
import trainer.worker
out, model, spec = {str(tmp_path)!r}, {str(tiny_model)!r}, p.AdapterSpec(2, 2)
requests = [
    p.SampleData(out + "/s", 2, "van_gogh", 0, 0),
    p.CheckData(out + "/s"),
    p.SplitData(out + "/s", (out + "/p",)),
    p.InitAdapter(model, spec, 1, out + "/a"),
    p.CheckBlob(out + "/a", model, spec, 1 << 20),
    p.Combine((p.WeightedFile("x", out + "/a", 1),), "fedex", out + "/a", out + "/c"),
    p.ExportAdapter(out + "/c", out + "/k", model),
    p.InspectAdapter(out + "/k", model),
    p.Describe(model),
    p.ContactSheet(out + "/sheet.png", ("x",), (p.SheetRow("y", (out + "/s/0000.png",)),)),
    p.RestoreAdapter(out + "/k", model, 2, out + "/r"),
    p.CombineAdapters((p.WeightedFile("x", out + "/k", 1),), model, "fedavg", out + "/m"),
    p.ListModels((model,)),
    p.MeasureDownload("owner/tiny"),
    p.FetchModel("owner/tiny"),
]
assert {{type(r) for r in requests}} == set(HANDLERS) == p.ARITHMETIC
for request in requests:
    HANDLERS[type(request)](request, Job())
print(json.dumps(sorted(sys.modules)))
"""
    with serving(tiny_model) as hub:
        there = {"HF_ENDPOINT": hub.address, STORE_VARIABLE: str(tmp_path / "store")}
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, capture_output=True, check=False, env=os.environ | there)
    assert result.returncode == 0, result.stderr.decode()
    imported = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert not imported & set(HEAVY)
    assert "numpy" in imported


def test_the_protocol_imports_nothing_but_the_standard_library() -> None:
    code = "import json, sys, trainer.protocol; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    names = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert not names & {*HEAVY, "numpy", "PIL"}


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")
def test_training_in_a_session_of_its_own_gives_way_to_other_sessions() -> None:
    """Between sessions Linux ignores the niceness of processes (see sched(7))."""
    with WorkerProcess(own_session=True) as worker:
        worker.ready()
        group = Path(f"/proc/{worker.process.pid}/autogroup").read_text(encoding="ascii")
        assert group.split()[-2:] == ["nice", str(NICENESS)]
