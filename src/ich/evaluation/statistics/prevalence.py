"""What a detector's calls are worth where haemorrhage is rarer or commoner than in the data it was evaluated on.

Sensitivity and specificity are taken along, by assumption: the same kinds of patients, in another mixture (Bayes;
Altman and Bland, BMJ 1994;309:102). Predictive values and alerts follow from them and the prevalence.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ich.evaluation.statistics import intervals
from ich.evaluation.statistics.metrics import Floats, divide
from ich.evaluation.statistics.results import Estimate

GRID: Floats = np.concatenate([np.geomspace(0.001, 0.5, 60), np.linspace(0.5, 0.99, 30)[1:]])  # of the curve


class AtPrevalence(NamedTuple):
    """In arrays of one shape, or one number each; NaN where undefined.

    Attributes:
        ppv: share of the alerts that are right, in [0, 1].
        npv: share of the scans without alert that are free of haemorrhage, in [0, 1].
        alerts, true_alerts, false_alerts: per 100 scans; the first is the sum of the others.
        missed: haemorrhages without an alert, per 100 scans.
    """

    ppv: Floats
    npv: Floats
    alerts: Floats
    true_alerts: Floats
    false_alerts: Floats
    missed: Floats


def at_prevalence(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike) -> AtPrevalence:
    """Predictive values and alerts.

    Args:
        sensitivity, specificity: in [0, 1]; NaN gives NaN.
        prevalence: share of the scans with haemorrhage, in (0, 1); shapes are broadcast.
    """
    sensitivity, specificity, prevalence = (
        np.asarray(each, np.float64) for each in np.broadcast_arrays(sensitivity, specificity, prevalence)
    )
    true_alerts, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    false_alerts, cleared = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    alerts = true_alerts + false_alerts
    return AtPrevalence(
        divide(true_alerts, alerts), divide(cleared, cleared + missed), 100 * alerts, 100 * true_alerts,
        100 * false_alerts, 100 * missed,
    )  # fmt: skip


def estimates(
    sensitivity: float,
    specificity: float,
    prevalence: float,
    replicates: tuple[Floats, Floats] = (np.empty(0), np.empty(0)),
) -> dict[str, Estimate]:
    """`AtPrevalence` with 95 % intervals, by name; the prevalence counts as known exactly.

    Args:
        sensitivity, specificity: the figures themselves, in [0, 1] or NaN.
        prevalence: in (0, 1).
        replicates: sensitivity (b,) and specificity (b,) of the same bootstrap replicates over patients, so that their
            dependence is kept; none gives no intervals.
    """
    once, drawn = at_prevalence(sensitivity, specificity, prevalence), at_prevalence(*replicates, prevalence)
    return {
        name: Estimate(float("nan"), reason=_why_undefined(name, sensitivity, specificity))
        if np.isnan(value)
        else Estimate(float(value), *intervals.percentile_interval(each))
        for name, value, each in zip(AtPrevalence._fields, once, drawn, strict=True)
    }


def _why_undefined(name: str, sensitivity: float, specificity: float) -> str:
    if np.isnan(sensitivity):
        return "sensitivity is undefined: nothing is positive"
    if np.isnan(specificity):
        return "specificity is undefined: nothing is negative"
    return "nothing is called positive" if name == "ppv" else "everything is called positive"
