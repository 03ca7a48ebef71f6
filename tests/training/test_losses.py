import math

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from ich.training.losses import COMPETITION_WEIGHTS, balanced_class_weights, binary_crossentropy
from ich.training.sampling import balanced_chances

RNG = np.random.default_rng(0)
TARGETS = (RNG.random((50, 5)) < 0.3).astype(np.float32)
PROBABILITIES = RNG.random((50, 5)).astype(np.float32)
EQUAL = np.full(5, 1 / 5, np.float32)


def test_class_weights_are_scikit_learns():
    weights = balanced_class_weights(TARGETS.astype(int))
    for column in range(5):
        expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=TARGETS[:, column])
        assert weights[:, column] == pytest.approx(expected, rel=1e-6)


def test_class_weights_by_hand():
    # 8 slices, 2 positive: 8 / (2 * 6) and 8 / (2 * 2). A label without positives is not weighted.
    targets = np.zeros((8, 2), int)
    targets[:2, 0] = 1
    assert balanced_class_weights(targets) == pytest.approx(np.array([[2 / 3, 1], [2, 1]]))


def test_without_weights_it_is_scikit_learns_log_loss():
    losses = binary_crossentropy(EQUAL, functions=np)(TARGETS, PROBABILITIES)
    expected = [log_loss(TARGETS[:, k], PROBABILITIES[:, k].astype(float)) for k in range(5)]
    assert losses.mean() == pytest.approx(np.mean(expected), rel=1e-5)


def test_class_weights_multiply_the_terms_of_their_class():
    loss = binary_crossentropy(np.ones(1, np.float32), np.array([[3], [5]], np.float32), functions=np)
    losses = loss(np.array([[0], [1]], np.float32), np.array([[0.2], [0.2]], np.float32))
    assert losses == pytest.approx([-3 * math.log(0.8), -5 * math.log(0.2)])


def test_the_competition_weighs_any_twice():
    # Only `any` is wrong by a factor 2 in probability: ln 2 * 2/7.
    truth = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    certain = np.array([[0.5, 0, 0, 0, 0, 0]], np.float32)
    assert binary_crossentropy(COMPETITION_WEIGHTS, functions=np)(truth, certain) == pytest.approx(
        2 / 7 * math.log(2), abs=1e-6
    )


def test_focal_loss_by_hand():
    loss = binary_crossentropy(np.ones(1, np.float32), focal_gamma=2, functions=np)
    losses = loss(np.array([[1], [0]], np.float32), np.array([[0.9], [0.9]], np.float32))
    assert losses == pytest.approx([-0.01 * math.log(0.9), -0.81 * math.log(0.1)], rel=1e-5)


def test_class_weights_balance_what_is_drawn():
    """Over the draws of an epoch, each label's positives and negatives weigh the same; none is balanced twice."""
    chances = RNG.random(50)
    chances /= chances.sum()
    negative, positive = balanced_class_weights(TARGETS.astype(int), chances)
    assert chances @ TARGETS * positive == pytest.approx(chances @ (1 - TARGETS) * negative)
    one = TARGETS[:, :1].astype(int)
    assert balanced_class_weights(one, balanced_chances(one)) == pytest.approx(np.ones((2, 1)))


def test_smoothed_labels_are_kerass():
    ours = binary_crossentropy(EQUAL, functions=np, label_smoothing=0.1)(TARGETS, PROBABILITIES)
    theirs = keras.losses.BinaryCrossentropy(label_smoothing=0.1, reduction=None)(TARGETS, PROBABILITIES)
    assert ours == pytest.approx(np.asarray(theirs), rel=1e-5)
    by_hand = binary_crossentropy(np.ones(1, np.float32), functions=np, label_smoothing=0.1)
    assert by_hand(np.ones((1, 1)), np.full((1, 1), 0.9)) == pytest.approx(-0.95 * math.log(0.9) - 0.05 * math.log(0.1))


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_keras_and_numpy_give_the_same(gamma):
    weights = balanced_class_weights(TARGETS.astype(int))
    on_host = binary_crossentropy(EQUAL, weights, gamma, functions=np)(TARGETS, PROBABILITIES)
    assert np.asarray(binary_crossentropy(EQUAL, weights, gamma)(TARGETS, PROBABILITIES)) == pytest.approx(
        on_host, rel=1e-5
    )


def test_a_certain_mistake_costs_a_finite_amount():
    losses = binary_crossentropy(EQUAL, functions=np)(TARGETS, 1 - TARGETS)
    assert np.isfinite(losses).all()
    assert losses.max() == pytest.approx(-math.log(1e-7), rel=0.02)
