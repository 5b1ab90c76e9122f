"""The best device is taken unless somebody says otherwise, and what it cannot do is known."""

from __future__ import annotations

import pytest
import torch

from trainer import device, memory
from trainer.errors import TrainerError


def only(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """A machine with these accelerators."""
    monkeypatch.delenv(device.DEVICE_VARIABLE, raising=False)
    for kind, place in (
        ("cuda", torch.cuda),
        ("xpu", torch.xpu),
        ("mps", torch.backends.mps),
    ):
        monkeypatch.setattr(place, "is_available", lambda kind=kind: kind in kinds)


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("xpu", "mps"), "xpu"), (("cuda", "xpu", "mps"), "cuda")],
)
def test_the_best_device_there_is_is_taken(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], chosen: str
) -> None:
    only(monkeypatch, *kinds)
    assert device.choose() == torch.device(chosen)


def test_each_process_of_a_crew_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device.choose() == torch.device("cuda", 3)


def test_a_device_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "cuda")
    monkeypatch.setenv(device.DEVICE_VARIABLE, "cpu")
    assert device.choose() == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:7", "toaster"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(device.DEVICE_VARIABLE, name)
    with pytest.raises(TrainerError) as caught:
        device.choose()
    assert name in caught.value.cause
    assert "Unset" in caught.value.remedy
    assert caught.value.code == 5


def test_no_more_of_a_card_is_taken_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card of 80 GB with 70 free, of which 10 are ours: 40 may be taken, 30 more."""
    only(monkeypatch, "cuda")
    allowed: list[float] = []
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, card: allowed.append(share)
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (70, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda card: 10)
    threads = torch.get_num_threads()
    try:
        device.configure()
        assert (allowed, memory.free_bytes(torch.device("cuda"))) == ([], 70)
        monkeypatch.setenv(device.GPU_PERCENT_VARIABLE, "50")
        device.configure()
        assert (allowed, memory.free_bytes(torch.device("cuda"))) == ([0.5], 30)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)


def test_new_tensors_are_not_written_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    threads = torch.get_num_threads()
    try:
        device.configure()
    finally:
        torch.set_num_threads(threads)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        torch.empty(8)
    names = {event.key for event in seen.key_averages()}
    assert "aten::empty" in names
    assert "aten::fill_" not in names


@pytest.mark.parametrize("number", ["0", "-1", "many", "101"])
def test_an_impossible_share_of_a_card_is_refused(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv(device.GPU_PERCENT_VARIABLE, number)
    with pytest.raises(TrainerError, match="impossible"):
        device.gpu_share()


@pytest.mark.parametrize("number", ["0", "-1", "many", "4096"])
def test_an_impossible_number_of_threads_is_refused(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv(device.THREADS_VARIABLE, number)
    with pytest.raises(TrainerError):
        device.threads()


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_trains_in_bfloat16_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert device.training_dtype(torch.device("cpu")) is dtype


@pytest.mark.parametrize("native", [True, False])
def test_a_card_computes_in_bfloat16_only_where_that_is_native(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    wanted = torch.bfloat16 if native else torch.float32
    assert device.frozen_dtype(torch.device("cuda")) is wanted
    assert device.frozen_dtype(torch.device("mps")) is torch.float32


class Told:
    """A tensor that tells what is done with it."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def pin_memory(self) -> Told:
        self.done.append("pinned")
        return self

    def to(self, place: torch.device, non_blocking: bool = False) -> Told:
        self.done.append((place.type, non_blocking))
        return self


@pytest.mark.parametrize(
    ("kind", "done"), [("cuda", ["pinned", ("cuda", True)]), ("cpu", [("cpu", False)])]
)
def test_a_card_need_not_be_idle_for_a_batch_to_reach_it(kind: str, done: list[object]) -> None:
    tensor = Told()
    device.moved(tensor, torch.device(kind))  # type: ignore[arg-type]
    assert tensor.done == done
