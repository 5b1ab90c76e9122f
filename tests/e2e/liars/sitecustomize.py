"""Makes two nodes of a demo lie: Python imports this file when its folder is on PYTHONPATH.

Node 4 sends its factors fifty times as large and turned around, node 5 sends NaN. Everything else
they do is what honest nodes do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("FEDTUI_HOME", "")).name


def lie_from_now_on(spoil: Any) -> None:
    import numpy as np

    from fedtui.node import Node
    from trainer.tensor_file import read_all, write

    honest = Node.contribute

    async def contribute(self: Node, path: Path, trained: Any) -> None:
        arrays, metadata = read_all(path)
        lie = path.with_name(f"lie-{path.name}")
        spoiled = {name: spoil(name, array).astype(np.float32) for name, array in arrays.items()}
        write(lie, spoiled, metadata)
        await honest(self, lie, trained)

    Node.contribute = contribute  # type: ignore[method-assign]


def fifty_times_turned(name: str, array: Any) -> Any:
    return array * -50.0 if ".lora_B." in name else array


def not_a_number(name: str, array: Any) -> Any:
    return array * float("nan")


if "--daemon" in sys.orig_argv and HOME in ("node-4", "node-5"):
    lie_from_now_on(fifty_times_turned if HOME == "node-4" else not_a_number)
