"""The curves that are drawn are those whose areas are told."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ich.evaluation.figures.curves import _POINTS, PRECISION_RECALL, ROC, _thinned


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    truth = rng.random(3000) < 0.1
    scores = np.round(truth * 0.3 + rng.random(3000), 3)
    scores[~truth][:3] = 2  # the highest are negative
    return truth, scores


def test_precision_and_recall_begin_at_no_vertical_line_and_enclose_the_average_precision(scores):
    sensitivity, ppv = PRECISION_RECALL.points(*scores)
    assert (sensitivity[0], sensitivity[-1]) == (1, 0)
    assert (sensitivity[:-1] > 0).all()
    steps = (sensitivity[:-1] - sensitivity[1:]) @ ppv[:-1]
    assert steps == pytest.approx(average_precision_score(*scores))


def test_a_long_curve_is_thinned_and_keeps_ends_and_area(scores):
    x, y = ROC.points(*scores)
    assert len(x) > _POINTS
    thin_x, thin_y = _thinned(x, y)
    assert len(thin_x) <= _POINTS
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(thin_y, thin_x) == pytest.approx(roc_auc_score(*scores), abs=2e-3)
