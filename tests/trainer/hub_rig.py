"""A hub on this machine that serves one repository as ``huggingface_hub`` asks for it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub with the files of a folder, as long as the context lasts."""
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Hub(ThreadingHTTPServer):
    """As much of a hub as one repository needs. ``lie`` is announced instead of the true hashes.
    After the first half of the file ``stall`` it waits for as long as that is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.folder = folder
        self.commit = "c" * 40
        self.lie = ""
        self.stall = ""
        self.served: list[tuple[str, int]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/api/models/" in self.path:
            self._answer(json.dumps(self._listing()).encode(), {})
            return
        name = self.path.split("?")[0].split(f"/resolve/{self.server.commit}/")[-1]
        path = self.server.folder / name
        if not path.is_file():
            self._answer(b"", {}, 404)
            return
        content = path.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.server.commit,
                   "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}  # fmt: skip
        if self.command == "GET":
            self.server.served.append((name, len(content) - start))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(content[start:], headers, 206 if start else 200, name)

    def _listing(self) -> dict[str, Any]:
        files = [path for path in sorted(self.server.folder.rglob("*")) if path.is_file()]
        siblings = []
        for path in files:
            entry: dict[str, Any] = {
                "rfilename": path.relative_to(self.server.folder).as_posix(),
                "size": path.stat().st_size,
            }
            if path.suffix == ".safetensors":
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                entry["lfs"] = {
                    "sha256": self.server.lie or digest,
                    "size": path.stat().st_size,
                    "pointerSize": 1,
                }
            siblings.append(entry)
        return {"id": "owner/tiny", "sha": self.server.commit, "siblings": siblings}

    def _answer(
        self, body: bytes, headers: dict[str, str], status: int = 200, file: str = ""
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):
                half = len(body) // 2 if file and file == self.server.stall else 0
                self.wfile.write(body[:half])
                while half and file == self.server.stall:
                    # A byte now and then, so that whoever listens notices when it is to stop.
                    self.wfile.write(body[half : half + 1])
                    half += 1
                    time.sleep(0.1)
                self.wfile.write(body[half:])
