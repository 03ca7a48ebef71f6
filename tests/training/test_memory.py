import keras
import pytest

from ich.config import Train
from ich.models.build import build, set_trainable
from ich.models.initialize import numpy_initializers
from ich.training.memory import TOLERANCE, estimate
from ich.training.plan import learns
from ich.training.train import dtype_policy


def test_memory_of_a_small_network_by_hand():
    images = keras.Input((8, 8, 3))
    with numpy_initializers(1):
        x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.Rescaling(1 / 255)(images))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("silu")(x))
        network = keras.Model(images, keras.layers.Dense(2, "sigmoid")(x))
    memory = estimate(network, network, Train(weights="none"), 8, recompute=False)
    parameters = (3 * 3 * 3 * 4 + 4) + (4 * 2 + 2)
    kept = 8 * 8 * 3 + 3 * 3 * 4 + 4 + 2  # scaled image, convolution, pooled, dense
    assert (memory.weights, memory.learnt, memory.kept) == (4 * parameters, 3 * 4 * parameters, 0)
    assert memory.per_image == 4 * kept
    assert memory.at(10) == 16 * parameters + 10 * 4 * kept
    accumulated = estimate(network, network, Train(weights="none", accumulation=2), 8, recompute=False)
    assert accumulated.learnt == 4 * 4 * parameters  # the sum of the gradients too


# GiB of temporaries of XLA's programs for one H100: 256 px, batch 128, bfloat16, all layers trainable.
@pytest.mark.parametrize(
    ("model", "measured", "top"),
    [
        ("efficientnet", 12.31, "from block6a's strided convolution on (block6a_dwconv2)"),
        ("convnext", 18.07, "from its downsampling on (convnext_base_downsampling_block_2)"),
    ],
)
def test_the_estimate_is_near_what_was_measured(model, measured, top):
    train = Train(model=model, weights="none")
    with dtype_policy("mixed_bfloat16"):
        networks = build(train, 256, 0)
    memory = estimate(set_trainable(networks, "final", "all"), networks.final, train, 256, recompute=False)
    temporaries = memory.learnt / 3 + memory.kept + 128 * memory.per_image  # weights and moments are arguments
    assert temporaries / 2**30 == pytest.approx(measured, rel=0.02)
    assert TOLERANCE > 0.02
    told = learns(train, set_trainable(networks, "final", "top"), "top")
    assert next(rule for name, rule in told.items() if name != "head") == f"last resolution stage: {top}"
