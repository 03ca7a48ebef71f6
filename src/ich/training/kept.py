"""What a traced step keeps between its forward and its backward pass, as XLA would have it on a GPU.

`jax.vjp` names every array that some rule of differentiation asks for: 39 GiB for EfficientNetV2M at batch 128. XLA
fuses what works on single elements (normalisation, activations, casts) with what reads it, and computes it again in
the backward pass; what it writes are the operands and results of convolutions and matrix products. So each array that
is asked for counts as itself if it is one of those, and else as those that it is computed from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend import core

_PRODUCTS = ("conv_general_dilated", "dot_general")
_LOOPS = ("scan", "while", "cond")
# Whose result is smaller than what it reads, or cannot be had twice.
_WRITTEN = ("argument", "gather", "random_", "reduce_sum", "reduce_max", "reduce_min", "reduce_and")


@dataclass(eq=False)
class Array:
    """A value of a traced function: its size, and what made it of what."""

    made_by: str
    elements: int
    bytes: int
    made_of: tuple["Array", ...] = ()
    of_a_product: bool = False  # operand or result of one


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        arrays: each once; no arguments among them.
        products: operands and results of each product of the forward pass.
    """

    arrays: list[Array]
    products: list[tuple[Array, ...]]


def kept_for_backward(function: Callable[..., Any], *arguments: Any) -> Kept:
    """Trace a function and its derivative by the first argument.

    Args:
        function: to a scalar, and anything beside it, as for `jax.grad(..., has_aux=True)`.
        arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`; nothing is computed.
    """

    def forward(first: Any, *others: Any) -> list[Any]:
        _, backward, _ = jax.vjp(lambda weights: function(weights, *others), first, has_aux=True)
        return jax.tree.leaves(backward)

    jaxpr = jax.make_jaxpr(forward)(*arguments).jaxpr
    products: list[tuple[Array, ...]] = []
    asked_for = _follow(jaxpr, [_array("argument", each.aval) for each in jaxpr.invars], products)
    return Kept([array for array in _written(asked_for) if array.made_by != "argument"], products)


def _follow(jaxpr: Any, arguments: Sequence[Array], products: list[tuple[Array, ...]]) -> list[Array]:
    """The results of a traced function, with all that they were made of; functions that it calls are followed too."""
    known = dict(zip(jaxpr.invars, arguments, strict=True))
    known |= {constant: _array("argument", constant.aval) for constant in jaxpr.constvars}

    def read(atom: Any) -> Array:
        return _array("argument", atom.aval) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        name, inputs = equation.primitive.name, tuple(map(read, equation.invars))
        called = _called(equation)
        if called is not None:
            outputs = _follow(called, inputs, products)
        else:
            outputs = [_array(name, each.aval, inputs) for each in equation.outvars]
        if name in _PRODUCTS:
            products.append((*inputs, *outputs))
            for array in products[-1]:
                array.of_a_product = True
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(each) for each in jaxpr.outvars]


def _called(equation: Any) -> Any:
    """The traced function that an equation calls; None for a primitive, or a loop, which counts as one."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        inner = getattr(inner, "jaxpr", inner)
        if inner is not None and equation.primitive.name not in _LOOPS and len(inner.invars) == len(equation.invars):
            return inner
    return None


def _array(made_by: str, aval: Any, made_of: tuple[Array, ...] = ()) -> Array:
    elements = int(np.prod(aval.shape))
    return Array(made_by, elements, elements * getattr(aval.dtype, "itemsize", 8), made_of)  # a random key has none


def _written(arrays: Iterable[Array]) -> list[Array]:
    """What is written of some arrays, or of what they are computed from; each once."""
    found, seen, waiting = [], set(), list(arrays)
    while waiting:
        array = waiting.pop()
        if id(array) in seen:
            continue
        seen.add(id(array))
        if array.of_a_product or array.made_by.startswith(_WRITTEN) or not array.made_of:
            found.append(array)
        else:
            waiting.extend(array.made_of)
    return found
