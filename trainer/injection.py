"""Attaching LoRA factors to the networks of a loaded model, with peft's layers.

An adapter is always a branch beside the base weights and never merged into them, so detaching it
leaves the base exactly as it was. Several adapters become one by concatenation along the rank:
Σ w_i B_i A_i = [w_1 B_1 | w_2 B_2 …] [A_1; A_2; …].
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from trainer import frozen_branch
from trainer.adapter import A_SUFFIX, B_SUFFIX
from trainer.errors import TrainerError
from trainer.lora_file import Factors, FloatArray, LoraAdapter, each_layer
from trainer.models.base import LoadedModel
from trainer.room_adapter import Branch, joined

SLOT = "fedtui"
"""peft's name for the one adapter that is attached at a time."""


def attach(network: nn.Module, layers: Mapping[str, Factors], scale: float = 1.0) -> None:
    """Adds trainable float32 factors to layers named in ``layers``; W = W0 + scale · B' A.

    B' is B / scale, so the function computed is that of the given factors whatever the scale.
    Raises :class:`TrainerError` unless every layer is found.
    """
    rank = Counter(factors.rank for factors in layers.values()).most_common(1)[0][0]
    odd = {name: factors.rank for name, factors in layers.items() if factors.rank != rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank * scale,
        target_modules="|".join(re.escape(name) for name in layers),
        rank_pattern=odd,
        alpha_pattern={name: other * scale for name, other in odd.items()},
        init_lora_weights=False,
    )
    inject_adapter_in_model(config, network, SLOT)
    found = dict(_lora_layers(network))
    if set(found) != set(layers):
        detach(network)
        raise TrainerError(
            "The adapter does not fit the model",
            f"{len(set(found) & set(layers))} of its {len(layers)} layers were found.",
            "Use the adapter with the model it was made for.",
        )
    for name, layer in found.items():
        A, B = layer.lora_A[SLOT], layer.lora_B[SLOT]
        A.to(torch.float32).weight.data.copy_(torch.from_numpy(layers[name].A.copy()))
        B.to(torch.float32).weight.data.copy_(torch.from_numpy(layers[name].B.copy())).div_(scale)


def detach(network: nn.Module) -> None:
    """Takes the adapter away; the network's own layers and weights are as before."""
    for name, layer in list(_lora_layers(network)):
        network.set_submodule(name, layer.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config
    network.requires_grad_(False)


@contextmanager
def attached(
    model: LoadedModel,
    components: Mapping[str, Mapping[str, Factors]],
    scale: float = 1.0,
    branches: Mapping[str, Mapping[str, Branch]] | None = None,
) -> Iterator[None]:
    """The model with these factors attached, the plain base again afterwards.

    ``branches`` are frozen and beside the factors, by component and layer.
    """
    with ExitStack() as stack:
        for component, frozen in (branches or {}).items():
            stack.enter_context(frozen_branch.added(model.components[component], frozen))
        for component, layers in components.items():
            network = model.components[component]
            stack.callback(detach, network)
            attach(network, layers, scale)
        yield


def reweigh(model: LoadedModel, components: Mapping[str, Mapping[str, Factors]]) -> None:
    """Puts other B into an attached adapter of the same layers and ranks: another strength."""
    for component, layers in components.items():
        for name, layer in _lora_layers(model.components[component]):
            weight = layer.lora_B[SLOT].weight
            weight.data.copy_(torch.from_numpy(layers[name].B.copy()))


def parameters(
    network: nn.Module, trained: Collection[str] | None = None
) -> dict[str, nn.Parameter]:
    """The attached factors by the names they have in a factors file, sorted.

    With ``trained`` only those; the others are frozen.
    """
    named: dict[str, nn.Parameter] = {}
    for name, layer in _lora_layers(network):
        named[name + A_SUFFIX] = layer.lora_A[SLOT].weight
        named[name + B_SUFFIX] = layer.lora_B[SLOT].weight
    if trained is not None:
        for name, parameter in named.items():
            parameter.requires_grad_(name in trained)
        named = {name: parameter for name, parameter in named.items() if name in trained}
    return dict(sorted(named.items()))


def drop_out(network: nn.Module, share: float) -> None:
    """Lets the attached factors see only a random part of their inputs."""
    if share > 0:
        for _, layer in _lora_layers(network):
            layer.lora_dropout[SLOT] = nn.Dropout(share)


def extracted(network: nn.Module, scale: float = 1.0) -> dict[str, FloatArray]:
    """Copies of the attached factors as they are written to a file, with scale 1."""
    return {
        name: (value.detach() * (scale if name.endswith(B_SUFFIX) else 1.0))
        .to("cpu", torch.float32)
        .numpy()
        .copy()
        for name, value in parameters(network).items()
    }


def as_layers(arrays: Mapping[str, FloatArray]) -> dict[str, Factors]:
    """A factors file's tensors, paired."""
    names = (name.removesuffix(A_SUFFIX) for name in arrays if name.endswith(A_SUFFIX))
    return {name: Factors(arrays[name + A_SUFFIX], arrays[name + B_SUFFIX]) for name in names}


def as_arrays(layers: Mapping[str, Factors]) -> dict[str, FloatArray]:
    """The tensors of a factors file."""
    arrays: dict[str, FloatArray] = {}
    for name, factors in layers.items():
        arrays[name + A_SUFFIX], arrays[name + B_SUFFIX] = factors.A, factors.B
    return arrays


def mixed(adapters: Sequence[tuple[LoraAdapter, float]]) -> dict[str, dict[str, Factors]]:
    """One adapter that does what all do together, each as strongly as its weight says."""
    mix: dict[str, dict[str, Factors]] = {}
    for adapter, weight in adapters:
        for component, name, factors in each_layer(adapter):
            layers = mix.setdefault(component, {})
            more = Factors(factors.A, factors.B * np.float32(weight))
            layers[name] = joined(layers[name], more) if name in layers else more
    return mix


def _lora_layers(network: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
