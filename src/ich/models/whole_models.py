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

# Arrays that may be those of a layer, each with the layer of the saved model that it is in.
Found = list[tuple[str, list[Any]]]

_NUMBER = re.compile(r"_\d+$")
# The one layer with weights that Keras's backbones leave unnamed, ConvNeXt's last; its number is that of the session.
_UNNAMED = "layer_normalization"


@dataclass(frozen=True)
class WholeModel:
    """An open .h5 file.

    Attributes:
        path: of the file.
        groups: name of a layer of the saved model -> the layers in it: itself, or those of a network within.
    """

    path: Path
    groups: dict[str, Layers]

    def where(self, wanted: Layers, named: Iterable[str] = ()) -> dict[str, Found]:
        """Where the layers of a backbone may be: name, without a number too -> arrays.

        Looked into is the first of the `named` groups that is a network. If none is: each network that has all the
        layers, and the model's own layers if those do; if nothing has all, everything.
        """
        if name := next((name for name in named if len(self.groups.get(name, ())) > 1), None):
            return _index({name: self.groups[name]})
        networks = [{name: group} for name, group in self.groups.items() if len(group) > 1]
        own = {name: group for name, group in self.groups.items() if len(group) == 1}
        whole = [part for part in (*networks, own) if _holds(_index(part), wanted)]
        return _index({name: group for part in whole for name, group in part.items()} or self.groups)


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
            yield WholeModel(path, groups)
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
        DataError: the file cannot be read; a layer is not in it or has arrays of other shapes; or it holds several
            such networks with different weights, of which none has a name of `groups`.
    """
    with open_whole_model(path) as saved:
        wanted, found = layers_of(backbone), []
        where = saved.where(wanted, groups)
        for layer, arrays in wanted.items():
            fitting = _fitting(layer, arrays, where)
            if _differ(fitting):
                several = ", ".join(dict.fromkeys(group for group, _ in fitting))
                raise DataError(
                    f"train.weights: {path} holds several networks that fit {name}, with different weights: layer "
                    f"{layer} is in {several}; save each stage in a file of its own (stage1_best.h5, stage2_best.h5), "
                    "and set train.weights to their folder"
                )
            other = next((each for _, each in fitting or _called(layer, where)), None)
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
        layers = _besides(backbones, saved) if layers is None else layers
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
        array = group[weight]
        if not isinstance(array, h5py.Dataset) or array.dtype.kind != "f":
            raise ValueError(f"{weight} is no array of floating-point numbers")
        layers.setdefault(layer, []).append(array)
    return layers


def _index(groups: dict[str, Layers]) -> dict[str, Found]:
    """Layers by their names, without a number too."""
    index: dict[str, Found] = {}
    for group, layers in groups.items():
        for layer, arrays in layers.items():
            # Its own name too: a layer can be renamed, its weights keep the name they were made with.
            names = [layer, group] if len(layers) == 1 else [layer]
            for name in dict.fromkeys([*names, *(_NUMBER.sub("", name) for name in names)]):
                index.setdefault(name, []).append((group, arrays))
    return index


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Of layers or weights; lists that are too long for one attribute stand in several with numbers."""
    parts = [attribute] if attribute in group.attrs else []
    while not parts or f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    names = [name for part in parts for name in np.atleast_1d(group.attrs[part])]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _called(name: str, where: dict[str, Found]) -> Found:
    """Layers of this name, or of this name and a number."""
    return where.get(_UNNAMED if _NUMBER.sub("", name) == _UNNAMED else name, [])


def _fitting(name: str, arrays: list[Any], where: dict[str, Found]) -> Found:
    return [(group, other) for group, other in _called(name, where) if _shapes(other) == _shapes(arrays)]


def _holds(where: dict[str, Found], wanted: Layers) -> bool:
    return all(_fitting(name, arrays, where) for name, arrays in wanted.items())


def _differ(found: Found) -> bool:
    """Whether these are not all copies of the first."""
    return any(
        not np.array_equal(one[()], other[()])
        for _, arrays in found[1:]
        for one, other in zip(found[0][1], arrays, strict=True)
    )


def _besides(backbones: Sequence[keras.Model], saved: WholeModel) -> Layers:
    """The layers that no backbone has."""
    taken: set[str] = set()
    for backbone in backbones:
        wanted = layers_of(backbone)
        where = saved.where(wanted)
        for name, arrays in wanted.items():
            taken.update(array.name for _, other in _fitting(name, arrays, where) for array in other)
    every = (arrays for group in saved.groups.values() for arrays in group.values())
    return {arrays[0].name: arrays for arrays in every if arrays[0].name not in taken}


def _assign(variables: list[Any], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        array = np.asarray(value[()], np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{variable.path} has values that are not finite: its training had failed")
        variable.assign(array)


def _shapes(arrays: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _text(arrays: list[Any]) -> str:
    return " ".join(str(shape) for shape in _shapes(arrays))
