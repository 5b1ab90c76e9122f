"""Where a node's control API listens, and who may speak to it.

A Unix socket with mode 0600 where asyncio has them. Elsewhere (Windows) a loopback port, written
with a random token to a 0600 file in the socket's place; the token is a bearer token on every
request, and the Host header must be loopback, so that no web page can reach the node.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2p.durable import publish

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32
PROBE_S = 2.0


@dataclass(frozen=True)
class LoopbackAddress:
    """What the file in the socket's place says."""

    port: int
    token: str

    @property
    def host(self) -> str:
        return f"{LOOPBACK}:{self.port}"


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def write_loopback(path: Path, address: LoopbackAddress) -> None:
    """Writes the address file, readable by its owner only, whole or not at all."""
    content = json.dumps({"port": address.port, "token": address.token})
    publish(path, content.encode(), mode=0o600)


def read_loopback(path: Path) -> LoopbackAddress:
    """Raises OSError or ValueError when the file is missing or damaged."""
    data = json.loads(path.read_text())
    try:
        return LoopbackAddress(int(data["port"]), str(data["token"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged") from error


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket; None where the system does not tell."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, uid, _ = struct.unpack("3i", credentials)
        return int(uid)
    return None


def listens(path: Path) -> bool:
    """Whether some process listens on a control socket; nothing is asked of it."""
    if not HAS_UNIX_SOCKETS:
        return path.is_file()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
