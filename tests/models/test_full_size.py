"""The published cascade, full size: EfficientNetV2M gate, EfficientNetV2M and ConvNeXtBase subtypes."""

import keras
import numpy as np

from ich.config import Train
from ich.models.build import backbones, build, set_trainable

EFFICIENTNET, CONVNEXT = 53_150_388, 87_566_464  # without their tops, as Keras publishes them: 140.7 M
GATE_HEAD = (1280 + 1) * 512 + (512 + 1)
SUBTYPE_HEAD = (
    (1280 + 1) * 256 + (1024 + 1) * 256  # both maps to one width
    + 4 * (256 + 1) * 256  # queries, keys, values, output
    + (256 + 1280 + 1024 + 1) * 1024 + (1024 + 1) * 5
)  # fmt: skip


def test_full_size_cascade_takes_a_step():
    """Small images and the fine-tuning phase (`top`): XLA needs 25 s to compile that for a CPU, 67 s for all layers."""
    networks = build(Train(weights="none"), 64, 0)
    assert [backbone.count_params() for backbone in backbones(networks.subtypes)] == [EFFICIENTNET, CONVNEXT]
    assert networks.gate.count_params() == EFFICIENTNET + GATE_HEAD
    assert networks.subtypes.count_params() == EFFICIENTNET + CONVNEXT + SUBTYPE_HEAD
    assert networks.final.count_params() == networks.gate.count_params() + networks.subtypes.count_params()

    cascade = set_trainable(networks, "final", "top")
    cascade.compile(keras.optimizers.SGD(0.05), "binary_crossentropy")  # Adam's moments: 4.7 GB instead of 3.5
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    labels = np.array([[1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]], np.float32)
    before, after = (float(cascade.train_on_batch(images, labels)) for _ in range(2))
    assert np.isfinite(before)
    assert after < before
