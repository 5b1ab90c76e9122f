"""``fedtui demo``: a whole room on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedtui import terminal
from fedtui.cli import output, places
from fedtui.cli.rule_options import Algorithm, Proximal, RuleName, RuleOptions

if TYPE_CHECKING:
    from fedtui.demo.reporting import Reporter

MAX_NODES = 16


def demo(
    nodes: Annotated[int, typer.Option(min=1, max=MAX_NODES, help="Nodes that take part.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds to train.")] = 3,
    headless: Annotated[
        bool, typer.Option("--headless", help="Print progress instead of opening the interface.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines; implies --headless.")
    ] = False,
    dir: Annotated[
        Path | None, typer.Option("--dir", help="Where the room is made; must be new or empty.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same adapter.")] = 0,
    data: Annotated[
        Path | None, typer.Option("--data", help="Your own captioned pictures, split among all.")
    ] = None,
    algorithm: Algorithm = "fedex",
    rule: RuleName = "n_k",
    rule_option: RuleOptions = None,
    proximal: Proximal = 0.0,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Training steps a round.")] = 40,
    quick: Annotated[
        bool, typer.Option("--quick", help="One coarse preview, nothing measured at the end.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Afterwards also train each participant alone.")
    ] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="Leave the nodes running after the last round.")
    ] = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="End when stdin ends.")
    ] = False,
) -> None:
    """Train a whole room of nodes on this machine.

    Real processes, real discovery and encryption, real training: only the network is short.
    """
    from fedtui.cli import running
    from fedtui.demo.interface import run_with_interface
    from fedtui.demo.options import DemoOptions
    from fedtui.demo.running import run_headless

    options = DemoOptions(
        nodes=nodes,
        rounds=rounds,
        directory=dir.expanduser().absolute() if dir else None,
        seed=seed,
        data=places.folder(data) if data else None,
        algorithm=algorithm,
        rule=rule,
        rule_options=tuple(rule_option or ()),
        proximal=proximal,
        steps=steps,
        quick=quick,
        compare=compare,
        stay=stay,
    )
    if not (headless or json) and terminal.interactive():
        raise typer.Exit(run_with_interface(options))
    work = run_headless(options, _reporter(as_json=json))
    raise typer.Exit(running.run(work, with_parent=with_parent))


def _reporter(*, as_json: bool) -> Reporter:
    """Events as JSON lines on stdout, or a calm account for people on stderr."""
    from fedtui.demo.reporting import JsonReporter, PlainReporter

    if as_json:
        return JsonReporter(output.data_json, output.say)
    return PlainReporter(output.ProgressLine(), output.say)
