"""``python -m tests.benchmarks.full_size``: Stable Diffusion 1.5 on this machine, as users run it.

Writes a checkpoint of random weights, trains one step at 512 x 512 and draws one picture with
``fedtui``; prints wall time and peak memory of each. Takes 2.1 GB of disk for a while.
"""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.sd15 import write_checkpoint

PICTURES = 2
SIDE = 512
DRAWING_STEPS = 4


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fedtui-sd15-") as place:
        folder = Path(place)
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
        _timed("train one step, r = 16", *train, "--rank", "16", "--out", adapter)
        draw = ("generate", "a house", *model, "--steps", str(DRAWING_STEPS), "--lora", adapter)
        _timed(f"draw in {DRAWING_STEPS} steps", *draw, "--out", str(folder / "x.png"))
    return 0


def _pictures(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        Image.effect_noise((SIDE, SIDE), 60 + number).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a house\n")


def _timed(name: str, *arguments: str) -> None:
    """Runs ``fedtui`` and prints what it took; the memory is that of its largest process."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "fedtui", *arguments], capture_output=True)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{name:<28} {took:8.1f} s   peak so far {peak:6.2f} GiB   exit {done.returncode}")
    print("   ", done.stdout.decode().strip() or done.stderr.decode().strip()[-600:], flush=True)


if __name__ == "__main__":
    sys.exit(main())
