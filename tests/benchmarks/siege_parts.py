"""The processes of a siege: ``python -m tests.benchmarks.siege_parts ROLE FOLDER [LINK]``.

``node`` is the room's founder with an open invite; ``member`` joins by the link and probes the node
several times a second; ``besieger`` starts both, attacks, and prints what it cost as JSON. The
first two answer every line on their standard input with a line of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from zeroconf import DNSAddress as DNSHost
from zeroconf import DNSOutgoing, DNSPointer, DNSService, DNSText
from zeroconf.const import (
    _CLASS_IN,
    _FLAGS_AA,
    _FLAGS_QR_RESPONSE,
    _TYPE_A,
    _TYPE_PTR,
    _TYPE_SRV,
    _TYPE_TXT,
)

from p2p import errors
from p2p.discovery import SERVICE_TYPE, room_tag, today
from p2p.identity import Identity
from p2p.joining import wire
from p2p.joining.door import visitor_context
from p2p.joining.handshake import invite_id
from p2p.joining.joiner import Joiner
from p2p.joining.link import InviteLink, parse_link

sys.path.insert(0, str(Path(__file__).parents[1]))
from member_rig import LOOPBACK, identity
from reception_rig import Guest, host

SILENT = 200
JOINERS = 1000
RECORDS = 100_000
RECORDS_PER_PACKET = 4
PACKETS_AT_ONCE = 50
PHASE_SECONDS = 10.0
PROBE_PAUSE = 0.25
PROBE_PATIENCE = 10.0
PROBES_PER_CONNECTION = 4
"""Then the member has to get past the strangers once more."""
MDNS = ("224.0.0.251", 5353)
MIB = 1 << 20


# --- those attacked ------------------------------------------------------------------------------
async def node(folder: Path) -> None:
    async with host(folder / "node", identity(1)) as ada:
        made = await ada.do("invite", uses=128, auto_approve=True)
        say(link=made["text"], port=ada.peer.port, peer=ada.peer.identity.peer_id)
        process = psutil.Process()
        async for _ in lines():
            say(rss=process.memory_info().rss, files=process.num_fds())


async def member(folder: Path, link: InviteLink) -> None:
    joined = await Joiner(identity(2), "Grace").by_link(link)
    guest = Guest(folder / "member", identity(2), _Elsewhere(), joined)
    await guest.peer.start()
    took: list[float | None] = []

    async def probe_forever() -> None:
        for number in itertools.count():
            if number % PROBES_PER_CONNECTION == 0:
                await guest.peer._client.reset()
            began = time.monotonic()
            try:
                await guest.peer._gossip._exchange(link.inviter, PROBE_PATIENCE)
                took.append(time.monotonic() - began)
            except errors.P2PError:
                took.append(None)
            await asyncio.sleep(PROBE_PAUSE)

    probing = asyncio.create_task(probe_forever())
    say()
    async for _ in lines():
        answered = [seconds for seconds in took if seconds is not None]
        say(asked=len(took), answered=len(answered), slowest=max(answered, default=0.0))
        took.clear()
    probing.cancel()
    await guest.peer.stop()


class _Elsewhere:
    """Stands for the host, which is in another process: a guest that governs nothing needs only
    something to ask for the room."""

    room: Any = None


# --- the attackers -------------------------------------------------------------------------------
async def besieger(folder: Path) -> None:
    ada = await Child.start("node", folder)
    told = await ada.hear()
    link = parse_link(told["link"])
    grace = await Child.start("member", folder, told["link"])
    await grace.hear()
    ports = [told["port"], link.addresses[0].port]
    phases: dict[str, Callable[[], Awaitable[None]]] = {
        "in peace": lambda: asyncio.sleep(PHASE_SECONDS),
        f"{SILENT} silent sockets on each port": lambda: keep_silent(ports),
        f"{JOINERS} ask at once": lambda: ask_in_vain(link),
        f"{RECORDS} mDNS records": lambda: flood(link),
        "all of it together": lambda: together(keep_silent(ports), ask_in_vain(link), flood(link)),
    }
    report: dict[str, Any] = {}
    for name, attack in phases.items():
        await grace.ask()
        await attack()
        report[name] = {**await grace.ask(), **await ada.ask()}
    memory = [figures["rss"] / MIB for figures in report.values()]
    print(json.dumps({"phases": report, "grown_mib": max(memory) - memory[0]}), flush=True)
    for child in (grace, ada):
        await child.stop()


async def together(*attacks: Awaitable[None]) -> None:
    await asyncio.gather(*attacks)


async def keep_silent(ports: list[int]) -> None:
    """Sockets that say nothing, opened again whenever they are closed."""

    async def sit(port: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(0.1)

    sitting = [asyncio.create_task(sit(port)) for port in ports for _ in range(SILENT)]
    await asyncio.sleep(PHASE_SECONDS)
    for task in sitting:
        task.cancel()
    await asyncio.gather(*sitting, return_exceptions=True)


async def ask_in_vain(link: InviteLink) -> None:
    """Machines with an invite that nobody made, which wait for whatever they are told."""
    place, tls = link.addresses[0], visitor_context(lambda _: True)

    async def ask(number: int) -> None:
        stranger = Identity.from_seed(number.to_bytes(32, "big"))
        hello = wire.Hello(
            oldest=1, newest=1, peer=stranger.peer_id, nonce="0" * 32, room=link.room,
            invite=invite_id(number.to_bytes(16, "big")),
        )  # fmt: skip
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(
                place.host, place.port, ssl=tls, server_hostname="lobby"
            )
            try:
                writer.write(wire.frame(hello))
                await reader.read()
            finally:
                writer.close()

    await asyncio.gather(*(ask(1000 + number) for number in range(JOINERS)))


async def flood(link: InviteLink) -> None:
    """Forged records that only an eavesdropper on this network could make: right tag, right key."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        for number, packet in enumerate(forgeries(link)):
            sender.sendto(packet, MDNS)
            if number % PACKETS_AT_ONCE == 0:
                await asyncio.sleep(0.01)


def forgeries(link: InviteLink) -> Iterator[bytes]:
    tag = room_tag(link.room, today())
    fields = (b"v=1", f"id={identity(2).peer_id}".encode(), f"rt={tag}".encode())
    text = b"".join(bytes([len(field)]) + field for field in fields)
    for number in range(RECORDS // RECORDS_PER_PACKET):
        name, place = f"forged-{number}.{SERVICE_TYPE}", f"forged-{number}.local."
        address = bytes((10, *number.to_bytes(3, "big")))
        packet = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
        for record in (
            DNSPointer(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN, 4500, name),
            DNSService(name, _TYPE_SRV, _CLASS_IN, 4500, 0, 0, 7000, place),
            DNSText(name, _TYPE_TXT, _CLASS_IN, 4500, text),
            DNSHost(place, _TYPE_A, _CLASS_IN, 4500, address),
        ):
            packet.add_answer_at_time(record, 0)
        yield from packet.packets()


# --- talking to one another ----------------------------------------------------------------------
class Child:
    """A process of this module."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, role: str, folder: Path, *arguments: str) -> Child:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.benchmarks.siege_parts", role, str(folder), *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    async def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.hear()

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def lines() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield line


if __name__ == "__main__":
    role, directory, *rest = sys.argv[1:]
    match role:
        case "node":
            asyncio.run(node(Path(directory)))
        case "member":
            asyncio.run(member(Path(directory), parse_link(rest[0])))
        case "besieger":
            asyncio.run(besieger(Path(directory)))
