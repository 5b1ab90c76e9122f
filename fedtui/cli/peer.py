"""Single members: where they are."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtui.cli import output

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def peer() -> None:
    """Single members: where they are."""


@app.command()
def add(
    place: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where a member listens.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Connect to a member at an address, where nobody is found.

    For networks on which mDNS does not work.
    """
    from fedtui.cli import look
    from fedtui.limits import ROOM_OPERATION_S

    told = look.with_node(
        lambda client: client.do("add_address", within_s=ROOM_OPERATION_S, place=place)
    )
    if json:
        output.data_json(told)
    else:
        output.data(f"{told['name']} ({told['peer'][:8]}) answers at {told['address']}")
