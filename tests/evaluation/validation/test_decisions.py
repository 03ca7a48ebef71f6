import numpy as np

from ich.config import Evaluate
from ich.evaluation.statistics.sample import Sample
from ich.evaluation.validation import operating_points
from ich.evaluation.validation.decisions import choose, decide

RNG = np.random.default_rng(0)
TRUTH = RNG.random((50, 6)) < 0.4
VAL = Sample(TRUTH, RNG.random((50, 6)), np.zeros_like(TRUTH), np.arange(50).astype(str), "series")


def values(chosen):
    return {(threshold.value, threshold.source) for threshold in chosen.thresholds}


def test_a_number_in_the_config_is_every_labels_threshold_and_rules_are_told_beside_it():
    chosen = choose(Evaluate(threshold=0.25), VAL)
    assert values(chosen) == {(0.25, "the config")}
    assert chosen.rules == operating_points.choose(VAL.truth, VAL.probabilities, "series")


def test_each_rule_decides_by_its_own_thresholds_of_validation():
    for rule in operating_points.RULES:
        chosen = choose(Evaluate(threshold=rule), VAL)
        assert chosen.thresholds == chosen.rules[rule]
        called = decide(VAL, chosen.thresholds).decisions
        of_any = chosen.thresholds[0]
        assert called[:, 0].sum() == of_any.tp + of_any.fp  # at the threshold is positive


def test_without_validation_given_thresholds_decide_and_else_0_5():
    given = operating_points.choose(VAL.truth, VAL.probabilities, "series")
    assert choose(Evaluate(threshold="f1"), None, given).thresholds == given["f1"]
    alone = choose(Evaluate(threshold="f1"), None)
    assert values(alone) == {(0.5, "a fixed 0.5, as there are no validation data")}
    assert not alone.rules
