"""Several processes train together as one would that accumulates their batches."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from trainer_rig import MakePictures
from worker_process import WorkerProcess

from trainer.job import Job
from trainer.protocol import AdapterSpec, Failed, Train, Tuning
from trainer.studio import Studio

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
"""What ``accelerate launch --multi_gpu`` runs, here on a CPU."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_do_what_one_does_with_twice_the_batches(
    tiny_model: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    request = Train(
        str(tiny_model), str(make_pictures(count=6)), str(tmp_path / "two"), AdapterSpec(2, 2), 4,
        batch=2, learning_rate=0.02, tuning=Tuning(checkpointing="off"),
    )  # fmt: skip
    with WorkerProcess("full", own_session=True, launcher=TWO) as worker:
        try:
            worker.ready()
            together = worker.ask(request)
            again = worker.ask(replace(request, round=1))
        finally:
            os.killpg(worker.process.pid, signal.SIGKILL)
    twice = replace(
        request, out=str(tmp_path / "one"), tuning=replace(request.tuning, accumulate=2)
    )
    alone = Studio().train(twice, Job())
    assert again["sha256"] != together["sha256"]
    # the mean over four steps, each of which starts from the weights that the ones before made
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    single = Studio().train(replace(twice, tuning=request.tuning), Job())
    assert together["loss"] != pytest.approx(single["loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_one_process_cannot_do_ends_the_training_of_all_with_its_words(
    tiny_model: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    """The others would wait for its gradients for ever."""
    request = Train(
        str(tiny_model), str(make_pictures(count=6)), str(tmp_path / "two"), AdapterSpec(2, 2), 4,
        batch=2, tuning=Tuning(checkpointing="off"),
    )  # fmt: skip
    program = (str(Path(__file__).with_name("failing_follower.py")),)
    with WorkerProcess("full", own_session=True, launcher=TWO, program=program) as worker:
        try:
            worker.ready()
            answer, _ = worker.finish(worker.send(request))
            again = worker.ask(replace(request, round=1))
            missing = replace(request, round=1, folder=str(tmp_path / "nowhere"))
            nowhere, _ = worker.finish(worker.send(missing))
            third = worker.ask(replace(request, round=1))
        finally:
            os.killpg(worker.process.pid, signal.SIGKILL)
    assert isinstance(answer, Failed)
    assert answer.title == "Out of memory"
    assert "process 1 of 2" in answer.cause
    assert "a batch of 1" in answer.remedy
    assert isinstance(nowhere, Failed)
    assert nowhere.title == "There is no such folder"
    assert again["sha256"] == third["sha256"]
