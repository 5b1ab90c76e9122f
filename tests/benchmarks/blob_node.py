"""A member that only moves blobs, as a process on a machine of a network laboratory.

``python -m tests.benchmarks.blob_node ROOT INDEX COUNT SIZE [--only-first]``: node 0 has a blob,
the others fetch it from everybody (or only from node 0) once ROOT/go exists. Every chunk that came
is a line of ROOT/chunksINDEX, written before it counts; ROOT/doneINDEX appears at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from p2p.addresses import Address, AddressBook
from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.blobs.transfer import Received
from p2p.client import PeerClient
from p2p.server import MemberServer
from p2p.tls import MemberTLS
from tests.member_rig import Handler, identity
from tests.netns.lab import Lab

PORT = 7000


class CountingClient(PeerClient):
    """Notes which chunks came, in a file that outlives a kill."""

    log: int

    async def fetch_chunk(self, peer_id: str, ref: BlobRef, index: int) -> Received:
        received = await super().fetch_chunk(peer_id, ref, index)
        os.write(self.log, b"%d\n" % index)
        return received


async def appearance(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)


def publish(path: Path, content: object) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.rename(path)


async def main(options: argparse.Namespace) -> None:
    root, me = options.root, options.index
    people = [identity(i + 1) for i in range(options.count)]
    tls, book = MemberTLS(people[me]), AddressBook()
    store = BlobStore(root / f"store{me}")
    server = MemberServer(tls, Handler(), store)
    server.set_members({each.peer_id: each.certificate_der() for each in people})
    await server.start([Lab.address(me)], PORT)
    for index, each in enumerate(people):
        book.hint(each.peer_id, [Address(Lab.address(index), PORT)])
    client = CountingClient(tls, book)
    client.log = os.open(root / f"chunks{me}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    await client.start()
    if me == 0 and not (root / "ref").exists():
        ref = await store.put(random.Random(0).randbytes(options.size))
        publish(root / "ref", [ref.sha256, ref.size, ref.chunks])
    (root / f"ready{me}").touch()
    await appearance(root / "go")

    def sources() -> Iterator[str]:
        others = people[:1] if options.only_first else people
        return (each.peer_id for each in others if each is not people[me])

    if me:
        ref = BlobRef(*json.loads((root / "ref").read_text()))
        await store.fetch(client, ref, sources)
        publish(root / f"done{me}", time.monotonic())
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("index", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--only-first", action="store_true")
    asyncio.run(main(parser.parse_args()))
