import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ich.evaluation.elsewhere.agreement import agreement, cohen_kappa, fleiss_kappa

# The table of Fleiss' own example, as it stands in textbooks: 14 raters, 10 subjects, 5 answers, kappa 0.210.
TEXTBOOK = np.array([
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
])  # fmt: skip


def test_fleiss_kappa_by_hand():
    assert fleiss_kappa(TEXTBOOK) == pytest.approx(0.2099, abs=5e-5)
    # Three readers of 4 studies: 111, 110, 000, 000. Mean agreement (1 + 1/3 + 1 + 1) / 4 = 5/6; chance with 5 yes of
    # 12 is 25/144 + 49/144 = 37/72; kappa (5/6 - 37/72) / (35/72) = 23/35.
    assert fleiss_kappa(np.array([[3, 0], [2, 1], [0, 3], [0, 3]])) == pytest.approx(23 / 35)
    assert math.isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])))
    assert math.isnan(fleiss_kappa(np.zeros((0, 2), int)))


def test_cohen_kappa_is_scikit_learns():
    draw = np.random.default_rng(0)
    for rate in (0.02, 0.3, 0.5):
        first = draw.random(200) < rate
        second = np.where(draw.random(200) < 0.8, first, ~first)
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert math.isnan(cohen_kappa(np.ones(3, bool), np.ones(3, bool)))


def test_agreement_counts_only_what_all_have_read():
    reads = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, np.nan]])
    found = agreement(reads, ("R1", "R2", "R3"))
    assert [found[key] for key in ("studies", "unanimous_positive", "unanimous_negative", "split")] == [4, 1, 2, 1]
    assert found["fleiss_kappa"] == pytest.approx(23 / 35)
    assert found["pairs"]["R1-R2"] == {"cohen_kappa": 1, "agreement": 1}
    assert found["pairs"]["R1-R3"] == {"cohen_kappa": pytest.approx(0.5), "agreement": 0.75}
    assert found["undefined"] == ""
    assert agreement(np.zeros((2, 3)), ("R1", "R2", "R3"))["undefined"] == "the readers gave one answer throughout"
    assert agreement(np.full((2, 3), np.nan), ("R1", "R2", "R3"))["undefined"] == "no study was read by all"
