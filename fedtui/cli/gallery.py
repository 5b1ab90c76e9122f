"""``fedtui gallery``: the room's pictures as a page for people without the program."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from fedtui.cli import output

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def gallery() -> None:
    """The room's pictures as a page for people without the program."""


@app.command()
def serve(
    lan: Annotated[
        bool,
        typer.Option("--lan", help="To everybody on this network who has the link, not only here."),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    hours: Annotated[float, typer.Option(help="The page closes by itself after so long.")] = 12.0,
    json: Json = False,
) -> None:
    """Open the page: it shows the previews this machine has drawn, and can only be read."""
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
    if json:
        output.data_json(page)
        return
    if not page["open"]:
        output.data("there is no page; `fedtui gallery serve` opens one")
        return
    for link in page["links"]:
        output.data(str(link))
    until = time.strftime("%H:%M on %d %B", time.localtime(float(page["until"])))
    if page["network"]:
        output.show_qr(str(page["links"][0]))
        who = "everybody on this network who has the link"
    else:
        who = "people at this machine only"
    output.say(f"for {who}, until {until} or `fedtui gallery stop`")
