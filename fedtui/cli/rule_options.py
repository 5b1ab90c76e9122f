"""Options about algorithms and weight rules that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.protocol import ALGORITHMS, RULES

Algorithm = Annotated[
    str, typer.Option(help=f"How contributions are combined: {', '.join(ALGORITHMS)}.")
]
RuleName = Annotated[
    str, typer.Option("--rule", help=f"How much each contribution counts: {', '.join(RULES)}.")
]
RuleOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--rule-option", metavar="NAME=NUMBER", help="A number of the rule: clip=1.5; repeatable."
    ),
]
Proximal = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="FedProx: pull towards the room's adapter.")
]
