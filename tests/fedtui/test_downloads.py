"""Base models fetched by a node from a hub on this machine: progress, stopping, refusals."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedtui.cli.app import run
from fedtui.control.operations import Operations
from fedtui.downloads import Downloads
from fedtui.errors import FedtuiError, UsageError
from fedtui.sizes import downloaded

sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
from hub_rig import Hub, serving
from trainer_rig import write_random_model

MODEL = "owner/tiny"
LARGEST = "unet/diffusion_pytorch_model.safetensors"
WAIT_S, STEP_S = 60.0, 0.02


class Rig:
    """The operations without the node."""

    def __init__(self, log: Path) -> None:
        self.operations = Operations()
        self.told: list[dict[str, Any]] = []
        self.downloads = Downloads(log, lambda kind, **told: self.told.append(told))
        self.downloads.offer(self.operations)

    async def do(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(operation, arguments)

    async def now(self) -> dict[str, Any]:
        return dict((await self.do("list_downloads"))["downloads"][-1])

    async def until(self, *states: str) -> dict[str, Any]:
        for _ in range(int(WAIT_S / STEP_S)):
            if (found := await self.now())["state"] in states:
                return found
            await asyncio.sleep(STEP_S)
        raise AssertionError(await self.now())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture
def served(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.copytree(repository, tmp_path / "repository")
    monkeypatch.setenv("FEDTUI_MODELS", str(tmp_path / "models"))
    with serving(tmp_path / "repository") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture
async def rig(served: Hub, tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "log")
    yield made
    await made.downloads.stop()


def needed(hub: Hub) -> int:
    files = [path for path in hub.folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


async def test_a_model_is_measured_then_fetched_with_progress(rig: Rig, served: Hub) -> None:
    size = await rig.do("measure_download", model=MODEL)
    assert (size["present"], size["ready"]) == (0, False)
    assert 0 < size["total"] <= needed(served)
    assert size["free"] > 0
    assert not served.served
    assert await rig.do("download_model", model=MODEL) == {"model": MODEL}
    with pytest.raises(UsageError, match="under way"):
        await rig.do("download_model", model="owner/other")
    done = await rig.until("done", "failed")
    assert (done["state"], done["bytes"], done["total"]) == ("done", size["total"], size["total"])
    assert "on this machine now" in rig.told[-1]["text"]
    again = await rig.do("measure_download", model=MODEL)
    assert again["ready"]


async def test_a_stopped_download_goes_on_where_it_ended(rig: Rig, served: Hub) -> None:
    assert await rig.do("stop_download") == {"model": ""}
    served.stall = LARGEST
    await rig.do("download_model", model=MODEL)
    for _ in range(int(WAIT_S / STEP_S)):
        if (await rig.now())["bytes"] > needed(served) // 2:
            break
        await asyncio.sleep(STEP_S)
    assert (await rig.do("stop_download"))["model"] == MODEL
    assert (await rig.now())["state"] == "stopped"
    served.stall = ""
    present = (await rig.do("measure_download", model=MODEL))["present"]
    assert present > 0
    served.served.clear()
    await rig.do("download_model", model=MODEL)
    assert (await rig.until("done", "failed"))["state"] == "done"
    assert 0 < dict(served.served)[LARGEST] < (served.folder / LARGEST).stat().st_size


async def test_a_hub_that_refuses_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTUI_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with_dead_hub = Rig(tmp_path / "dead.log")
    with pytest.raises(FedtuiError) as caught:
        await with_dead_hub.do("measure_download", model=MODEL)
    assert "cannot be reached" in caught.value.cause
    await with_dead_hub.do("download_model", model=MODEL)
    failed = await with_dead_hub.until("failed", "done")
    assert "cannot be reached" in failed["cause"]
    assert failed["remedy"]
    assert with_dead_hub.told[-1]["level"] == "error"
    with pytest.raises(FedtuiError, match="no name"):
        await with_dead_hub.do("measure_download", model="not a name")
    await with_dead_hub.downloads.stop()


async def test_other_bytes_than_announced_are_thrown_away(rig: Rig, served: Hub) -> None:
    served.lie = "0" * 64
    await rig.do("download_model", model=MODEL)
    failed = await rig.until("failed", "done")
    assert "other bytes" in failed["cause"]
    assert not list(served.folder.parent.rglob(".*.part"))


async def test_a_full_disk_is_said_and_what_came_is_kept(
    rig: Rig, served: Hub, tmp_path: Path
) -> None:
    """The draft is written to a device on which there is never any room."""
    import hashlib

    digest = hashlib.sha256((served.folder / LARGEST).read_bytes()).hexdigest()
    folder = tmp_path / "models" / "hub" / "owner--tiny" / "unet"
    folder.mkdir(parents=True)
    draft = folder / f".diffusion_pytorch_model.safetensors.{digest[:16]}.part"
    draft.symlink_to("/dev/full")
    await rig.do("download_model", model=MODEL)
    failed = await rig.until("failed", "done")
    assert "is full" in failed["cause"]
    assert "what has come is kept" in failed["remedy"]
    draft.unlink()
    await rig.do("download_model", model=MODEL)
    assert (await rig.until("done", "failed"))["state"] == "done"


async def test_two_processes_do_not_write_the_same_drafts(
    rig: Rig, served: Hub, tmp_path: Path
) -> None:
    """The second waits, and finds it done."""
    served.stall = LARGEST
    other = Rig(tmp_path / "other.log")
    await rig.do("download_model", model=MODEL)
    await rig.until("fetching")
    await other.do("download_model", model=MODEL)
    await other.until("waiting", "done", "failed")
    assert (await other.now())["state"] == "waiting"
    served.stall = ""
    assert (await rig.until("done", "failed"))["state"] == "done"
    served.served.clear()
    assert (await other.until("done", "failed"))["state"] == "done"
    assert not served.served
    await other.downloads.stop()


def test_the_commands_tell_the_size_and_how_far_it_is(
    served: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    assert run(["model", "size", MODEL]) == 0
    assert "3.8 MB, 0 B of it here" in capsys.readouterr().out
    assert not served.served
    assert run(["model", "import", MODEL]) == 0
    assert "of 3.8 MB" in capsys.readouterr().err
    assert run(["model", "size", MODEL]) == 0
    assert "on this machine" in capsys.readouterr().out
    assert run(["model", "size", "no name"]) == 2
    assert "no name of a model" in capsys.readouterr().err


def test_a_pace_is_told_only_when_it_is_known() -> None:
    assert downloaded(1_200_000_000, 5_300_000_000, None) == "1.2 GB of 5.3 GB"
    told = "1.2 GB of 5.3 GB, 23.0 MB/s, 3 min left"
    assert downloaded(1_200_000_000, 5_300_000_000, 23e6) == told
    assert downloaded(0, 100, 10.0) == "0 B of 100 B, 10 B/s, 10 s left"
