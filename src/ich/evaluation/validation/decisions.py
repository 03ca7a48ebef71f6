"""From probabilities to decisions: the thresholds that the config asks for, chosen on validation or given."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.calibration import Rule, Threshold
from ich.config import Evaluate
from ich.evaluation.statistics.sample import Sample
from ich.evaluation.validation import operating_points
from ich.labels import LABELS

Six = tuple[Threshold, ...]  # in label order
Thresholds = Mapping[Rule, Six]


class Chosen(NamedTuple):
    """At one level: the six thresholds that decide, and those of every rule; of none where nothing chose them."""

    thresholds: Six
    rules: Thresholds


def choose(settings: Evaluate, val: Sample | None, given: Thresholds | None = None) -> Chosen:
    """The thresholds of one level.

    Args:
        settings: `threshold`, a number or a rule.
        val: validation.
        given: thresholds that were chosen elsewhere, in its place; without either there are no rules, and 0.5 stands
            where no number is given.
    """
    rules = operating_points.choose(val.truth, val.probabilities, val.level) if val is not None else given or {}
    if isinstance(settings.threshold, str):
        fallback = operating_points.FALLBACK
        fixed = Threshold(value=fallback, source=f"a fixed {fallback}, as there are no validation data")
        return Chosen(rules.get(settings.threshold, (fixed,) * len(LABELS)), rules)
    return Chosen((Threshold(value=float(settings.threshold), source="the config"),) * len(LABELS), rules)


def decide(sample: Sample, thresholds: Six) -> Sample:
    """Apply thresholds: positive is called what has at least the label's threshold."""
    return Sample(sample.truth, sample.probabilities, decisions(sample, thresholds), sample.patients, sample.level)


def decisions(sample: Sample, thresholds: Six) -> NDArray[np.bool_]:
    """(n, 6), whether each label is called."""
    limits = np.array([threshold.value for threshold in thresholds], np.float64)
    return np.asarray(sample.probabilities.astype(np.float64) >= limits)
