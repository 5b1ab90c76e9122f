"""``fedtui model``: base models on this machine, and single files and hub names made ready."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fedtui.cli import output
from fedtui.cli.learn import MODEL_HELP, progress_text

app = typer.Typer(no_args_is_help=True)

PREDICTED = {
    "epsilon": "noise (epsilon)",
    "v_prediction": "velocity (v_prediction)",
    "flow": "a flow's velocity",
}


@app.callback()
def root() -> None:
    """List models, and make those from files and from the hub ready."""


@app.command("list")
def list_models(
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the base models on this machine.

    The built-in one, and those that were imported.
    """
    from fedtui.cli.trainer import ask
    from trainer.protocol import ListModels

    found = ask(ListModels(), role="arithmetic")
    if json:
        output.data_json(found)
        return
    output.data(f"{'model':<34} {'family':<20} {'pixels':>6} {'size':>9}  sha256")
    for each in found["models"]:
        about = f"{each['family']:<20} {each['resolution']:>6}"
        if each["unfinished"]:
            about = f"{'unfinished':<20} {'':>6}"
        size = f"{each['bytes'] / 1e6:.1f} MB"
        output.data(f"{each['source']:<34} {about} {size:>9}  {each['sha256'][:16]}".rstrip())
    output.say(f"others are made ready by `fedtui model import`, in {found['store']}")


@app.command("size")
def size(
    model: Annotated[str, typer.Argument(help="A model on the hub, OWNER/NAME[@REVISION].")],
    json: Annotated[bool, typer.Option("--json", help="Print the sizes as JSON.")] = False,
) -> None:
    """Say how large a model's download is. Nothing is downloaded."""
    from fedtui.cli.trainer import ask
    from fedtui.sizes import sized
    from trainer.protocol import MeasureDownload

    found = ask(MeasureDownload(model), role="arithmetic")
    if json:
        output.data_json(found)
    elif found["ready"]:
        output.data(f"{model}  {sized(found['total'])}, on this machine")
    else:
        output.data(
            f"{model}  {sized(found['total'])}, {sized(found['present'])} of it here; "
            f"the disk has {sized(found['free'])} free"
        )


@app.command("import")
def import_model(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    prediction: Annotated[
        str,
        typer.Option(
            help="epsilon (noise) or v_prediction (velocity), where the model's settings are wrong."
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Download or unpack a model, and print its hash.

    ctrl+c stops it; again, it goes on where it stopped.
    """
    from fedtui.cli.trainer import ask
    from fedtui.pace import Pace
    from fedtui.sizes import downloaded
    from trainer.protocol import ImportModel

    line, pace = output.ProgressLine(), Pace()

    def show(data: dict[str, Any]) -> None:
        if data.get("stage") == "note":
            line.clear()
            output.say(data["text"])
        elif data.get("stage") == "download":
            pace.told(int(data["bytes"]))
            rate = 1 / pace.seconds if pace.seconds else None
            line.show(f"downloading {downloaded(int(data['bytes']), int(data['total']), rate)}")
        else:
            line.show(progress_text(data))

    result = ask(ImportModel(model, prediction), on_progress=show)
    line.clear()
    if json:
        output.data_json(result)
        return
    output.data(
        f"{result['model']}  {result['family']}, {result['resolution']} pixels, "
        f"predicts {PREDICTED.get(result['prediction'], result['prediction'])}\n"
        f"  folder {result['folder']}\n  sha256 {result['sha256']}"
    )
