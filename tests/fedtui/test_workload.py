"""Strangers' files on their way into a round: the real worker, the plan, the built-in model."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fedtui.demo.founding import found
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.errors import TrainerDied
from fedtui.paths import sha256_of
from fedtui.rooms import Room
from fedtui.training import TrainerProcess
from fedtui.workload import AdapterWorkload
from p2p.errors import P2PError
from p2p.messages import ResultInput
from p2p.workload import Input
from trainer.protocol import CheckData
from trainer.tensor_file import read_all, write

Factors = dict[str, np.ndarray]


@pytest.fixture
async def arithmetic() -> AsyncIterator[TrainerProcess]:
    worker = TrainerProcess("arithmetic")
    yield worker
    await worker.stop()


@pytest.fixture
async def room(tmp_path: Path, arithmetic: TrainerProcess) -> tuple[Room, Path]:
    """A founded room and the adapter it starts from."""
    paths = open_directory(DemoOptions(nodes=2, directory=tmp_path / "demo"))
    return (await found(DemoOptions(nodes=2), paths, arithmetic)).room, paths.initial


@pytest.fixture
def workload(tmp_path: Path, arithmetic: TrainerProcess) -> AdapterWorkload:
    return AdapterWorkload(arithmetic, tmp_path / "work", max_blob=64 << 20, on_applied=_ignore)


async def _ignore(path: Path, round_number: int) -> None:
    del path, round_number


def not_a_number(factors: Factors) -> None:
    next(iter(factors.values())).flat[0] = np.nan


def another_shape(factors: Factors) -> None:
    name = next(iter(factors))
    factors[name] = factors[name][:1]


def one_too_many(factors: Factors) -> None:
    factors["mid_block.extra.lora_A.weight"] = np.zeros((8, 8), np.float32)


def one_missing(factors: Factors) -> None:
    factors.pop(next(iter(factors)))


def an_alpha(factors: Factors) -> None:
    factors["mid_block.alpha"] = np.float32(16).reshape(())


def another_rank(factors: Factors) -> None:
    for name, array in factors.items():
        axis = 0 if ".lora_A." in name else 1
        factors[name] = np.concatenate([array, array], axis=axis)


def another_type(factors: Factors) -> None:
    name = next(iter(factors))
    factors[name] = factors[name].astype(np.float16)


def all_zero(factors: Factors) -> None:
    for name in factors:
        factors[name] = np.zeros_like(factors[name])


def far_too_large(factors: Factors) -> None:
    name = next(iter(factors))
    factors[name] = factors[name] + np.float32(1e6)


def other_layers(factors: Factors) -> None:
    for name in list(factors):
        factors[f"text_model.{name}"] = factors.pop(name)


def endless(factors: Factors) -> None:
    next(iter(factors.values())).flat[-1] = -np.inf


def another_base_model(factors: Factors) -> None:
    """The same names with other widths, as a larger model of the family has them."""
    for name, array in factors.items():
        axis = 1 if ".lora_A." in name else 0
        factors[name] = np.concatenate([array, array], axis=axis)


def nothing(factors: Factors) -> None:
    factors.clear()


def one_factor_only(factors: Factors) -> None:
    for name in [name for name in factors if ".lora_A." in name]:
        del factors[name]


SPOILT: tuple[tuple[Callable[[Factors], None], str], ...] = (
    (an_alpha, "does not have"),
    (another_rank, "shape"),
    (another_type, "F16 and not F32"),
    (all_zero, "norm of 0"),
    (far_too_large, "values beyond"),
    (other_layers, "does not have"),
    (one_factor_only, "missing"),
    (not_a_number, "NaN or infinity"),
    (another_shape, "shape"),
    (one_too_many, "does not have"),
    (one_missing, "missing"),
    (endless, "NaN or infinity"),
    (another_base_model, "shape"),
    (nothing, "missing"),
)


async def test_every_spoilt_contribution_gets_the_same_reason_on_two_nodes(
    room: tuple[Room, Path], workload: AdapterWorkload, tmp_path: Path
) -> None:
    """Reasons are signed with the result: nodes that word them otherwise would not agree."""
    founded, initial = room
    other_process = TrainerProcess("arithmetic")
    try:
        other = AdapterWorkload(
            other_process, tmp_path / "other", max_blob=64 << 20, on_applied=_ignore
        )
        assert (await workload.check(initial, founded.genesis.plan)).ok
        for spoil, word in SPOILT:
            factors = {name: array.copy() for name, array in read_all(initial)[0].items()}
            spoil(factors)
            spoilt = write(tmp_path / spoil.__name__, factors).path
            verdict = await workload.check(spoilt, founded.genesis.plan)
            assert not verdict.ok, spoil
            assert word in verdict.reason
            assert verdict == await other.check(spoilt, founded.genesis.plan)
    finally:
        await other_process.stop()


async def test_a_renamed_pickle_is_called_by_its_name(
    room: tuple[Room, Path], workload: AdapterWorkload, tmp_path: Path
) -> None:
    pickle = tmp_path / "pickle.safetensors"
    pickle.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00" + b"x" * 64)
    verdict = await workload.check(pickle, room[0].genesis.plan)
    assert not verdict.ok
    assert "pickle" in verdict.reason


async def test_the_same_inputs_give_the_same_file_twice(
    room: tuple[Room, Path], workload: AdapterWorkload, tmp_path: Path
) -> None:
    founded, initial = room
    inputs = []
    for peer, scale in (("a", 1.5), ("b", 0.25)):
        path = tmp_path / peer
        write(path, {n: (scale * x).astype(np.float32) for n, x in read_all(initial)[0].items()})
        inputs.append(Input(peer, path, 20))
    plan = founded.genesis.plan
    results = [await workload.combine(order, plan, initial) for order in (inputs, inputs[::-1])]
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in results)
    assert first == second
    assert first != founded.genesis.initial_blob


async def test_duplicates_strange_weights_and_few_contributions(
    room: tuple[Room, Path], tmp_path: Path, arithmetic: TrainerProcess
) -> None:
    """What passes every check of a file and still cannot count: a word for each, and the rest goes
    on."""
    founded, initial = room
    heard: list[dict[str, object]] = []
    workload = AdapterWorkload(
        arithmetic, tmp_path / "work", max_blob=64 << 20, on_applied=_ignore,
        on_combined=lambda sha256, told, size: heard.append(told),
    )  # fmt: skip
    paths = []
    for scale in (1.5, 0.25):
        arrays = {n: (scale * x).astype(np.float32) for n, x in read_all(initial)[0].items()}
        paths.append(write(tmp_path / str(scale), arrays).path)
    one, two, plan = Input("a", paths[0], 20), Input("b", paths[1], 30), founded.genesis.plan
    thief = Input("c", paths[0], 1)

    honest = sha256_of(await workload.combine([one, two], plan, initial))
    assert sha256_of(await workload.combine([thief, two, one], plan, initial)) == honest
    (stolen,) = (each for each in heard[-1]["participants"] if each["id"] == "c")  # type: ignore[attr-defined]
    assert "the same numbers as those of a" in stolen["excluded"]

    for weight in (0, -1, 1 << 29, 1 << 40):
        with pytest.raises(P2PError, match=f"The weight {weight} of b"):
            await workload.combine([one, Input("b", paths[1], weight)], plan, initial)
        with pytest.raises(ValidationError):
            ResultInput(contribution="0" * 64, peer="a" * 52, blob="0" * 64, weight=weight)
    with pytest.raises(P2PError, match="0 contributions were given"):
        await workload.combine([], plan, initial)
    alone = await workload.combine([two], plan, initial)
    assert read_all(alone)[0].keys() == read_all(initial)[0].keys()
    for name, array in read_all(alone)[0].items():
        assert array.tobytes() == read_all(paths[1])[0][name].tobytes()


MORTAL = """
import json, os, sys
print(json.dumps({"kind": "ready", "role": "arithmetic", "device": "", "pid": 1}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    place = request.get("path") or request.get("folder") or request.get("out") or ""
    name = os.path.basename(place)
    if name == "deadly":
        os._exit(9)
    if "id" in request and name:
        result = {"ok": True, "reason": "", "sha256": "", "statistics": {}, "bytes": 0}
        done = {"kind": "done", "request": request["id"], "result": result}
        print(json.dumps(done), flush=True)
    if request["kind"] == "stop":
        break
"""


async def test_a_file_that_ends_the_checking_process_takes_no_other_with_it(
    room: tuple[Room, Path], tmp_path: Path
) -> None:
    plan = room[0].genesis.plan
    mortal = TrainerProcess(command=(sys.executable, "-c", MORTAL))
    workload = AdapterWorkload(mortal, tmp_path / "work", max_blob=64 << 20)
    names = ("one", "deadly", "two", "three")
    verdicts = await asyncio.gather(*(workload.check(tmp_path / name, plan) for name in names))
    assert [verdict.ok for verdict in verdicts] == [True, False, True, True]
    assert "ended the checking process" in verdicts[1].reason

    other = asyncio.create_task(mortal.request(CheckData("deadly")))
    assert (await workload.check(tmp_path / "behind another", plan)).ok
    with pytest.raises(TrainerDied):
        await other

    deadly = asyncio.create_task(workload.check(tmp_path / "deadly", plan))
    result = await workload.combine([], plan, tmp_path / "previous")
    assert not result.exists(), "the worker of this test writes none"
    assert not (await deadly).ok
    await mortal.stop()


async def test_a_checking_process_that_never_starts_says_nothing_about_a_file(
    room: tuple[Room, Path], tmp_path: Path
) -> None:
    dead = TrainerProcess(command=(sys.executable, "-c", "raise SystemExit(1)"))
    workload = AdapterWorkload(dead, tmp_path / "work", max_blob=64 << 20)
    with pytest.raises(P2PError, match="ended unexpectedly"):
        await workload.check(tmp_path / "one", room[0].genesis.plan)
