"""``python -m tests.benchmarks.full_size``: Stable Diffusion 1.5 on this machine, as users run it.

Writes a checkpoint of random weights, trains one step at 512 x 512 and draws one picture with
``fedtui train`` and ``fedtui generate``; prints wall time and peak memory of each. Takes 2.1 GB of
disk for a while.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.sd15 import write_checkpoint

PICTURES = 1
SIDE = 512
DRAWING_STEPS = 4


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fedtui-sd15-") as place:
        folder = Path(place)
        own = {**os.environ, "FEDTUI_HOME": str(folder / "home")}
        writer = multiprocessing.get_context("spawn").Process(
            target=write_checkpoint, args=(folder / "sd15",)
        )
        writer.start()
        writer.join()
        size = sum(path.stat().st_size for path in (folder / "sd15").rglob("*") if path.is_file())
        print(f"checkpoint of {size / 2**30:.2f} GiB", flush=True)
        _pictures(folder / "pictures")
        model = ("--model", str(folder / "sd15"))
        adapter = str(folder / "adapter.safetensors")
        train = ("train", str(folder / "pictures"), *model, "--steps", "1", "--batch", "1")
        draw = ("generate", "a house", *model, "--steps", str(DRAWING_STEPS), "--lora", adapter)
        trained = _timed("train one step, r = 16", own, *train, "--rank", "16", "--out", adapter)
        if trained:
            return trained
        return _timed(f"draw in {DRAWING_STEPS} steps", own, *draw, "--out", str(folder / "x.png"))


def _pictures(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        Image.effect_noise((SIDE, SIDE), 60 + number).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a house\n")


def _timed(name: str, environment: Mapping[str, str], *arguments: str) -> int:
    """Runs ``fedtui`` and prints what it took; the memory is that of its largest process."""
    began = time.perf_counter()
    command = subprocess.Popen([sys.executable, "-m", "fedtui", *arguments], env=environment)
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = code = os.waitstatus_to_exitcode(status)
    took, peak = time.perf_counter() - began, used.ru_maxrss / 2**20
    print(f"{name:<28} {took:8.1f} s   peak {peak:6.2f} GiB   exit {code}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
