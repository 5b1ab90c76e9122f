"""Feeds the parsers what no person would think of, guided by which lines it reaches.

``python -m tests.fuzz [--seconds 600] [TARGET...]`` runs atheris on each target, one after the
other, in a process of its own. An input that surprises a parser is written below ``--out``; put it
into ``tests/fuzz/cases/TARGET/`` and it stays a test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET_NAMES = (
    "envelope", "genesis", "json", "message", "hello", "lobby", "link", "mdns", "tensor_header",
    "exhibit",
)  # fmt: skip
LONGEST = 4096
"""Bytes of an input: every bound of the parsers' structure is within it."""


def main() -> int:
    """The exit code: 0 when nothing surprised any parser."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGET_NAMES, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "fedtui-fuzz")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        return fuzz(chosen.worker, chosen.seconds, chosen.out / chosen.worker)
    failed = []
    for name in chosen.targets or TARGET_NAMES:
        own = [sys.executable, "-m", "tests.fuzz", "--worker", name, "--out", str(chosen.out)]
        if subprocess.run([*own, "--seconds", str(chosen.seconds)]).returncode:
            failed.append(name)
    print(f"fuzzed {', '.join(chosen.targets or TARGET_NAMES)}; surprised: {failed or 'none'}")
    return 1 if failed else 0


def fuzz(name: str, seconds: int, out: Path) -> int:
    """Runs one target; libFuzzer ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["p2p", "trainer", "fedtui", "tests"]):
        from tests.fuzz.targets import TARGETS

    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-artifact_prefix={out}/"]
    options += ["-print_final_stats=1", "-verbosity=1", "-rss_limit_mb=2048", "-timeout=10"]
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name].run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
