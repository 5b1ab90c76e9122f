"""Strangers' files on their way into a round: the real worker, the plan, the built-in model."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from fedtui.demo.founding import found
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.rooms import Room
from fedtui.training import TrainerProcess
from fedtui.workload import AdapterWorkload
from p2p.workload import Input
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
    async def ignore(path: Path, round_number: int) -> None:
        del path, round_number

    return AdapterWorkload(arithmetic, tmp_path / "work", max_blob=64 << 20, on_applied=ignore)


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


def one_factor_only(factors: Factors) -> None:
    for name in [name for name in factors if ".lora_A." in name]:
        del factors[name]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
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
    ],
)
async def test_a_spoilt_contribution_gets_a_reason(
    room: tuple[Room, Path],
    workload: AdapterWorkload,
    tmp_path: Path,
    spoil: Callable[[Factors], None],
    word: str,
) -> None:
    founded, initial = room
    assert (await workload.check(initial, founded.genesis.plan)).ok
    factors = {name: array.copy() for name, array in read_all(initial)[0].items()}
    spoil(factors)
    spoilt = tmp_path / "spoilt.safetensors"
    write(spoilt, factors)
    verdict = await workload.check(spoilt, founded.genesis.plan)
    assert not verdict.ok
    assert word in verdict.reason


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
