"""Options about weight rules that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

RuleOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--rule-option", metavar="NAME=NUMBER", help="A number of the rule: clip=1.5; repeatable."
    ),
]
Proximal = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="FedProx: pull towards the room's adapter.")
]
