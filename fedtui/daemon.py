"""``fedtui --daemon``: one node as a service. The log goes to stderr, a stop is always clean."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from fedtui import paths, rooms, settings
from fedtui.control.server import ControlServer
from fedtui.errors import ExitCode
from fedtui.limits import NODE_LOG_BYTES, NODE_LOG_FILES
from fedtui.locking import ProfileLock
from fedtui.node import Node
from fedtui.parent import when_parent_ends

log = logging.getLogger("fedtui")


def serve(*, log_json: bool = False, debug: bool = False, with_parent: bool = False) -> int:
    """Runs this profile's node until it is told to stop; returns the exit code.

    0 after SIGTERM or ``fedtui stop``, which are how a service ends; 130 after ctrl+c.
    ``with_parent``: it also stops when stdin ends.
    Raises :class:`~fedtui.errors.FedtuiError` when it cannot start.
    """
    profile = paths.default_profile()
    chosen = settings.load(profile)
    rooms.current(profile)
    profile.create()
    lock = ProfileLock(profile.lock)
    lock.acquire()
    try:
        _configure_log(profile.log, as_json=log_json or chosen.log_json, debug=debug)
        while True:
            node = Node(profile, chosen, rooms.current(profile))
            code = asyncio.run(_serve(node, chosen, with_parent=with_parent))
            if node.failure is not None:
                raise node.failure
            if not node.switching:
                return code
            log.info("starting anew, for another room or with another key")
    finally:
        lock.release()


async def _serve(node: Node, chosen: settings.Settings, *, with_parent: bool) -> int:
    code: int = ExitCode.OK
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        nonlocal code
        code = ExitCode.INTERRUPTED
        node.request_stop()

    with suppress(NotImplementedError):  # Windows: ctrl+c raises KeyboardInterrupt instead
        loop.add_signal_handler(signal.SIGINT, interrupted)
        loop.add_signal_handler(signal.SIGTERM, node.request_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
    if with_parent:
        when_parent_ends(node.request_stop)
    control = ControlServer(node, node.profile.control)
    async with AsyncExitStack() as running:
        running.push_async_callback(control.stop)
        running.push_async_callback(node.stop)
        await node.start()
        await control.start()
        if chosen.metrics_port:
            from fedtui.metrics import MetricsServer

            metrics = MetricsServer(node.view, chosen.metrics_port)
            await metrics.start()
            running.push_async_callback(metrics.stop)
        node.announce_ready()
        notify_service("READY=1")
        await node.wait_stopped()
        notify_service("STOPPING=1")
    return code


def notify_service(message: str) -> None:
    """Tells systemd (``Type=notify``) how far we are; does nothing where nobody asked.

    The protocol is one datagram: https://www.freedesktop.org/software/systemd/man/sd_notify.html
    """
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place or not hasattr(socket, "AF_UNIX"):
        return
    target = "\0" + place[1:] if place.startswith("@") else place
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message.encode(), target)


class _JsonFormatter(logging.Formatter):
    """One object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _OwnLog(RotatingFileHandler):
    """The log file that stderr is; what is not logged but written there moves on with it."""

    def doRollover(self) -> None:
        super().doRollover()
        with Path(self.baseFilename).open("ab") as anew:
            os.dup2(anew.fileno(), sys.stderr.fileno())


def log_handler(own_log: Path) -> logging.Handler:
    """Writes to stderr. Where the interface has made that the profile's own file, it begins anew
    when it is full; elsewhere whoever started the node looks after its log."""
    # Windows renames no file that is open.
    if os.name == "posix" and own_log.exists():
        with suppress(OSError):
            if os.path.samestat(os.fstat(sys.stderr.fileno()), own_log.stat()):
                return _OwnLog(
                    own_log,
                    maxBytes=NODE_LOG_BYTES,
                    backupCount=NODE_LOG_FILES,
                    encoding="utf-8",
                )
    return logging.StreamHandler(sys.stderr)


def _configure_log(own_log: Path, *, as_json: bool, debug: bool) -> None:
    handler = log_handler(own_log)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    text.converter = time.gmtime
    handler.setFormatter(_JsonFormatter() if as_json else text)
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.INFO)
    for chatty in ("aiohttp", "asyncio", "zeroconf"):
        logging.getLogger(chatty).setLevel(logging.DEBUG if debug else logging.WARNING)
