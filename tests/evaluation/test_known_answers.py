"""Figures of the competition whose answers are known from its own counts and its winners' reports."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from ich.evaluation.statistics.metrics import log_losses, weighted_log_loss
from ich.labels import LABELS

SLICES = 752_803  # of stage 2's training set
POSITIVES = {
    "any": 107_933, "epidural": 3_145, "intraparenchymal": 36_118, "intraventricular": 26_205, "subarachnoid": 35_675,
    "subdural": 47_166,
}  # fmt: skip
WINNER = {  # validation losses of one of the winning solutions
    "any": 0.09801, "epidural": 0.01552, "intraparenchymal": 0.04325, "intraventricular": 0.02559,
    "subarachnoid": 0.05937, "subdural": 0.07052,
}  # fmt: skip


def test_a_constant_guess_of_the_prevalence_scores_0_2311():
    prevalence = np.array([POSITIVES[label] for label in LABELS]) / SLICES
    yes, no = (log_losses(np.full(6, truth), prevalence) for truth in (True, False))
    assert weighted_log_loss(prevalence * yes + (1 - prevalence) * no) == pytest.approx(0.2311, abs=5e-5)


def test_the_same_of_slices_one_by_one():
    """A hundredth of the slices, rounded: the mean over slices, and scikit-learn's, against the counts."""
    slices = SLICES // 100
    truth = np.arange(slices)[:, None] < np.array([round(POSITIVES[label] / 100) for label in LABELS])
    guess = np.broadcast_to(truth.mean(axis=0), truth.shape)
    losses = log_losses(truth, guess).mean(axis=0)
    assert weighted_log_loss(losses) == pytest.approx(0.2311, abs=1e-4)
    for column in range(6):
        assert losses[column] == pytest.approx(log_loss(truth[:, column], guess[:, column]))


def test_a_winner_s_losses_give_0_05861():
    assert weighted_log_loss(np.array([WINNER[label] for label in LABELS])) == pytest.approx(0.05861, abs=5e-6)
