"""Choosing the device and making its arithmetic repeatable."""

from __future__ import annotations

import os

import torch

from trainer.config import MAX_THREADS
from trainer.errors import MISUSE, NO_USABLE, TrainerError

DEVICE_VARIABLE = "FEDTUI_DEVICE"
"""Environment: ``cpu``, ``cuda``, ``cuda:1``, ``xpu`` or ``mps``; the best one without it."""
THREADS_VARIABLE = "FEDTUI_THREADS"
"""Environment: CPU threads. Equal results on a CPU need an equal number of threads."""
GPU_PERCENT_VARIABLE = "FEDTUI_GPU_PERCENT"
"""Environment: percent of the device's own memory this process may take, from 1; all without it."""


def choose() -> torch.device:
    """The device to train on. Raises :class:`TrainerError` with code 5 if it does not exist."""
    wanted = os.environ.get(DEVICE_VARIABLE, "")
    if not wanted and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if not wanted:
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.xpu.is_available():
            return torch.device("xpu")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainerError(
            "The device cannot be used",
            f"{DEVICE_VARIABLE}={wanted}: {error}",
            "Unset the variable to take the best device there is.",
            NO_USABLE,
        ) from error
    return device


def threads() -> int:
    """CPU threads to use. Raises :class:`TrainerError` when the setting is no positive number."""
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if not wanted:
        return min(os.cpu_count() or 1, MAX_THREADS)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 1024:
        raise TrainerError(
            "The number of threads is impossible",
            f"{THREADS_VARIABLE}={wanted}",
            "Give a number from 1 to 1024.",
            2,
        )
    return int(wanted)


def gpu_share() -> float:
    """The part of a device's own memory this process may take, up to 1. Raises TrainerError."""
    wanted = os.environ.get(GPU_PERCENT_VARIABLE, "") or "100"
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 100:
        raise TrainerError(
            "The share of the device's memory is impossible",
            f"{GPU_PERCENT_VARIABLE}={wanted}",
            "Give a number from 1 to 100.",
            MISUSE,
        )
    return int(wanted) / 100


def _bound(device: torch.device, share: float) -> None:
    """Makes torch refuse more than ``share`` of the device's memory, as when there is no more."""
    if share == 1:
        return
    if device.type == "mps":
        torch.mps.set_per_process_memory_fraction(share)
    elif device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)
    elif device.type == "xpu":
        torch.xpu.set_per_process_memory_fraction(share, device)


def configure() -> torch.device:
    """Fixes threads, memory and deterministic kernels for this process and chooses the device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads())
    device = choose()
    _bound(device, gpu_share())
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # It would write NaN into every new tensor first, to find readers of what nobody has written:
    # a fiftieth of a step on a CPU, and a kernel for each tensor on a GPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    return device


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device.

    A copy out of ordinary memory waits until a GPU has done all its work. One out of pinned memory
    waits in line, so that the next step is prepared while the last one is computed.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def described(device: torch.device) -> str:
    """What a person calls the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return device.type


def frozen_dtype(device: torch.device) -> torch.dtype:
    """Of weights that are not trained: bfloat16 on CUDA devices that compute it, else float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def training_dtype(device: torch.device) -> torch.dtype:
    """Of frozen weights while something else trains: bfloat16 where matrix units compute it.

    A CPU without such units is slower in bfloat16 than in float32.
    """
    if device.type != "cpu":
        return frozen_dtype(device)
    known = torch.cpu.get_capabilities()
    native = known.get("avx512_bf16") or known.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32
