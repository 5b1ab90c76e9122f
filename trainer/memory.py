"""How many pictures fit into one step, found by measuring one, and what to do if none does; and
keeping the memory of one step for the next."""

from __future__ import annotations

import ctypes
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

from trainer.device import gpu_share
from trainer.errors import TrainerError

log = logging.getLogger("trainer")

FILL = 0.8
"""Share of the free memory that may be planned with."""
TEMPORARY = 1.4
"""Peak of a step over what it keeps for the way back; measured 1.2 to 1.35 on UNets."""
MAX_FOUND = {"cuda": 32, "cpu": 8}
"""Largest batches that are chosen: a GPU is busy from about 32 on, a CPU from about 8 on."""


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``: free bytes at the heap's end, and bytes of one block, above
which memory goes back to the system at once."""
USUAL = {M_TRIM_THRESHOLD: 64 << 20, M_MMAP_THRESHOLD: 32 << 20}
"""What glibc arrives at by itself in a process with large blocks."""
HOLDING = {M_TRIM_THRESHOLD: (1 << 31) - 1, M_MMAP_THRESHOLD: 128 << 20}
"""While a training runs. Larger blocks are few, and would leave holes in the heap."""


@dataclass(frozen=True)
class Plan:
    """Pictures in one step, and whether their activations are computed twice instead of kept."""

    batch: int
    checkpointing: bool


def kept_bytes(forward: Callable[[], torch.Tensor], own: int) -> int:
    """Bytes that a forward pass keeps for its way back; ``own`` of them are weights."""
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself: a result that its own graph keeps is never freed again.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return max(1, sum(seen.values()) - own)


@contextmanager
def held() -> Iterator[None]:
    """What a step frees on the CPU stays with this process until the end, for the steps after it.

    Otherwise glibc gives the activations of every step back, and the system clears each page anew
    for the next: 10,000 faults and a tenth of the time of a step of the embedded model. Without
    glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    try:
        for parameter, value in HOLDING.items():
            libc.mallopt(parameter, value)
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device, within what this process may take of it."""
    share = gpu_share()
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        return int(min(free, share * whole - torch.cuda.memory_reserved(device)))
    if device.type == "mps":
        used = torch.mps.driver_allocated_memory()
        return int(share * torch.mps.recommended_max_memory() - used)
    return int(psutil.virtual_memory().available)


def planned(
    wanted: int,
    checkpointing: str,
    per_picture: int,
    fixed: int,
    free: int,
    most: int,
) -> Plan:
    """The batch for a step; ``wanted`` 0 finds the largest power of two that fits.

    ``per_picture`` and ``fixed`` are bytes, ``most`` the largest batch worth having. With
    ``checkpointing`` "auto" activations are computed twice only where they would not fit.
    """
    room = max(0.0, free * FILL - fixed)
    fits = int(room / (per_picture * TEMPORARY))
    if wanted:
        again = checkpointing == "on" or (checkpointing == "auto" and fits < wanted)
        return Plan(wanted, again)
    if fits < 1:
        return Plan(1, checkpointing != "off")
    return Plan(1 << (min(fits, most).bit_length() - 1), checkpointing == "on")


def exhausted(error: Exception, batch: int, checkpointing: bool, resolution: int) -> TrainerError:
    """What to do about a step that did not fit, the mildest cure first."""
    cures = []
    if batch > 1:
        cures.append(f"a batch of {batch // 2} (--accumulate 2 keeps the effect of {batch})")
    if not checkpointing:
        cures.append("--checkpointing on, which takes a third longer")
    cures.append(f"smaller pictures than {resolution} pixels")
    return TrainerError(
        "Out of memory",
        f"A step with {batch} pictures did not fit: {str(error)[:300]}",
        f"Try {', or '.join(cures)}.",
    )


def is_exhaustion(error: Exception) -> bool:
    """Whether memory ran out; torch says it in words on some devices."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "MemoryError" in text  # of another process
        or "out of memory" in text
        or "t allocate memory" in text
    )
