"""Fetching models from a hub by name: only what is needed, resumed, checked against its hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from tqdm.auto import tqdm

from trainer import disk
from trainer.config import HUB_TIMEOUT
from trainer.errors import NO_USABLE, Cancelled, TrainerError
from trainer.job import Job
from trainer.models import store

SETTINGS = (".json", ".txt", ".model")
"""Endings of the small files of a model."""
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?P<fp16>\.fp16)?(-\d+-of-\d+)?\.safetensors"
    r"(?P<index>\.index(\.fp16)?\.json)?"
)
"""Names of a network's weights and of the list of their parts."""
AGAIN = "Run the command again to go on where it stopped, or give a folder on this machine."
ELSE = "; and there is no folder or file of this name here"
"""What somebody who meant a path has to know: names on the hub look like paths."""
MAKE_ROOM = "Make room there and do the same again: what has come is kept."
LOCK_POLL_S = 0.5
"""Between two looks at a download of another process."""
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 256 << 10
"""What is reported, kept and cancelled at once. The hub's own 10 MiB take a slow line a minute."""
RESERVE = 1 << 30
"""Bytes that a download leaves free on the disk."""


@dataclass(frozen=True)
class Remote:
    """A file of a repository; ``sha256`` is empty for small files."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Layout:
    """What a repository must hold to be ``what`` is looked for, and which of its files that is."""

    what: str
    marker: str
    needed: Callable[[Iterable[Remote]], list[Remote]]


def download(model: str, folder: Path, job: Job, layout: Layout | None = None) -> str:
    """Fetches ``owner/name[@revision]`` into a folder; returns the commit. A diffusers model
    unless told otherwise.

    What was fetched before an interruption is kept. Reports ``{"stage": "download", "step",
    "steps", "bytes", "total"}``, the first two in MiB. Raises :class:`TrainerError`.
    """
    name, commit, wanted = _wanted(model, layout or DIFFUSERS)
    total = sum(file.bytes for file in wanted)
    present = sum(_present(folder, file, commit) for file in wanted)
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < total - present + RESERVE:
        raise _refused(model, f"its {total >> 20} MiB do not fit the disk of {folder}")
    done = 0
    for file in wanted:
        job.check()
        _fetch(name, commit, file, folder, _meter(job, done, total))
        done += file.bytes
    return commit


@dataclass(frozen=True)
class Size:
    """Of a download: ``present`` of its ``total`` bytes are here, ``free`` ones on the disk."""

    total: int
    present: int
    free: int


def measure(model: str, folder: Path, layout: Layout | None = None) -> Size:
    """How large the download of ``owner/name[@revision]`` into a folder is. Asks the hub, fetches
    nothing. Raises :class:`TrainerError`."""
    _, commit, wanted = _wanted(model, layout or DIFFUSERS)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return Size(
        sum(file.bytes for file in wanted),
        sum(_present(folder, file, commit) for file in wanted),
        shutil.disk_usage(there).free,
    )


@contextmanager
def alone(folder: Path, job: Job) -> Iterator[None]:
    """No two processes write the same drafts: a second one waits until the first has ended, as
    ``{"stage": "wait"}`` tells, and may be cancelled meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    while True:
        job.check()
        try:
            lock.acquire(timeout=LOCK_POLL_S)
            break
        except Timeout:
            job.report({"stage": "wait", "step": 0, "steps": 1})
    try:
        yield
    finally:
        lock.release()


def _wanted(model: str, layout: Layout) -> tuple[str, str, list[Remote]]:
    """The repository's name, the commit, and the files that are needed of it."""
    name, commit, files = _listing(model)
    wanted = layout.needed(files)
    if not any(PurePosixPath(file.name).name == layout.marker for file in wanted):
        raise _refused(model, f"it is no {layout.what}: it has no {layout.marker}")
    return name, commit, wanted


def download_settings(model: str, folder: Path) -> None:
    """Fetches the small files of a model alone. Raises :class:`TrainerError`."""
    name, commit, files = _listing(model)
    small = [file for file in needed(files) if file.name.endswith(SETTINGS)]
    for file in sorted(small, key=lambda file: file.name == "model_index.json"):
        _fetch(name, commit, file, folder, tqdm)


def needed(files: Iterable[Remote]) -> list[Remote]:
    """Settings, and of each network one set of safetensors: plain rather than fp16."""
    by_folder: dict[str, list[Remote]] = {}
    for file in files:
        path = PurePosixPath(file.name)
        if len(path.parts) <= 2 and path.parts[0] not in ("safety_checker", "feature_extractor"):
            by_folder.setdefault(str(path.parent), []).append(file)
    chosen: list[Remote] = []
    for folder, inside in by_folder.items():
        if folder == ".":
            chosen += [file for file in inside if file.name == "model_index.json"]
            continue
        weights = [(file, WEIGHTS.fullmatch(PurePosixPath(file.name).name)) for file in inside]
        plain = [file for file, match in weights if match and "fp16" not in file.name]
        variant = [file for file, match in weights if match and "fp16" in file.name]
        chosen += plain or variant
        chosen += [f for f, match in weights if match is None and f.name.endswith(SETTINGS)]
    return sorted(chosen, key=lambda file: file.name)


def needed_of_one(files: Iterable[Remote]) -> list[Remote]:
    """Of a single network with its tokenizer: settings and one set of safetensors."""
    outer = [file for file in files if "/" not in file.name]
    weights = [file for file in outer if WEIGHTS.fullmatch(file.name)]
    plain = [file for file in weights if "fp16" not in file.name]
    settings = [file for file in outer if file.name.endswith(SETTINGS) and file not in weights]
    return sorted([*(plain or weights), *settings], key=lambda file: file.name)


DIFFUSERS = Layout("diffusers model", "model_index.json", needed)
CLIP = Layout("CLIP in safetensors format", "model.safetensors", needed_of_one)


def _listing(model: str) -> tuple[str, str, list[Remote]]:
    """The repository's name, the commit, and its files."""
    match = store.HUB_NAME.fullmatch(model)
    assert match is not None, model
    name, revision = match["name"], match["revision"]
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        remedy = "Unset it, or give a folder on this machine."
        raise _refused(model, f"HF_HUB_OFFLINE is set{ELSE}", remedy)
    try:
        info = huggingface_hub.HfApi(endpoint=_endpoint()).model_info(
            name, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        hint = " (private, gated or misspelt?)" if status in (401, 403, 404) else ""
        raise _refused(model, f"the hub answered {status}{hint}{ELSE}") from error
    except Exception as error:  # httpx and requests have families of their own
        raise _refused(model, f"the hub cannot be reached: {error}{ELSE}") from error
    files = [
        Remote(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else "")
        for file in info.siblings or ()
    ]
    return name, str(info.sha), files


def _fetch(name: str, commit: str, file: Remote, folder: Path, meter: Any) -> None:
    """Goes on after the bytes that an earlier attempt left, also of another process.

    The hub's own ``hf_hub_download`` throws them away when it ends, up to 50 GB at a time.
    """
    path = folder / file.name
    if path.is_file() and path.stat().st_size == file.bytes and _matches(path, file):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, file, commit)
    url = huggingface_hub.hf_hub_url(name, file.name, revision=commit, endpoint=_endpoint())
    try:
        with draft.open("ab") as content:
            http_get(
                url,
                content,
                resume_size=content.tell(),
                headers=_headers(),
                expected_size=file.bytes,
                displayed_filename=file.name,
                tqdm_class=meter,
            )
    except Cancelled:
        raise
    except Exception as error:
        if disk.is_full(error):
            raise _refused(name, f"the disk of {folder} is full", MAKE_ROOM) from error
        raise _refused(name, f"{file.name} could not be fetched: {error}") from error
    if not _matches(draft, file):
        draft.unlink()
        raise _refused(name, f"{file.name} arrived with other bytes than the hub announced")
    draft.replace(path)


def _draft(path: Path, file: Remote, commit: str) -> Path:
    """Where a file lies until it is whole."""
    return path.with_name(f".{path.name}.{(file.sha256 or commit)[:16]}.part")


def _present(folder: Path, file: Remote, commit: str) -> int:
    """Bytes of a file that need not be fetched any more."""
    path = folder / file.name
    if path.is_file() and path.stat().st_size == file.bytes:
        return file.bytes
    draft = _draft(path, file, commit)
    return draft.stat().st_size if draft.is_file() else 0


def _matches(path: Path, file: Remote) -> bool:
    if not file.sha256:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _meter(job: Job, before: int, total: int) -> Any:
    """A progress bar that reports to ``job`` and may be cancelled by it."""

    class Meter(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            job.check()
            result: bool | None = super().update(n)
            done = before + int(self.n)
            size = {"step": done >> 20, "steps": total >> 20, "bytes": done, "total": total}
            job.report({"stage": "download", **size})
            return result

    return Meter


def _headers() -> dict[str, str]:
    """Without compression, in which there are no places to go on at; as the hub's user if one is
    logged in."""
    token = huggingface_hub.get_token()
    own = {"Authorization": f"Bearer {token}"} if token else {}
    return {"Accept-Encoding": "identity", **own}


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _refused(model: str, cause: str, remedy: str = AGAIN) -> TrainerError:
    return TrainerError("The model cannot be downloaded", f"{model}: {cause}.", remedy, NO_USABLE)
