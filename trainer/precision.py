"""How a network runs while it trains: in lower precision, compiled, with less kept in memory.

What a device cannot do, or gains nothing from, is left out and named.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import nn

from trainer.device import described, training_dtype
from trainer.models.base import LoadedModel

log = logging.getLogger("trainer")

PLAIN_ATTENTION_SIDE = 32
"""Latents along one side up to which attention as plain matrix products is the cheaper one on a
CPU in bfloat16: 147 ms instead of 208 ms a step of the embedded model at 16 x 16. Its memory grows
with the fourth power of the side."""


@contextmanager
def lowered(model: LoadedModel, network: nn.Module, side: int, whole: bool) -> Iterator[None]:
    """The network in the precision to train in; as it was, bit for bit, afterwards.

    Frozen weights lie in bfloat16 where the device computes it natively, and what trains stays
    in float32. With ``whole`` every weight trains, so only the computation is in bfloat16.
    ``side`` counts latents along a picture's longer side.
    """
    dtype = training_dtype(model.device)
    before = model.compute
    kept = {} if whole else _frozen(network)
    replaced: list[Attention] = []
    try:
        if dtype is not torch.float32:
            for parameter, data in kept.items():
                parameter.data = data.to(dtype)
            model.compute = dtype
            if model.device.type == "cpu" and side <= PLAIN_ATTENTION_SIDE:
                replaced = _plain_attention(network)
        yield
    finally:
        model.compute = before
        for parameter, data in kept.items():
            parameter.data = data
        for layer in replaced:
            layer.set_processor(AttnProcessor2_0())


def _frozen(network: nn.Module) -> dict[nn.Parameter, torch.Tensor]:
    """The network's own float32 weights; factors of adapters stay exact, trained or not."""
    return {
        parameter: parameter.data
        for name, parameter in network.named_parameters()
        if ".lora_" not in name and parameter.dtype is torch.float32
    }


def _plain_attention(network: nn.Module) -> list[Attention]:
    """Takes the fused attention out; returns the layers that had it."""
    layers = [
        module
        for module in network.modules()
        if isinstance(module, Attention) and type(module.processor) is AttnProcessor2_0
    ]
    for layer in layers:
        layer.set_processor(AttnProcessor())
    return layers


def no_compiler(device: torch.device) -> str:
    """Why nothing can be compiled for this device, found by compiling something small; else ''."""

    def one_more(x: torch.Tensor) -> torch.Tensor:
        return x + 1.0

    try:
        torch.compile(one_more)(torch.zeros(1, device=device))
    except Exception as error:  # of dynamo, inductor, triton and the compilers that they call
        log.debug("nothing can be compiled", exc_info=error)
        return next(filter(None, str(error).splitlines()), type(error).__name__)[:200]
    return ""


def fallbacks(device: torch.device, compiler: str) -> list[str]:
    """What a training does without on this device, in sentences for a person.

    ``compiler`` is what :func:`no_compiler` said where compiling was asked for.
    """
    found = []
    if training_dtype(device) is torch.float32:
        found.append(f"{described(device)} gains nothing from bfloat16: trained in float32")
    if compiler:
        found.append(f"nothing can be compiled here ({compiler}): trained without --compile")
    return found


@contextmanager
def prepared(network: nn.Module, checkpointing: bool, compiled: bool) -> Iterator[None]:
    """The network as it is to run: activations computed twice, or its forward pass compiled.

    Parts that turn out not to compile run as they are.
    """
    with ExitStack() as stack:
        if checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
            stack.callback(network.disable_gradient_checkpointing)  # type: ignore[arg-type]
        if compiled:
            stack.enter_context(torch._dynamo.config.patch(suppress_errors=True))
            network.compile()
            stack.callback(setattr, network, "_compiled_call_impl", None)
        yield
