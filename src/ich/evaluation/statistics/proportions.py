"""Intervals of proportions where the bootstrap cannot give one: exact ones, of patients (Clopper and Pearson 1934).

Where all replicates agree, as with 18 of 18 positives found, the bootstrap looks like certainty; and where each row is
another patient, the exact interval needs no bootstrap.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ich.evaluation.statistics import intervals
from ich.evaluation.statistics.intervals import LEVEL, Interval
from ich.evaluation.statistics.metrics import Confusion, Floats

EXACT = "exact interval (Clopper-Pearson), of patients"
# Which outcomes are counted, and among which, of each ratio that is a proportion of rows (F1 is not).
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "accuracy": (("tp", "tn"), ("tp", "fp", "tn", "fn")),
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "ppv": (("tp",), ("tp", "fp")),
    "npv": (("tn",), ("tn", "fn")),
}


def exact_interval(successes: int, trials: int) -> Interval:
    """95 % interval of a proportion of independent trials, at least one; it is conservative."""
    tail = (1 - LEVEL) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Interval(float(low), float(high), EXACT)


def interval(metric: str, which: Confusion, codes: NDArray[np.intp], drawn: Floats) -> Interval:
    """95 % interval of one of PARTS, from the bootstrap wherever it has something to say.

    Exact where each row is another patient. Where rows of a patient are several and all replicates agree, which is at 0
    or at 1, it is that of the patients who have such rows, as all of them agree with it.

    Args:
        metric: one of PARTS.
        which: of one column, four arrays (n,) bool (`metrics.outcomes`); the denominator is not 0.
        codes: (n,) patients, integers from 0.
        drawn: (b,) the replicates; empty where none were asked for.
    """
    counted, among = (np.any([getattr(which, name) for name in names], axis=0) for names in PARTS[metric])
    independent = len(np.unique(codes)) == len(codes)
    if not len(drawn):
        return intervals.percentile_interval(drawn)
    if independent:
        return exact_interval(int(counted.sum()), int(among.sum()))
    if is_degenerate(drawn) and (counted[among].all() or not counted[among].any()):
        patients = len(np.unique(codes[among]))
        return exact_interval(patients if counted[among].all() else 0, patients)
    return intervals.percentile_interval(drawn)


def is_degenerate(drawn: Floats) -> bool:
    """Whether all defined replicates (b,) are the same."""
    defined = drawn[~np.isnan(drawn)]
    return len(defined) > 0 and bool(np.ptp(defined) < 1e-12)


def jeffreys_draws(successes: int, trials: int, draws: int, rng: np.random.Generator) -> Floats:
    """Draws (draws,) of a proportion of independent trials, from Beta(successes + 1/2, trials - successes + 1/2)."""
    return np.asarray(rng.beta(successes + 0.5, trials - successes + 0.5, draws))
