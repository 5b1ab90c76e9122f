"""``fedtui doctor``: what could keep this machine from taking part, each with what to do.

Every check is a coroutine that ends in a :class:`Check`; none changes anything. What a check needs
to know of the machine it asks there, so that a test can break the real thing.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from fedtui import terminal
from fedtui.control.client import ControlClient
from fedtui.errors import FedtuiError
from fedtui.limits import DOCTOR_DISK_BYTES, DOCTOR_MEMORY_BYTES, DOCTOR_NODE_S
from fedtui.paths import Profile
from fedtui.settings import Settings

Grade = Literal["ok", "warning", "failed"]

PYTHON_FLOOR = (3, 11, 5)
"""CVE-2023-40217: servers before it can be made to skip a client's certificate."""
PYTHON_ADVISED = (3, 11, 9)
"""CVE-2024-0397: changing the anchors of a context in use."""
FLOORS = {"aiohttp": (3, 14, 2), "zeroconf": (0, 150, 0), "safetensors": (0, 6, 0)}
"""Versions with known holes below them; docs/security.md says which."""
MDNS = ("224.0.0.251", 5353)
EARLIEST, LATEST = 1_767_225_600, 4_102_444_800
"""2026 and 2100: a clock outside them is dead, and every hour it shows is wrong."""


@dataclass(frozen=True)
class Check:
    """One answer. ``said`` is what was found, ``remedy`` what to do where it is not ok."""

    name: str
    grade: Grade
    said: str
    remedy: str = ""


async def examine(
    profile: Profile, settings: Settings, *, trainer: bool = True, pixels: str = ""
) -> AsyncIterator[Check]:
    """All checks in order, each as soon as it is done. ``trainer`` also starts a trainer process,
    which takes some seconds. ``pixels`` is what the terminal said that it draws."""
    checks: list[Callable[[], Awaitable[Check]]] = [
        _blocking(check_python),
        _blocking(check_packages),
        _blocking(lambda: check_terminal(os.environ, pixels)),
        _blocking(check_clock),
        _blocking(lambda: check_profile(profile)),
        _blocking(lambda: check_disk(profile.root)),
        _blocking(check_memory),
        _blocking(check_network),
        _blocking(check_multicast),
        _blocking(lambda: check_port(settings)),
        _blocking(lambda: check_data(settings)),
        lambda: check_node(profile),
    ]
    if trainer:
        checks.append(lambda: check_trainer(settings))
    for check in checks:
        yield await check()


def check_python() -> Check:
    version = sys.version_info[:3]
    said = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if version < PYTHON_FLOOR:
        return Check("python", "failed", said, "Install 3.11.9 or newer: mutual TLS has a hole.")
    if version < PYTHON_ADVISED:
        return Check("python", "warning", said, "3.11.9 or newer mends a fault in its TLS.")
    return Check("python", "ok", said)


def check_packages() -> Check:
    """Versions with known holes, and the parser that has them."""
    old = [
        f"{name} {metadata.version(name)} (needs {'.'.join(map(str, floor))})"
        for name, floor in FLOORS.items()
        if _version(metadata.version(name)) < floor
    ]
    if old:
        return Check("packages", "failed", ", ".join(old), "Run `make setup` or upgrade them.")
    from aiohttp import http_parser

    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        return Check(
            "packages",
            "failed",
            "aiohttp runs without its C parser",
            "Reinstall aiohttp from a wheel; the parser in Python has known holes.",
        )
    return Check("packages", "ok", f"aiohttp {metadata.version('aiohttp')} with its C parser")


def check_terminal(environment: Mapping[str, str], pixels: str = "") -> Check:
    """What the interface can show where this was started."""
    if not terminal.at_terminal():
        return Check("terminal", "ok", "none here: fedtui --daemon needs none")
    size, term = terminal.size(), environment.get("TERM", "")
    deep = environment.get("COLORTERM", "").lower() in ("truecolor", "24bit")
    found = environment.get(terminal.COLOR_VARIABLE) or terminal.color_depth(environment)
    depth = found or ("truecolor" if deep else "256 or fewer")
    said = f"{term or 'of no known kind'}, {size.columns}x{size.lines}, colours: {depth}"
    if "NO_COLOR" in environment:
        return Check("terminal", "ok", f"{said}, not used (NO_COLOR)")
    if pixels:
        said += f", pixels: fedtui --pictures {pixels}"
    if terminal.bare():
        remedy = "Set TERM to what the terminal is, or use fedtui watch --plain."
    elif size.columns < terminal.MIN_COLUMNS or size.lines < terminal.MIN_LINES:
        remedy = f"Make the window at least {terminal.MIN_COLUMNS}x{terminal.MIN_LINES}."
    elif depth != "truecolor":
        remedy = "Pictures are coarse. If the terminal has 24-bit colour, set COLORTERM=truecolor."
    else:
        return Check("terminal", "ok", said)
    return Check("terminal", "warning", said, remedy)


def check_clock() -> Check:
    now = time.time()
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if not EARLIEST < now < LATEST:
        return Check(
            "clock", "warning", said, "Set the clock: rounds go on, but invites will seem expired."
        )
    return Check("clock", "ok", said)


def check_profile(profile: Profile) -> Check:
    """The key must be there, ours, and nobody else's to read."""
    said = str(profile.root)
    if not profile.root.exists():
        return Check("profile", "ok", f"{said} (made when a node first starts)")
    if not os.access(profile.root, os.W_OK | os.X_OK):
        return Check("profile", "failed", f"{said} cannot be written", "Give it back to you.")
    key = profile.identity
    if key.exists() and os.name == "posix":
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            return Check(
                "profile",
                "failed",
                f"{key} can be read by others (mode {mode:o})",
                f"chmod 600 {key}; if others have read it, make a new profile.",
            )
    return Check("profile", "ok", said)


def check_disk(folder: Path) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.1f} GB free at {place}"
    if free < DOCTOR_DISK_BYTES:
        return Check(
            "disk", "warning", said, "Free some: a full disk stops contributions, never votes."
        )
    return Check("disk", "ok", said)


def check_memory() -> Check:
    memory = psutil.virtual_memory()
    said = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < DOCTOR_MEMORY_BYTES:
        return Check(
            "memory", "warning", said, "Close something: training the small model needs 2."
        )
    return Check("memory", "ok", said)


def check_network() -> Check:
    """An address that another machine can reach."""
    stats = psutil.net_if_stats()
    found = [
        f"{name} {each.address}"
        for name, addresses in sorted(psutil.net_if_addrs().items())
        if name in stats and stats[name].isup
        for each in addresses
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    ]
    if not found:
        return Check(
            "network",
            "warning",
            "no address but this machine's own",
            "Connect to the network of the others; a demo works without.",
        )
    return Check("network", "ok", ", ".join(found))


def check_multicast() -> Check:
    """Whether a multicast packet can be sent at all; whether it arrives only a peer can tell."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            sender.sendto(b"", MDNS)
    except OSError as error:
        return Check(
            "discovery",
            "warning",
            f"multicast is not possible ({error.strerror or error})",
            "Join by a link that holds addresses, or `fedtui peer add HOST:PORT`.",
        )
    return Check("discovery", "ok", "mDNS packets can be sent")


def check_port(settings: Settings) -> Check:
    """The member port, where the user chose one."""
    if not settings.port:
        return Check("port", "ok", "any free one (set `port` to open it in a firewall)")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            return Check(
                "port",
                "warning",
                f"{settings.host}:{settings.port}: {error.strerror}",
                "That is right while this profile's node runs; else choose another port.",
            )
    return Check("port", "ok", f"{settings.host}:{settings.port} is free")


def check_data(settings: Settings) -> Check:
    if not settings.data:
        return Check("data", "ok", "no folder: this machine watches and votes")
    if not Path(settings.data).is_dir():
        return Check(
            "data", "failed", f"{settings.data} is no folder", "Correct `data` in config.toml."
        )
    return Check("data", "ok", settings.data)


async def check_node(profile: Profile) -> Check:
    """What the running node says of itself."""
    try:
        async with asyncio.timeout(DOCTOR_NODE_S), ControlClient(profile.control) as client:
            view = await client.view()
    except TimeoutError:
        return Check("node", "failed", "it does not answer", "`fedtui stop`, then start it again.")
    except FedtuiError:
        return Check("node", "ok", "none is running")
    lost = [peer.name for peer in view.peers if peer.state in ("LOST", "SUSPECT")]
    said = f"in {view.room_name or 'no room'}, {view.round.phase.lower()}"
    if view.round.phase == "PAUSED":
        return Check("node", "warning", f"{said}: {view.round.note}", "Wake the machines it names.")
    if lost:
        return Check("node", "warning", f"{said}; cannot reach {', '.join(lost)}",
                     "Same network? `fedtui peers` shows addresses.")  # fmt: skip
    return Check("node", "ok", said)


async def check_trainer(settings: Settings) -> Check:
    """Starts the trainer as a node does; importing torch is what takes the time."""
    from fedtui.training import TrainerProcess

    began = time.monotonic()
    trainer = TrainerProcess(
        threads=settings.threads, device=settings.device, gpu_percent=settings.gpu_percent
    )
    try:
        await trainer.start()
        device = trainer.state.device
    except FedtuiError as error:
        return Check("trainer", "failed", error.title, error.remedy or "See the log of the node.")
    finally:
        await trainer.stop()
    return Check("trainer", "ok", f"{device}, ready after {time.monotonic() - began:.1f} s")


def _blocking(check: Callable[[], Check]) -> Callable[[], Awaitable[Check]]:
    """A check that asks the system, off the event loop."""
    return lambda: asyncio.to_thread(check)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:3] if part.isdigit())
