"""Adding a room adapter's frozen branch to the layers of a loaded network, and taking it away.

A float32 weight takes the branch up itself, with one rounding of 2^-24 of the weight; the original
tensor comes back afterwards. A 16-bit weight stays as it is: the branch runs beside it in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trainer.errors import TrainerError
from trainer.room_adapter import Branch


@contextmanager
def added(network: nn.Module, branches: Mapping[str, Branch]) -> Iterator[None]:
    """The network with W0 + E for W0 in the layers named. Raises :class:`TrainerError`."""
    modules = dict(network.named_modules())
    missing = [name for name in branches if name not in modules]
    if missing:
        raise TrainerError(
            "The adapter does not fit the model",
            f"The model has no layer {missing[0][:80]!r}.",
            "Use the adapter with the model it was made for.",
        )
    with ExitStack() as stack:
        for name, branch in branches.items():
            layer: Any = modules[name]
            if layer.weight.dtype == torch.float32:
                stack.callback(_restore, layer, layer.weight)
                layer.weight = nn.Parameter(_sum(layer.weight, branch), requires_grad=False)
            else:
                handle = layer.register_forward_hook(_beside(layer, branch))
                stack.callback(handle.remove)
        yield


def _restore(layer: Any, weight: nn.Parameter) -> None:
    layer.weight = weight


def _sum(weight: torch.Tensor, branch: Branch) -> torch.Tensor:
    E = torch.from_numpy(branch.as_matrix()).to(weight.device, torch.float64)
    return (weight.detach().double() + E.reshape(weight.shape)).float()


def _beside(layer: Any, branch: Branch) -> Callable[..., torch.Tensor]:
    """A forward hook that adds E·x, computed in float32 whatever surrounds it."""
    device = layer.weight.device
    parts = [torch.from_numpy(array.copy()).to(device) for array in branch.arrays]

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        with torch.autocast(output.device.type, enabled=False):
            x = inputs[0].float()
            if isinstance(module, nn.Conv2d):
                x = module._conv_forward(x, parts[0], None)
                x = functional.conv2d(x, parts[1]) if len(parts) > 1 else x
            else:
                x = functional.linear(x, parts[0])
                x = functional.linear(x, parts[1]) if len(parts) > 1 else x
            return (output.float() + x).to(output.dtype)

    return hook
