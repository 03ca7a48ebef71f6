"""The published cascade, full size: EfficientNetV2M gate, EfficientNetV2M and ConvNeXtBase subtypes."""

import jax
import numpy as np
import pytest

from ich.augmentation import Draws, draw, item_keys
from ich.config import Train
from ich.models.build import backbones, build, set_trainable
from ich.training.phases import stages
from ich.training.step import Batch, Learner, adam

EFFICIENTNET, CONVNEXT = 53_150_388, 87_566_464  # without their tops, as Keras publishes them: 140.7 M
GATE_HEAD = (1280 + 1) * 512 + (512 + 1)
SUBTYPE_HEAD = (
    (1280 + 1) * 256 + (1024 + 1) * 256  # both maps to one width
    + 4 * (256 + 1) * 256  # queries, keys, values, output
    + (256 + 1280 + 1024 + 1) * 1024 + (1024 + 1) * 5
)  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    return build(Train(weights="none"), 64, 0)


def learner_and_batch(networks) -> tuple[Learner, Batch]:
    """As in training: augmentation, the competition's loss, Adam, fine-tuning (`top`); images are small."""
    train = Train(batch_size=2)
    stage = stages(train)[-1]
    labels = np.array([[1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]], np.float32)
    network = set_trainable(networks, "final", "top")
    loss = stage.training_loss(labels.astype(np.uint8))
    learner = Learner(network, adam(network.compute_dtype), loss, train.augmentation)
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 64, 64, 3)).astype(np.uint8)
    draws = draw(train.augmentation, 0, 0, item_keys(["ID_1", "ID_2"]))
    return learner, Batch(images, Draws(*(field[None] for field in draws)), labels[None])


def test_full_size_cascade_is_what_was_published_and_its_step_can_be_traced(networks):
    assert [backbone.count_params() for backbone in backbones(networks.subtypes)] == [EFFICIENTNET, CONVNEXT]
    assert networks.gate.count_params() == EFFICIENTNET + GATE_HEAD
    assert networks.subtypes.count_params() == EFFICIENTNET + CONVNEXT + SUBTYPE_HEAD
    assert networks.final.count_params() == networks.gate.count_params() + networks.subtypes.count_params()

    learner, batch = learner_and_batch(networks)
    before = learner.state()
    after, result = jax.eval_shape(learner.step, before, np.float32(1e-3), batch)
    assert result.probabilities.shape == (1, 2, 6)
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, before)


@pytest.mark.soak
def test_full_size_cascade_takes_steps(networks):
    """XLA needs 25 s and more to compile that for a CPU, 67 s for all layers."""
    learner, batch = learner_and_batch(networks)
    step, state = learner.compile(batch), learner.state()
    losses = []
    for _ in range(2):
        state, result = step(state, np.float32(1e-3), batch)
        losses.append(float(result.loss))
    assert np.isfinite(losses).all()
    assert losses[1] < losses[0]
