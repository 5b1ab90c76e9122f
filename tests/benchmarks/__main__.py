"""``make bench``: every benchmark, or those named: ``python -m tests.benchmarks transfer``."""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.measure import HEADER

NAMES = ("startup", "pictures", "combination", "transfer", "simulation")


def main(arguments: list[str]) -> int:
    unknown = sorted(set(arguments) - set(NAMES))
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(HEADER)
    for name in arguments or NAMES:
        for line in importlib.import_module(f"tests.benchmarks.{name}").run():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
