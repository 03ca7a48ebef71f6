"""NumPy draws against Keras's own: same distribution, same seed same values."""

import keras
import numpy as np
import pytest

from ich.models.initialize import numpy_initializers

SHAPE = (3, 3, 40, 80)


@pytest.mark.parametrize(
    "initializer",
    [
        keras.initializers.GlorotUniform(0),
        keras.initializers.HeNormal(0),
        keras.initializers.LecunUniform(0),
        keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal", 0),
        keras.initializers.VarianceScaling(1.0, "fan_avg", "untruncated_normal", 0),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
@pytest.mark.parametrize("shape", [SHAPE, (400, 80), (7, 7, 1, 500), (20_000,)], ids=str)
def test_same_distribution_as_keras(initializer, shape):
    keras_values = np.asarray(keras.ops.convert_to_numpy(initializer(shape)))
    with numpy_initializers(0):
        ours = np.asarray(initializer(shape))
    assert ours.shape == shape
    assert ours.dtype == np.float32
    spread = keras_values.std()
    assert abs(ours.mean()) < 0.03 * spread
    assert ours.std() == pytest.approx(spread, rel=0.02)
    quantiles = (0.01, 0.1, 0.25, 0.75, 0.9, 0.99)
    np.testing.assert_allclose(np.quantile(ours, quantiles), np.quantile(keras_values, quantiles), atol=0.06 * spread)


def test_seed_decides_and_the_method_is_put_back():
    def weights(seed: int) -> list[np.ndarray]:
        with numpy_initializers(seed):
            return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(4)]).get_weights()

    before = keras.initializers.VarianceScaling.__call__
    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert keras.initializers.VarianceScaling.__call__ is before
