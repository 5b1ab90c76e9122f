"""Joining over loopback: by link, by code, and thirty machines at once into one room.

The other figure is a bare TLS 1.3 handshake with the same lobby: what nobody can do without.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from tests.benchmarks.measure import Line

RUNS = 9
AT_ONCE = 30


def run() -> Iterator[Line]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    yield from asyncio.run(_measure())


async def _measure() -> list[Line]:
    from lobby_rig import joiner
    from member_rig import identity
    from reception_rig import host

    from p2p.addresses import Address
    from p2p.joining.code import parse_code
    from p2p.joining.door import visitor_context
    from p2p.joining.link import parse_link

    with tempfile.TemporaryDirectory() as folder:
        async with host(Path(folder), identity(1)) as ada:
            made = await ada.do("invite", uses=128, auto_approve=True)
            link, numbers = parse_link(made["text"]), iter(range(2, 200))

            async def by_link() -> None:
                await joiner(next(numbers)).by_link(link)

            async def handshake() -> None:
                (address,) = link.addresses
                _, writer = await asyncio.open_connection(
                    address.host,
                    address.port,
                    ssl=visitor_context(lambda _: True),
                    server_hostname="lobby",
                )
                writer.close()

            codes = [
                (await ada.do("invite", code=True, auto_approve=True))["text"] for _ in range(RUNS)
            ]

            async def by_code() -> None:
                at = [Address.parse(made["addresses"][0])]
                await joiner(next(numbers)).by_code(parse_code(codes.pop()), addresses=at)

            bare = await _median(handshake)
            lines = [
                Line("join by link, median", await _median(by_link), bare, "a TLS handshake"),
                Line("join by code, median", await _median(by_code), bare, "a TLS handshake"),
            ]
            began = time.perf_counter()
            await asyncio.gather(*(by_link() for _ in range(AT_ONCE)))
            at_once = time.perf_counter() - began
            one_by_one = lines[0].ours * AT_ONCE
            lines.append(Line(f"{AT_ONCE} join at once", at_once, one_by_one, "one after another"))
            assert len(ada.peer.members) == 1 + 2 * RUNS + AT_ONCE
            return lines


async def _median(work: Callable[[], Awaitable[None]]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
