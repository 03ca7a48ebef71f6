"""Weights out of whole models that Keras 2 or 3 saved as .h5, which need not be rebuilt for it.

Keras 2 wrote a backbone as one layer of the model, or its layers as layers of the model (`base_model.output` was used);
a layer's arrays stand in the same order in both: kernel, bias; gamma, beta, moving mean, moving variance. So layers are
found by name, and their arrays by order and shape; the arrays' own names differ between versions of Keras.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from ich.errors import DataError, one_line

# Name of a layer -> its arrays: variables of a network, or data sets of a file. Both have a shape.
Layers = dict[str, list[Any]]

# The one layer with weights that Keras's backbones leave unnamed, ConvNeXt's last; its number is that of the session.
_UNNAMED = re.compile(r"layer_normalization(_\d+)?")


@dataclass(frozen=True)
class WholeModel:
    """An open .h5 file.

    Attributes:
        path: of the file.
        groups: name of a layer of the saved model -> the layers in it: itself, or those of a network within.
        layers: all of them, in the order of the file; of those with one name, the first.
    """

    path: Path
    groups: dict[str, Layers]
    layers: Layers

    def within(self, groups: Iterable[str]) -> Layers:
        """The layers of the first of these groups that is a network in the file; all layers if none is."""
        return next((self.groups[name] for name in groups if len(self.groups.get(name, ())) > 1), self.layers)


@contextmanager
def open_whole_model(path: Path) -> Iterator[WholeModel]:
    """Open a file; its arrays are read when they are used, within the block.

    Raises:
        DataError: it is no HDF5 file, is damaged, or was not written by Keras.
    """
    try:
        with h5py.File(path, "r") as file:
            top = file.get("model_weights", file)
            groups = {name: _layers_of(name, top[name]) for name in _names(top, "layer_names")}
            yield WholeModel(path, groups, _all(groups))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(
            f"train.weights: {path} cannot be read as a model that Keras saved as .h5 ({one_line(error)}); copy it "
            "again, or save the model again with model.save('NAME.h5')"
        ) from error


def load_backbone(backbone: keras.Model, name: str, path: Path, groups: Sequence[str]) -> None:
    """Give a backbone the weights that a whole model has for it.

    Args:
        backbone: from Keras's constructor.
        name: of the member, for messages.
        path: of the .h5 file.
        groups: layers of the saved model, by name; the first that is there is looked into, else the whole model is.

    Raises:
        DataError: the file cannot be read, or a layer is not in it or has arrays of other shapes.
    """
    with open_whole_model(path) as saved:
        layers, found = saved.within(groups), []
        for layer, arrays in layers_of(backbone).items():
            other = _find(layer, arrays, layers)
            if other is None or _shapes(other) != _shapes(arrays):
                has = "is not in it" if other is None else f"has shape {_text(other)} in it"
                raise DataError(
                    f"train.weights: {path} does not hold weights of {name}: layer {layer}, {_text(arrays)}, {has}; "
                    f"name a model that was built with {name} (train.backbones says which), or Keras's weight file"
                )
            found.append((arrays, other))
        for arrays, values in found:  # all of them or none
            _assign(arrays, values)


def load_head(head: keras.Model, backbones: Sequence[keras.Model], path: Path) -> bool:
    """Give a head the weights of a whole model, if what that has besides the backbones is a head of the same shapes.

    Args:
        head: ours.
        backbones: those in front of it.
        path: of the .h5 file, from which the backbones have theirs.

    Returns:
        Whether it did.
    """
    with open_whole_model(path) as saved:
        layers = saved.groups.get(head.name)
        layers = _besides(backbones, saved.layers) if layers is None else layers
        wanted, theirs = list(layers_of(head).values()), list(layers.values())
        if [_shapes(arrays) for arrays in wanted] != [_shapes(arrays) for arrays in theirs]:
            return False
        for arrays, values in zip(wanted, theirs, strict=True):
            _assign(arrays, values)
        return True


def layers_of(network: keras.Model) -> Layers:
    """The variables of each innermost layer, in Keras's order."""
    layers: Layers = {}
    for variable in network.weights:
        layers.setdefault(variable.path.split("/")[-2], []).append(variable)
    return layers


def _layers_of(name: str, group: h5py.Group) -> Layers:
    layers: Layers = {}
    for weight in _names(group, "weight_names"):
        layer = [name, *weight.split("/")][-2]  # LayerScale's of Keras 2 may have a name without its layer: Variable:0
        layers.setdefault(layer, []).append(group[weight])
    return layers


def _all(groups: dict[str, Layers]) -> Layers:
    layers: Layers = {}
    for name, group in groups.items():
        for layer, arrays in group.items():
            layers.setdefault(layer, arrays)
            if (
                len(group) == 1
            ):  # its own name too: a layer can be renamed, its weights keep the name they were made with
                layers.setdefault(name, arrays)
    return layers


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Of layers or weights; lists that are too long for one attribute stand in several with numbers."""
    parts = [attribute] if attribute in group.attrs else []
    while not parts or f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _find(name: str, arrays: list[Any], layers: Layers) -> list[Any] | None:
    """The arrays of the layer of this name, else of this name and a number; of several, the first that fits."""
    if _UNNAMED.fullmatch(name):
        candidates = [layers[other] for other in layers if _UNNAMED.fullmatch(other)]
    elif name in layers:
        return layers[name]
    else:
        candidates = [layers[other] for other in layers if re.fullmatch(rf"{re.escape(name)}_\d+", other)]
    fitting = [candidate for candidate in candidates if _shapes(candidate) == _shapes(arrays)]
    return next(iter(fitting or candidates), None)


def _besides(backbones: Sequence[keras.Model], layers: Layers) -> Layers:
    """The layers that no backbone has."""
    taken: set[str] = set()
    for backbone in backbones:
        for name, arrays in layers_of(backbone).items():
            taken.update(array.name for array in _find(name, arrays, layers) or [])
    # By the names of arrays, for a layer may have two.
    return {arrays[0].name: arrays for arrays in layers.values() if arrays[0].name not in taken}


def _assign(variables: list[Any], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value[()], np.float32))


def _shapes(arrays: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _text(arrays: list[Any]) -> str:
    return " ".join(str(shape) for shape in _shapes(arrays))
