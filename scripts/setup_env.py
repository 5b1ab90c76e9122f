"""Creates or renews ``.venv``: the environment that ``make`` uses. Standard library only.

Costs nothing when nothing changed: a stamp in the environment holds the hash of what it was made
from. Says what it does while it does it, and which build of torch it chose and why.

    python3 scripts/setup_env.py            create or renew
    python3 scripts/setup_env.py --upgrade  resolve afresh and rewrite constraints.txt

``FEDTUI_TORCH_INDEX`` names a package index to take torch from, where pip's own has only a build
that does not fit this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "fedtui-stamp.json"
CONSTRAINTS = ROOT / "constraints.txt"
MINIMUM = (3, 11)
HEADER = "".join(line for line in CONSTRAINTS.open() if line.startswith("#"))


def main() -> int:
    if sys.version_info < MINIMUM:
        return fail(
            f"Python {platform.python_version()} is too old: fedtui needs 3.11 or newer.",
            "Install a newer Python and run: make PYTHON=python3.12",
        )
    upgrade = "--upgrade" in sys.argv[1:]
    wanted = fingerprint()
    if not upgrade and STAMP.exists() and json.loads(STAMP.read_text()).get("made_from") == wanted:
        return 0
    began = time.monotonic()
    say(f"setting up .venv with Python {platform.python_version()} (first time only)")
    if not python().exists():
        say("[1/4] creating the environment")
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            return fail(
                "Python could not create a virtual environment.",
                "On Debian and Ubuntu: sudo apt install python3-venv",
            )
    STAMP.unlink(missing_ok=True)
    pins = [] if upgrade else ["-c", str(CONSTRAINTS)]
    if code := install_torch(pins):
        return code
    say("[3/4] installing the other packages")
    if code := pip("install", *pins, "-e", f"{ROOT}[dev]"):
        return fail(
            "pip could not install the packages (its message stands above).",
            "Check the network and the disk, then run make again: it goes on where it stopped.",
        )
    say("[4/4] checking")
    if code := run(python(), "-c", "import torch, diffusers, peft, textual, aiohttp, zeroconf"):
        return fail("The environment does not import.", f"Remove {VENV.name} and run make again.")
    if upgrade:
        freeze()
    made_of = {"made_from": fingerprint(), "torch": torch_build()}
    STAMP.write_text(json.dumps(made_of, indent=1) + "\n")
    say(f"ready in {time.monotonic() - began:.0f} s; torch {made_of['torch']}")
    return 0


def install_torch(pins: list[str]) -> int:
    """Installs torch alone and first, so that nothing else pulls in another build of it."""
    gpu = has_nvidia_gpu()
    index = os.environ.get("FEDTUI_TORCH_INDEX")
    if index:
        say("[2/4] installing torch from the index in FEDTUI_TORCH_INDEX")
        return pip("install", *pins, "--index-url", index, "torch")
    if gpu:
        say("[2/4] installing torch with CUDA (an NVIDIA GPU is here)")
        return pip("install", *pins, "torch")
    if not sys.platform.startswith("linux") or not brings_cuda(pins):
        say("[2/4] installing torch, CPU build (no NVIDIA GPU found)")
        return pip("install", *pins, "torch")
    say("[2/4] installing torch: no GPU here and pip offers the CUDA build, so asking uv")
    say("      for the CPU build (about 200 MB instead of several GB)")
    pip("install", "--quiet", "uv")
    uv = [str(python()), "-m", "uv", "pip", "install", "--python", str(python())]
    if not run(*uv, "--torch-backend=cpu", *pins, "torch"):
        return 0
    say("      uv found none; taking the CUDA build. It works on the CPU too, but is large")
    return pip("install", *pins, "torch")


def brings_cuda(pins: list[str]) -> bool:
    """True when pip's choice of torch would bring NVIDIA packages along."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip("install", "--quiet", "--dry-run", "--report", str(report), *pins, "torch")
        if not report.exists():
            return False
        names = [item["metadata"]["name"] for item in json.loads(report.read_text())["install"]]
    return any(name.startswith("nvidia-") for name in names)


def has_nvidia_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False)
    return listed.returncode == 0 and b"GPU" in listed.stdout


def torch_build() -> str:
    code = "import torch; print(torch.__version__, torch.version.cuda or 'without CUDA')"
    found = subprocess.run([str(python()), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def freeze() -> None:
    """Rewrites constraints.txt from what is installed, without local build tags or addresses."""
    listed = subprocess.run(
        [str(python()), "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    )
    leave_out = {"fedtui", "pip", "uv"}
    lines = [
        f"{item['name']}=={item['version'].partition('+')[0]}\n"
        for item in json.loads(listed.stdout)
        if item["name"] not in leave_out
    ]
    CONSTRAINTS.write_text(HEADER + "".join(sorted(lines, key=str.lower)))
    say(f"wrote {CONSTRAINTS.name}")


def fingerprint() -> str:
    """Hash of everything the environment is made from."""
    parts = [platform.python_version(), os.environ.get("FEDTUI_TORCH_INDEX", "")]
    parts += [(ROOT / name).read_text() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pip(*arguments: str) -> int:
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    return run(
        python(), "-m", "pip", "--disable-pip-version-check", "--no-input", *quiet, *arguments
    )


def run(*command: object) -> int:
    return subprocess.run([str(part) for part in command], check=False).returncode


def say(text: str) -> None:
    print(f"fedtui: {text}", flush=True)


def fail(what: str, remedy: str) -> int:
    print(f"fedtui: {what}\n        {remedy}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
