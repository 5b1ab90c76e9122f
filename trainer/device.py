"""Choosing the device and making its arithmetic repeatable."""

from __future__ import annotations

import os

import torch

from trainer.config import MAX_THREADS
from trainer.errors import NO_USABLE, TrainerError

DEVICE_VARIABLE = "FEDTUI_DEVICE"
"""Environment: ``cpu``, ``cuda``, ``cuda:1``, ``xpu`` or ``mps``; the best one without it."""
THREADS_VARIABLE = "FEDTUI_THREADS"
"""Environment: CPU threads. Equal results on a CPU need an equal number of threads."""


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


def configure() -> torch.device:
    """Fixes threads and deterministic kernels for this process and chooses the device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads())
    device = choose()
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.backends.cudnn.benchmark = False
    return device


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
