import jax
import jax.numpy as jnp

from ich.training.kept import kept_for_backward

N, INPUTS, HIDDEN, OUTPUTS = 7, 5, 3, 2
IMAGES = jax.ShapeDtypeStruct((N, INPUTS), jnp.float32)
WEIGHTS = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((INPUTS, HIDDEN), (HIDDEN, OUTPUTS))]


def sizes(function, *arguments):
    return sorted(array.bytes for array in kept_for_backward(function, *arguments).arrays)


def two_layers(weights, images, activation):
    first, second = weights
    outputs = activation(images @ first) @ second
    return jnp.sum(outputs**2), None


def test_operands_and_results_of_products_are_kept_and_nothing_between():
    """Both layers' results and the second's operand; the first's is an argument. None of `activation`."""

    def activation(x):
        z = (x - 1) * jax.nn.sigmoid(2 * x) + jnp.tanh(x) ** 2
        return z * jnp.exp(-z)

    hidden, outputs = N * HIDDEN * 4, N * OUTPUTS * 4
    assert sizes(lambda *given: two_layers(*given, activation), WEIGHTS, IMAGES) == sorted([hidden, hidden, outputs])


def test_what_a_linear_layer_passes_on_is_kept_once():
    """Without anything between, the first layer's result is the second's operand."""
    hidden, outputs = N * HIDDEN * 4, N * OUTPUTS * 4
    assert sizes(lambda *given: two_layers(*given, lambda x: x), WEIGHTS, IMAGES) == sorted([hidden, outputs])


def test_with_recompute_an_operand_is_computed_again():
    def again(weights, images):
        return two_layers(weights, images, jnp.tanh)

    call = jax.checkpoint(again, policy=lambda primitive, *_, **__: primitive.name == "dot_general")
    assert sizes(call, WEIGHTS, IMAGES) == sorted([N * HIDDEN * 4, N * OUTPUTS * 4])


def test_a_frozen_layer_keeps_nothing_but_what_follows_reads():
    def second_only(second, first, images):
        return two_layers([first, second], images, jnp.tanh)

    assert sizes(second_only, WEIGHTS[1], WEIGHTS[0], IMAGES) == sorted([N * HIDDEN * 4, N * OUTPUTS * 4])
