"""``fedtui gallery``: the room's pictures as a page for people without the program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import output
from fedtui.comparison import Comparison
from fedtui.errors import FedtuiError
from fedtui.limits import PAGE_HOURS

if TYPE_CHECKING:
    from fedtui.control.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
POLL_S = 0.5
"""Between two looks at what is being drawn."""


@app.callback()
def gallery() -> None:
    """The room's pictures as a page for people without the program."""


@app.command()
def serve(
    lan: Annotated[
        bool,
        typer.Option("--lan", help="To everybody on this network who has the link, not only here."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")
    ] = 0,
    hours: Annotated[
        float, typer.Option(help="The page closes by itself after so long.")
    ] = PAGE_HOURS,
    json: Json = False,
) -> None:
    """Open the page of the previews this machine has drawn.

    It can only be read.
    """
    page = _do("open_gallery", network=lan, port=port, hours=hours)
    _show(page, json=json)
    if not lan:
        output.say("--lan opens it to everybody on this network who has the link")
    elif not page["network"]:
        output.say("but this machine is on no network that others could reach it by")


@app.command()
def show(json: Json = False) -> None:
    """Print the open page's link again."""
    _show(_do("gallery_state"), json=json)


@app.command()
def stop(json: Json = False) -> None:
    """Close the page; its link never works again."""
    told = _do("close_gallery")
    if json:
        output.data_json(told)
    else:
        output.data("the page is closed" if told["closed"] else "there was no page")


def _do(name: str, **arguments: Any) -> dict[str, Any]:
    from fedtui.cli import look

    return look.with_node(lambda client: client.do(name, **arguments))


def _show(page: dict[str, Any], *, json: bool) -> None:
    from fedtui.tui.wording import moment

    if json:
        output.data_json(page)
        return
    if not page["open"]:
        output.data("there is no page; `fedtui gallery serve` opens one")
        return
    for link in page["links"]:
        output.data(str(link))
    until = moment(float(page["until"]))
    if page["network"]:
        output.show_qr(str(page["links"][0]))
        who = "everybody on this network who has the link"
    else:
        who = "people at this machine only"
    output.say(f"for {who}, until {until} or `fedtui gallery stop`")


@app.command()
def without(
    peer: Annotated[str, typer.Argument(help="Whose contribution; else one's own.")] = "",
    round_: Annotated[
        int, typer.Option("--round", min=0, help="Which round; 0 is the last with one of it.")
    ] = 0,
    json: Json = False,
) -> None:
    """Draw a round with and without one contribution on one sheet."""
    from fedtui.cli import look

    told = look.with_node(lambda client: _compared(client, peer, round_))
    if json:
        output.data_json(told)
        return
    if told["same"]:
        output.say("the round's rule had left that contribution out: both are the same adapter")
    if told["inputs"] == 1:
        output.say("it was the only contribution: without it the round would have changed nothing")
    output.data(str(told["sheet"]))


async def _compared(client: ControlClient, peer: str, number: int) -> dict[str, Any]:
    """What the node says of it, with the finished pictures and a sheet of them."""
    from fedtui.limits import COMPARISON_S, LEAVE_OUT_S

    told = await client.do("leave_out", within_s=LEAVE_OUT_S, peer=peer, round=number)
    comparison = Comparison(told)
    try:
        async with asyncio.timeout(COMPARISON_S):
            done = await _drawn(client, comparison.jobs)
    except TimeoutError:
        raise FedtuiError(
            f"the pictures were not drawn within {COMPARISON_S / 3600:.0f} hours",
            "the node's trainer has been busy with other work, or hangs",
            "see `fedtui status`; the node still draws them, and this command can be given again",
        ) from None
    pairs = comparison.pairs(done)
    for picture, pair in zip(told["pictures"], pairs, strict=True):
        picture |= {"with": pair.present, "without": pair.absent}
    sheet = await client.do("export_sheet", **comparison.sheet(pairs))
    return {**told, "sheet": sheet["path"]}


async def _drawn(client: ControlClient, jobs: Sequence[int]) -> dict[int, list[str]]:
    """Waits for drawing jobs and tells the paths of each one's pictures.

    Raises :class:`FedtuiError` when one of them fails, is cancelled or is not listed any more.
    """
    line = output.ProgressLine()
    done: dict[int, list[str]] = {}
    while True:
        listed = {job["id"]: job for job in (await client.do("generations"))["jobs"]}
        for number in jobs:
            if number in done:
                continue
            if number not in listed:
                raise FedtuiError(
                    "the pictures are not in the node's list any more",
                    "it was started anew meanwhile, or has drawn many others",
                    "give the command again",
                )
            job = listed[number]
            if job["state"] == "finished":
                done[number] = list(job["paths"])
            elif job["state"] not in ("waiting", "drawing"):
                raise FedtuiError("the pictures were not drawn", job["error"] or job["state"])
            elif job["state"] == "waiting":
                line.show("waiting for the trainer")
            else:
                line.show(f"drawing, step {job['step']} of {job['steps']}")
        if len(done) == len(jobs):
            line.clear()
            return done
        await asyncio.sleep(POLL_S)
