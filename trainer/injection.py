"""Attaching LoRA factors to the networks of a loaded model, with peft's layers.

An adapter is always a branch beside the base weights and never merged into them, so detaching it
leaves the base exactly as it was. Several adapters become one by concatenation along the rank:
Σ w_i B_i A_i = [w_1 B_1 | w_2 B_2 …] [A_1; A_2; …].
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from trainer import frozen_branch
from trainer.adapter import A_SUFFIX, B_SUFFIX, MAGNITUDE_SUFFIX
from trainer.errors import MISUSE, TrainerError
from trainer.lora_file import Factors, FloatArray, LoraAdapter, each_layer
from trainer.models.base import LoadedModel
from trainer.room_adapter import Branch, joined

SLOT = "fedtui"
"""peft's name for the one adapter that is attached at a time."""


def attach(
    network: nn.Module, layers: Mapping[str, Factors], scale: float = 1.0, dora: bool = False
) -> None:
    """Adds trainable float32 factors to layers named in ``layers``; W = W0 + scale · B' A.

    B' is B / scale, so the function computed is that of the given factors whatever the scale. With
    ``dora`` every row of W gets a length of its own, that of W itself where ``layers`` say none.
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
        use_dora=dora,
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
        if dora:
            _set_magnitude(layer, layers[name].magnitude)


def _set_magnitude(layer: LoraLayer, magnitude: FloatArray | None) -> None:
    """The lengths of the rows, or those that the layer's weight has with its factors."""
    own, A, B = layer.lora_magnitude_vector[SLOT], layer.lora_A[SLOT], layer.lora_B[SLOT]
    own.update_layer(
        base_layer=layer.get_base_layer(),
        lora_A=A.weight.data,
        lora_B=B.weight.data,
        scaling=layer.scaling[SLOT],
    )
    own.weight.data = own.weight.data.to(torch.float32)
    if magnitude is not None:
        own.weight.data.copy_(torch.from_numpy(magnitude.copy()).reshape(own.weight.shape))


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
    dora: bool = False,
) -> Iterator[None]:
    """The model with these factors attached, the plain base again afterwards.

    ``branches`` are frozen and beside the factors, by component and layer. Factors of DoRA bring
    the lengths of their rows; with ``dora`` the others begin with what they are.
    """
    with ExitStack() as stack:
        for component, frozen in (branches or {}).items():
            stack.enter_context(frozen_branch.added(model.components[component], frozen))
        for component, layers in components.items():
            network = model.components[component]
            stack.callback(detach, network)
            lengths = dora or any(each.magnitude is not None for each in layers.values())
            attach(network, layers, scale, lengths)
        yield


def reweigh(model: LoadedModel, components: Mapping[str, Mapping[str, Factors]]) -> None:
    """Puts other B into an attached adapter of the same layers and ranks: another strength."""
    for component, layers in components.items():
        for name, layer in _lora_layers(model.components[component]):
            weight = layer.lora_B[SLOT].weight
            weight.data.copy_(torch.from_numpy(layers[name].B.copy()))


def parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The attached factors by the names they have in a factors file, sorted."""
    named: dict[str, nn.Parameter] = {}
    for name, layer in _lora_layers(network):
        named[name + A_SUFFIX] = layer.lora_A[SLOT].weight
        named[name + B_SUFFIX] = layer.lora_B[SLOT].weight
        if SLOT in layer.lora_magnitude_vector:
            named[name + MAGNITUDE_SUFFIX] = layer.lora_magnitude_vector[SLOT].weight
    return dict(sorted(named.items()))


def drop_out(network: nn.Module, share: float) -> None:
    """Lets the attached factors see only a random part of their inputs."""
    if share > 0:
        for _, layer in _lora_layers(network):
            layer.lora_dropout[SLOT] = nn.Dropout(share)


@contextmanager
def at_rest(networks: Iterable[nn.Module]) -> Iterator[None]:
    """The networks without dropout, to be looked at in the middle of training."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


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
    return {
        name: Factors(arrays[name + A_SUFFIX], arrays[name + B_SUFFIX], _magnitude(arrays, name))
        for name in names
    }


def _magnitude(arrays: Mapping[str, FloatArray], name: str) -> FloatArray | None:
    found = arrays.get(name + MAGNITUDE_SUFFIX)
    return None if found is None else found.reshape(-1)


def as_arrays(layers: Mapping[str, Factors]) -> dict[str, FloatArray]:
    """The tensors of a factors file."""
    arrays: dict[str, FloatArray] = {}
    for name, factors in layers.items():
        arrays[name + A_SUFFIX], arrays[name + B_SUFFIX] = factors.A, factors.B
    return arrays


def mixed(adapters: Sequence[tuple[LoraAdapter, float]]) -> dict[str, dict[str, Factors]]:
    """One adapter that does what all do together, each as strongly as its weight says.

    Raises :class:`TrainerError` for DoRA beside others or at another strength than 1.
    """
    if any(adapter.has_magnitudes for adapter, _ in adapters):
        if len(adapters) > 1 or adapters[0][1] != 1.0:
            raise TrainerError(
                "A DoRA adapter works alone and at full strength",
                "It scales every row of a weight, which neither adds up with other adapters nor "
                "has a half.",
                "Use it alone at weight 1, or train without --dora.",
                MISUSE,
            )
        return {name: dict(layers) for name, layers in adapters[0][0].components.items()}
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
