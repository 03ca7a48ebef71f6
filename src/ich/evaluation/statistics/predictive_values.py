"""What calls are worth at the prevalence of the test data, at a stated one, and over all: for `any`, by series."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics, prevalence
from ich.evaluation.statistics.metrics import Confusion, Floats
from ich.evaluation.statistics.sample import Sample


def account(
    sample: Sample,
    decisions: Mapping[str, NDArray[np.bool_]],
    local_prevalence: float | None,
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """PPV, NPV and alerts of each operating point.

    Args:
        sample: series, or what else is scanned and reported as one.
        decisions: operating point -> (n,) whether `any` is called.
        local_prevalence: in (0, 1), where it is stated.
        replicates: of the bootstrap over patients, for the intervals.
        rng: of the bootstrap.

    Returns:
        `level`, `here` (the prevalence of the sample), `local_prevalence`, `rules`; `tables`: at which prevalence, in
        words -> rule -> ppv, npv, alerts, true_alerts, false_alerts (per 100), as `Estimate.as_json`; `curves`: rule ->
        lists of prevalence, ppv, npv and alerts. None where one class only is there.
    """
    truth = sample.truth[:, 0]
    if truth.all() or not truth.any():
        return None
    here = float(truth.mean())
    shares = {rule: _shares(sample, called, replicates, rng) for rule, called in decisions.items()}
    places = {f"at {here:.1%}, as here": here}
    if local_prevalence is not None:
        places[f"at {local_prevalence:.1%}, local"] = local_prevalence
    return {
        "level": sample.level,
        "here": here,
        "local_prevalence": local_prevalence,
        "rules": list(decisions),
        "tables": {name: {rule: _at(each, place) for rule, each in shares.items()} for name, place in places.items()},
        "curves": {rule: _curve(each) for rule, each in shares.items()},
    }


_Shares = tuple[float, float, tuple[Floats, Floats]]


def _shares(sample: Sample, called: NDArray[np.bool_], replicates: int, rng: np.random.Generator) -> _Shares:
    """Sensitivity and specificity, and both in each replicate."""
    which = metrics.outcomes(sample.truth[:, 0], called)
    sums = sample.by_patient(np.stack(which, axis=1))
    state = rng.bit_generator.state
    drawn = [np.empty((0, 4))]
    drawn += [weights @ sums for weights in intervals.draw(sample.n_patients, replicates, len(sample), rng)]
    rng.bit_generator.state = state  # the same draws for each operating point
    once, each = (metrics.ratios(Confusion(*counts.T)) for counts in (sums.sum(axis=0)[None], np.concatenate(drawn)))
    return float(once["sensitivity"][0]), float(once["specificity"][0]), (each["sensitivity"], each["specificity"])


def _at(shares: _Shares, place: float) -> dict[str, Any]:
    return {name: each.as_json() for name, each in prevalence.estimates(shares[0], shares[1], place, shares[2]).items()}


def _curve(shares: _Shares) -> dict[str, list[float | None]]:
    found = prevalence.at_prevalence(shares[0], shares[1], prevalence.GRID)
    columns = {"prevalence": prevalence.GRID, "ppv": found.ppv, "npv": found.npv, "alerts": found.alerts}
    return {name: [None if np.isnan(x) else float(x) for x in column] for name, column in columns.items()}
