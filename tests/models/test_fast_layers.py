"""Against Keras's own layers, and against float64."""

import keras
import numpy as np
import pytest
from scipy.special import erf

from ich.models.backbones import DEMO
from ich.models.fast_layers import gelu, make_fast, silu

SIZE = 64


def grid(dtype):
    return np.linspace(-8, 8, 2001).astype(dtype)


def slope(function, x):
    import jax

    return jax.grad(lambda x: function(x).astype("float32").sum())(x)


@pytest.mark.parametrize(("ours", "keras_own"), [(gelu, keras.activations.gelu), (silu, keras.activations.silu)])
def test_activations_and_their_slopes_are_kerass(ours, keras_own):
    np.testing.assert_allclose(ours(grid("float32")), keras_own(grid("float32")), atol=2e-6)
    np.testing.assert_allclose(slope(ours, grid("float32")), slope(keras_own, grid("float32")), atol=2e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_gelu_is_as_accurate_as_its_type_allows(dtype):
    import jax.numpy as jnp

    x = jnp.asarray(grid("float32"), dtype)
    exact = np.asarray(x, np.float64)
    exact = exact * (1 + erf(exact / np.sqrt(2))) / 2
    error = np.abs(np.asarray(gelu(x), np.float64) - exact)
    assert gelu(x).dtype == x.dtype
    assert (error <= float(jnp.finfo(dtype).eps) / 2 * np.abs(exact) + 1e-6).all()


def backbone(name, fast):
    keras.utils.clear_session()  # the same names
    keras.utils.set_random_seed(3)
    network = DEMO[name]((SIZE, SIZE, 3))
    if fast:
        make_fast(network)
    return network


def outputs_and_gradients(network, images):
    import jax

    state = [[v.value for v in part] for part in (network.trainable_variables, network.non_trainable_variables)]

    def loss(trainable):
        used, _ = network.stateless_call(trainable, state[1], images, training=False)
        out, changed = network.stateless_call(trainable, state[1], images, training=True)
        weights = np.linspace(-1, 1, out.shape[-1])
        return (out * weights).mean() + (out**2).mean(), (used, out, changed)

    gradients, (used, out, changed) = jax.jit(jax.grad(loss, has_aux=True))(state[0])
    return used, out, changed, gradients


@pytest.mark.parametrize("name", list(DEMO))
def test_a_network_computes_what_it_computed(name):
    """Training's outputs, statistics and gradients, and inference."""
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype(np.float32)
    plain, fast = backbone(name, False), backbone(name, True)
    fast.set_weights(plain.get_weights())
    used, out, changed, gradients = outputs_and_gradients(fast, images)
    expected_used, expected, expected_changed, expected_gradients = outputs_and_gradients(plain, images)
    np.testing.assert_allclose(used, expected_used, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4)
    for a, b in zip(changed, expected_changed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    norm = np.sqrt(sum(float((b**2).sum()) for b in expected_gradients))
    for a, b in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * norm)


def test_batch_statistics_of_a_channel_far_from_zero_keep_their_digits():
    """Mean 1,000, standard deviation 0.1: about zero, float32 gives a variance of 0 or of 0.06, for 0.01."""
    x = (1000 + 0.1 * np.random.default_rng(0).standard_normal((64, 8, 8, 3))).astype(np.float32)
    layer = keras.layers.BatchNormalization(momentum=0.0)
    network = keras.Sequential([keras.Input((8, 8, 3)), layer])
    make_fast(network)
    network(x, training=True)
    np.testing.assert_allclose(layer.moving_variance, x.astype(np.float64).var(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(layer.moving_mean, x.astype(np.float64).mean(axis=(0, 1, 2)), rtol=1e-6)


def test_the_saved_file_is_plain_kerass(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
    for name in DEMO:
        plain, fast = backbone(name, False), backbone(name, True)
        fast.set_weights(plain.get_weights())
        assert fast.to_json() == plain.to_json()
        fast.save(tmp_path / "fast.keras")
        loaded = keras.models.load_model(tmp_path / "fast.keras", compile=False)
        assert np.array_equal(loaded(images), plain(images))
        assert not any(
            getattr(layer, "activation", None) in (gelu, silu) or "_moments" in vars(layer)
            for layer in loaded._flatten_layers()
        )


def test_what_it_replaces_is_all_there_is_to_replace():
    """If Keras builds its networks of other layers one day, this says so."""
    for name, kinds in (("EfficientNetV2Demo", {"silu", "_moments"}), ("ConvNeXtDemo", {"gelu", "call", "_moments"})):
        network = backbone(name, True)
        replaced = {key for layer in network._flatten_layers() for key in ("_moments", "call") if key in vars(layer)}
        named = {layer.activation.__name__ for layer in network.layers if isinstance(layer, keras.layers.Activation)}
        assert replaced | (named - {"linear"}) == kinds
        before = [vars(layer).get("_moments") for layer in network._flatten_layers()]
        make_fast(network)
        assert [vars(layer).get("_moments") for layer in network._flatten_layers()] == before
