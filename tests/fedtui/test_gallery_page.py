"""The page for people without the program: what it shows, to whom, and what strangers get."""

from __future__ import annotations

import asyncio
import re
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fedtui import limits
from fedtui.control.operations import Operations
from fedtui.errors import NetworkError, UsageError
from fedtui.gallery import listener, page
from fedtui.gallery.listener import GalleryListener, Visitors
from fedtui.gallery.opening import GalleryPage
from fedtui.gallery.png import pixels_only, width
from fedtui.settings import Settings
from fedtui.view import NodeView, PeerView, PreviewView, RoundView

HOSTILE = '"><script>alert(1)</script>\u202egnp.\x1b[2J&amp;'
PRIVATE = "/home/lena/secret"


def picture(path: Path, colour: tuple[int, int, int] = (200, 60, 60)) -> str:
    told = PngInfo()
    told.add_text("parameters", f"drawn at {PRIVATE}")
    Image.new("RGB", (64, 64), colour).save(path, pnginfo=told)
    return str(path)


def original(preview: PreviewView) -> bytes:
    return Path(preview.path).read_bytes()


def a_view(folder: Path, rounds: int = 3, prompt: str = "a lighthouse") -> NodeView:
    return NodeView(
        name="lena",
        room_name="sunflower",
        version="0.1.0",
        dataset=PRIVATE,
        round=RoundView(number=rounds, rounds=8, phase="TRAIN"),
        peers=(PeerView("a", "lena", me=True), PeerView("b", "amir")),
        previews=tuple(
            PreviewView(n, prompt, 7, picture(folder / f"r{n}.png", (40 * n, 90, 60)))
            for n in range(rounds + 1)
        ),
    )


@pytest.fixture
def view(tmp_path: Path) -> NodeView:
    return a_view(tmp_path)


@asynccontextmanager
async def served(view: NodeView) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    serving = GalleryListener(lambda: view)
    await serving.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{serving.port}") as session:
            yield serving.token, session
    finally:
        await serving.stop()


class Tags(HTMLParser):
    """Every tag of a page with its attributes; entities in attributes are resolved."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, tag: str, attribute: str) -> Iterator[str]:
        return (a[attribute] or "" for t, a in self.found if t == tag and attribute in a)


async def test_the_page_shows_before_after_and_every_round_without_a_script(view: NodeView) -> None:
    async with served(view) as (token, session), session.get(f"/{token}/") as answer:
        text = await answer.text()
        rules = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert "default-src 'none'" in rules
    assert "script" not in rules
    assert page.policy() == rules
    for words in ("sunflower", "a lighthouse", "seed 7", "before: base", "now: after round 3"):
        assert words in text
    tags = Tags(text)
    active = {"script", "form", "input", "iframe", "object", "embed"}
    assert active.isdisjoint(tag for tag, _ in tags.found)
    assert not [name for _, attributes in tags.found for name in attributes if name[:2] == "on"]
    assert "style" not in {name for _, attributes in tags.found for name in attributes}
    names = {page.picture_name(each) for each in view.previews}
    assert {source.removesuffix(".png") for source in tags.values("img", "src")} == names
    anchors = set(tags.values("div", "id"))
    assert {link for link in tags.values("a", "href") if link != "#"} == {f"#{a}" for a in anchors}


async def test_what_other_members_drew_is_not_on_the_page(view: NodeView) -> None:
    given = replace(view.previews[-1], author="b")
    view = replace(view, previews=(*view.previews[:-1], given))
    async with served(view) as (token, session):
        async with session.get(f"/{token}/") as answer:
            text = await answer.text()
        async with session.get(f"/{token}/{page.picture_name(given)}.png") as answer:
            status = answer.status
    assert page.picture_name(view.previews[-2]) in text
    assert page.picture_name(given) not in text
    assert status == 404


async def test_a_picture_goes_out_without_what_was_written_beside_it(view: NodeView) -> None:
    async with served(view) as (token, session):
        name = page.picture_name(view.previews[2])
        async with session.get(f"/{token}/{name}.png") as answer:
            data = await answer.read()
    assert answer.status == 200
    assert PRIVATE.encode() in original(view.previews[2])
    assert PRIVATE.encode() not in data
    with Image.open(BytesIO(data)) as one, Image.open(BytesIO(original(view.previews[2]))) as two:
        assert one.tobytes() == two.tobytes()


async def test_nothing_private_is_in_the_page(view: NodeView) -> None:
    text = page.rendered(view)
    for secret in (PRIVATE, "lena", "amir", str(Path(view.previews[0].path).parent)):
        assert secret not in text


@pytest.mark.parametrize("field", ["room", "prompt", "version"])
def test_text_of_other_machines_stays_text(tmp_path: Path, field: str) -> None:
    calm = a_view(tmp_path, prompt="x")
    wild = a_view(tmp_path, prompt=HOSTILE if field == "prompt" else "x")
    if field == "room":
        wild = replace(wild, room_name=HOSTILE)
    if field == "version":
        wild = replace(wild, version=HOSTILE)
    text = page.rendered(wild)
    expected = Tags(page.rendered(calm))
    assert [tag for tag, _ in Tags(text).found] == [tag for tag, _ in expected.found]
    assert "<script>" not in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", text)


def test_a_name_without_a_letter_and_a_room_without_pictures_are_pages_too() -> None:
    text = page.rendered(NodeView(room_name="\u200b\x00"))
    assert page.NAMELESS in text
    assert "No picture yet" in text


@pytest.mark.parametrize(
    "path",
    ["/", "/favicon.ico", "/{other}/", "/{token}/x.png", "/{token}/..%2f..%2fetc%2fpasswd",
     "/{token}/%2e%2e/%2e%2e/identity.key", "/{token}x/", "/./", "/{token}/\u00e4"],
)  # fmt: skip
async def test_whoever_has_no_link_learns_nothing(view: NodeView, path: str) -> None:
    async with served(view) as (token, session):
        told = path.format(token=token, other=token[::-1])
        async with session.get(told) as answer:
            text = await answer.text()
    assert (answer.status, "sunflower" in text) == (404, False)


async def test_only_reading_is_possible(view: NodeView) -> None:
    async with served(view) as (token, session):
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"):
            async with session.request(method, f"/{token}/") as answer:
                assert answer.status == 405, method
                assert answer.headers["Allow"] == "GET"
        async with session.get(f"/{token}", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (308, f"/{token}/")


async def test_guessing_is_slower_than_looking(
    view: NodeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PAGE_GUESS_RATE", 1e-9)  # A slow machine earns no more guesses.
    burst = int(limits.PAGE_GUESS_BURST)
    async with served(view) as (token, session):
        statuses = []
        for n in range(burst + 5):
            async with session.get(f"/guess{n}/") as answer:
                statuses.append(answer.status)
        assert statuses == [404] * burst + [429] * 5
        async with session.get(f"/{token}/") as answer:
            assert answer.status == 200, "a neighbour's guesses must not shut the page"


def test_a_visitor_may_load_a_large_page_but_not_for_ever() -> None:
    visitors = Visitors()
    allowed = sum(visitors.may_ask("a", True, 0.0) for _ in range(2000))
    assert allowed == limits.PAGE_BURST
    assert visitors.may_ask("b", True, 0.0)
    assert visitors.may_ask("a", True, 1.0)
    guesses = sum(visitors.may_ask("a", False, 0.0) for _ in range(2000))
    assert guesses == limits.PAGE_GUESS_BURST
    assert not visitors.may_ask("a", False, 0.9 / limits.PAGE_GUESS_RATE)
    assert visitors.may_ask("a", False, 1.1 / limits.PAGE_GUESS_RATE)
    for n in range(3 * limits.PAGE_VISITORS):
        visitors.may_ask(f"{n}", True, 0.0)
    assert len(visitors._buckets) == limits.PAGE_VISITORS


async def test_one_address_cannot_hold_every_connection(view: NodeView) -> None:
    serving = GalleryListener(lambda: view)
    await serving.start("127.0.0.1", 0)
    opened = []
    try:
        for _ in range(limits.PAGE_CONNECTIONS_EACH + 5):
            opened.append(await asyncio.open_connection("127.0.0.1", serving.port))
        ended = [asyncio.create_task(reader.read()) for reader, _ in opened]
        turned_away: set[asyncio.Task[bytes]] = set()
        async with asyncio.timeout(60):
            while len(turned_away) < 5:
                waiting = [task for task in ended if task not in turned_away]
                turned_away |= (await asyncio.wait(waiting, return_when="FIRST_COMPLETED"))[0]
        assert turned_away == set(ended[-5:])
    finally:
        for _, writer in opened:
            writer.close()
        await serving.stop()
    await asyncio.gather(*ended, return_exceptions=True)


async def test_a_silent_connection_is_cut(view: NodeView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAGE_SILENCE_S", 0.3)
    serving = GalleryListener(lambda: view)
    await serving.start("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with asyncio.timeout(60):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
    finally:
        await serving.stop()


class Node:
    """As much of a node as opens and closes a page."""

    def __init__(self, view: NodeView, **settings: Any) -> None:
        self.operations = Operations()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.closed = asyncio.Event()
        self.page = GalleryPage(Settings(**settings), view=lambda: view, emit=self.emit)
        self.page.offer(self.operations)

    def emit(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))
        if name == "gallery.closed":
            self.closed.set()

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(name, arguments)


@asynccontextmanager
async def a_node(view: NodeView, **settings: Any) -> AsyncIterator[Node]:
    node = Node(view, **settings)
    try:
        yield node
    finally:
        await node.page.stop()


async def status_of(link: str) -> int:
    """What a browser is answered: 404 too where nobody listens, or another program does by now."""
    try:
        async with aiohttp.ClientSession() as session, session.get(link) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 404


async def test_a_page_is_opened_shown_and_closed(view: NodeView) -> None:
    async with a_node(view) as node:
        assert (await node.do("gallery_state"))["open"] is False
        assert (await node.do("close_gallery")) == {"closed": False}
        opened = await node.do("open_gallery")
        assert await node.do("gallery_state") == opened
        (link,) = opened["links"]
        assert link.startswith("http://127.0.0.1:")
        assert await status_of(link) == 200
        again = await node.do("open_gallery")
        assert again["links"] != [link]
        assert await status_of(link) == 404
        assert (await node.do("close_gallery")) == {"closed": True}
        assert await status_of(again["links"][0]) == 404
    token = link.rstrip("/").rpartition("/")[2]
    assert [name for name, _ in node.events] == ["gallery.opened", "gallery.closed"] * 2
    assert token not in str(node.events), "events are kept and sent along with questions"


async def test_it_is_on_loopback_unless_somebody_asks_for_the_network(
    view: NodeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    start = GalleryListener.start

    async def started(self: GalleryListener, host: str, port: int) -> None:
        heard.append(host)
        await start(self, "127.0.0.1", port)

    monkeypatch.setattr(GalleryListener, "start", started)
    async with a_node(view, interfaces=("192.0.2.7",)) as node:
        await node.do("open_gallery")
        told = await node.do("open_gallery", network=True)
    assert heard == ["127.0.0.1", "0.0.0.0"]
    assert told["links"][0].startswith("http://192.0.2.7:")


async def test_a_forgotten_page_closes_by_itself(view: NodeView) -> None:
    async with a_node(view) as node:
        await node.do("open_gallery", hours=0.05 / 3600)
        async with asyncio.timeout(60):
            await node.closed.wait()
        assert (await node.do("gallery_state"))["open"] is False
    assert [name for name, _ in node.events] == ["gallery.opened", "gallery.closed"]


@pytest.mark.parametrize(
    "wrong", [{"hours": 0}, {"hours": -1}, {"hours": 1e9}, {"port": 70000}, {"lan": True}]
)
async def test_what_makes_no_sense_opens_nothing(view: NodeView, wrong: dict[str, Any]) -> None:
    async with a_node(view) as node:
        with pytest.raises(UsageError):
            await node.do("open_gallery", **wrong)
        assert node.events == []


async def test_a_taken_port_is_told(view: NodeView) -> None:
    async with a_node(view) as first, a_node(view) as second:
        link = (await first.do("open_gallery"))["links"][0]
        port = int(link.split(":")[2].split("/")[0])
        with pytest.raises(NetworkError, match="cannot listen"):
            await second.do("open_gallery", port=port)
        assert (await second.do("gallery_state"))["open"] is False


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_png_has_one_header_in_front_and_its_parts_in_order(tmp_path: Path) -> None:
    data = pixels_only(Path(picture(tmp_path / "a.png")).read_bytes())
    start, header, rest = data[:8], data[8:33], data[33:]
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    end, note = chunk(b"IEND", b""), chunk(b"abCd", b"xyz")
    for parts in (
        header + huge + rest,  # Pillow takes the size from the last one
        header + rest[: -len(end)] + huge + end,
        note + header + rest,
        chunk(b"IHDR", header[8:21] + b"x") + rest,
        header + chunk(b"IDAT", b"") + chunk(b"PLTE", bytes(3)) + rest,
        header + chunk(b"PLTE", bytes(3)) + chunk(b"PLTE", bytes(3)) + rest,
    ):
        with pytest.raises(ValueError, match="PNG"):
            pixels_only(start + parts)
    several = header + chunk(b"IDAT", b"") + note + rest
    assert pixels_only(start + several) == start + header + chunk(b"IDAT", b"") + rest


def test_only_whole_pngs_are_pictures(tmp_path: Path) -> None:
    data = Path(picture(tmp_path / "a.png")).read_bytes()
    for wrong in (b"", b"GIF89a", data[:-1], data[:20], data[:8] + b"\xff" * 40):
        with pytest.raises(ValueError, match="PNG"):
            pixels_only(wrong)
    assert pixels_only(data + b"PK hidden archive").endswith(pixels_only(data)[-12:])
    extra = struct.pack(">I", 3) + b"abCdxyz"
    extra += struct.pack(">I", zlib.crc32(extra[4:]))
    assert pixels_only(data[:33] + extra + data[33:]) == pixels_only(data)
    assert width(tmp_path / "a.png") == 64
    assert width(tmp_path / "nothing.png") == 0


async def test_a_picture_that_is_gone_costs_only_itself(view: NodeView) -> None:
    lost = replace(view.previews[1], path="/nowhere/at/all.png")
    view = replace(view, previews=(view.previews[0], lost, *view.previews[2:]))
    async with served(view) as (token, session):
        answers = []
        for preview in view.previews:
            async with session.get(f"/{token}/{page.picture_name(preview)}.png") as answer:
                answers.append(answer.status)
        async with session.get(f"/{token}/") as answer:
            assert answer.status == 200
    assert answers == [200, 404, 200, 200]
