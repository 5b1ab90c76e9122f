"""What a demo is asked to be, and where it keeps its files."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedtui.errors import UsageError
from fedtui.paths import Profile

MODEL = "tiny-landscapes"


@dataclass(frozen=True)
class DemoOptions:
    """``directory`` None makes a new one; ``data`` None draws the built-in non-IID pictures.

    A ``quick`` one draws a single coarse preview and measures nothing at the end.
    """

    nodes: int = 5
    rounds: int = 3
    directory: Path | None = None
    seed: int = 0
    data: Path | None = None
    algorithm: str = "fedex"
    rule: str = "n_k"
    rule_options: tuple[str, ...] = ()
    proximal: float = 0.0
    steps: int = 40
    quick: bool = False
    compare: bool = False
    stay: bool = False


@dataclass(frozen=True)
class DemoPaths:
    """The demo's directory."""

    root: Path

    def profile(self, index: int) -> Profile:
        return Profile(self.root / f"node-{index + 1}")

    def data(self, index: int) -> Path:
        return self.root / "data" / f"node-{index + 1}"

    def alone(self, index: int) -> Path:
        """The adapter of one participant that trained by itself, for the comparison."""
        return self.root / f"alone-{index + 1}.safetensors"

    @property
    def holdout(self) -> Path:
        return self.root / "data" / "holdout"

    @property
    def initial(self) -> Path:
        return self.root / "initial.safetensors"

    @property
    def adapter(self) -> Path:
        """The room's adapter in kohya's dialect."""
        return self.root / "adapter.safetensors"

    @property
    def sheet(self) -> Path:
        return self.root / "progress.png"

    @property
    def trainer_log(self) -> Path:
        return self.root / "trainer.log"

    @property
    def log(self) -> Path:
        """What the demo says while the interface has the terminal."""
        return self.root / "demo.log"

    @property
    def events(self) -> Path:
        return self.root / "demo.jsonl"


def open_directory(options: DemoOptions) -> DemoPaths:
    """A new or empty directory for the demo. Raises :class:`UsageError` for any other."""
    if options.directory is None:
        return DemoPaths(Path(tempfile.mkdtemp(prefix="fedtui-demo-")))
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
        paths = DemoPaths(options.directory)
        # The interface's own two files are there before the room it starts.
        occupied = set(options.directory.iterdir()) - {paths.log, paths.events}
    except OSError as error:
        raise UsageError(f"cannot use {options.directory}", error.strerror or "") from error
    if occupied:
        raise UsageError(
            f"{options.directory} is not empty",
            "a demo never writes into files that are there already",
            "name a new directory, or leave --dir out",
        )
    return paths
