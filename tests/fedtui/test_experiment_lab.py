"""The laboratory: what was made is kept, named after what made it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedtui.errors import FedtuiError, UsageError
from fedtui.experiment import record
from fedtui.experiment.lab import Lab
from trainer.protocol import AdapterSpec, CheckData, InitAdapter, SampleData

FIRST = InitAdapter("tiny-landscapes", AdapterSpec(2, 2), 5, "")


async def test_nothing_is_made_twice(tmp_path: Path) -> None:
    request = SampleData("", 3, "plain", seed=1)
    async with Lab(tmp_path / "lab") as lab:
        folder = await lab.make("drawing", request, suffix="")
        assert (lab.made, lab.kept) == (1, 0)
        assert len(list(folder.glob("*.png"))) == 3
        assert await lab.make("drawing", request, suffix="") == folder
        assert (lab.made, lab.kept) == (1, 1)
    async with Lab(tmp_path / "lab") as again:
        assert await again.make("drawing", request, suffix="") == folder
        assert (again.made, again.kept) == (0, 1)


async def test_another_request_is_another_file(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab") as lab:
        one = await lab.make("drawing", SampleData("", 1, seed=1), suffix="")
        other = await lab.make("drawing", SampleData("", 1, seed=2), suffix="")
    assert one != other


async def test_a_laboratory_may_be_moved(tmp_path: Path) -> None:
    """Files of the laboratory are named relative to it, wherever it lies."""
    async with Lab(tmp_path / "here") as lab:
        folder = await lab.make("drawing", SampleData("", 2, seed=1), suffix="")
        await lab.ask("looking", CheckData(str(folder)))
        await lab.result("first", FIRST)
    (tmp_path / "here").rename(tmp_path / "there")
    async with Lab(tmp_path / "there") as moved:
        folder = await moved.make("drawing", SampleData("", 2, seed=1), suffix="")
        await moved.ask("looking", CheckData(str(folder)))
        path, result = await moved.result("first", FIRST)
        assert moved.made == 0
        assert result["path"] == str(path)


async def test_an_unfinished_file_is_made_again(tmp_path: Path) -> None:
    """A file without its result was being written when the process died."""
    request = SampleData("", 2, "plain", seed=3)
    async with Lab(tmp_path / "lab") as lab:
        folder = await lab.make("drawing", request, suffix="")
        [result] = (tmp_path / "lab" / "results").glob("*.json")
        assert json.loads(result.read_text())["result"] == {"written": 2}
        result.unlink()
        (folder / "0000.png").write_bytes(b"torn")
        await lab.make("drawing", request, suffix="")
        assert lab.made == 2
        assert (folder / "0000.png").stat().st_size > 100


async def test_a_failed_request_leaves_no_result(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab") as lab:
        with pytest.raises(FedtuiError):
            await lab.ask("looking", CheckData(str(tmp_path / "nowhere")))
        assert not list((tmp_path / "lab" / "results").iterdir())


async def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        async with Lab(tmp_path):
            pass
    assert {path.name for path in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))} == {
        "thesis.txt"
    }


async def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    files = []
    for workers in (1, 2):
        async with Lab(tmp_path / str(workers), workers=workers) as lab:
            files.append((await lab.make("first", FIRST)).read_bytes())
    assert files[0] == files[1]


class Full:
    """A disk without room, and a trainer that says so."""

    def __init__(self, free: int) -> None:
        self.free = free

    def disk_usage(self, path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=self.free)


async def test_a_full_disk_is_named_and_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = CheckData(str(tmp_path / "nowhere"))
    async with Lab(tmp_path / "lab") as lab:
        monkeypatch.setattr("fedtui.experiment.lab.shutil", Full(free=1000))
        with pytest.raises(FedtuiError, match="cannot keep results") as full:
            await lab.ask("looking", wrong)
        assert "goes on where it stopped" in full.value.remedy
        # With room the same failure is its own.
        monkeypatch.setattr("fedtui.experiment.lab.shutil", Full(free=2**40))
        with pytest.raises(FedtuiError) as other:
            await lab.ask("looking", wrong)
        assert "cannot keep" not in other.value.title


def test_a_report_that_cannot_be_written_is_refused_before_the_first_hour(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write a report"):
        record.prepare(tmp_path / "file" / "report")
    record.prepare(tmp_path / "new" / "report")
    assert not list((tmp_path / "new" / "report").iterdir())
