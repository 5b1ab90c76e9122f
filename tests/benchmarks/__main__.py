"""``make bench``: every benchmark, or those named: ``python -m tests.benchmarks transfer``.

``--runs N`` repeats those that count how many runs finish: ``noop --runs 100``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys

from tests.benchmarks.measure import HEADER

NAMES = (
    "startup", "training", "encoding", "pictures", "combination", "handshake", "transfer",
    "handout", "resuming", "noop", "crowd", "joining", "siege", "daemon", "simulation", "interface",
    "endurance", "busy",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--runs", type=int)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    print(HEADER)
    for name in options.names or NAMES:
        run = importlib.import_module(f"tests.benchmarks.{name}").run
        counted = options.runs is not None and "runs" in inspect.signature(run).parameters
        for line in run(runs=options.runs) if counted else run():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
