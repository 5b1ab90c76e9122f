"""What a person waits for: the command's help against a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.measure import Line, side_by_side


def run() -> Iterator[Line]:
    def command(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours, theirs = side_by_side(
        lambda: command("-m", "fedtui", "--help"), lambda: command("-c", "pass"), runs=7
    )
    yield Line("fedtui --help", ours, theirs, "python -c pass")
    ours, theirs = side_by_side(
        lambda: command("-c", "import fedtui.tui.app"), lambda: command("-c", "import textual.app"),
        runs=7,
    )  # fmt: skip
    yield Line("import fedtui.tui.app", ours, theirs, "import textual.app")
