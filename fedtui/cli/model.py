"""``fedtui model import``: single files and hub names made ready, once."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtui.cli import output
from fedtui.cli.learn import MODEL_HELP, progress_text

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Make models from files and from the hub ready."""


@app.command("import")
def import_model(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Download or unpack a model, and print its hash. Again, it goes on where it stopped."""
    from fedtui.cli.trainer import ask
    from trainer.protocol import ImportModel

    line = output.ProgressLine()
    result = ask(ImportModel(model), on_progress=lambda data: line.show(progress_text(data)))
    line.clear()
    if json:
        output.data_json(result)
        return
    output.data(
        f"{result['model']}  {result['family']}, {result['resolution']} pixels\n"
        f"  folder {result['folder']}\n  sha256 {result['sha256']}"
    )
