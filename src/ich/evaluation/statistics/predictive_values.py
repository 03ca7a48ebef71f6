"""What calls of `any` are worth: where the data are from, at common prevalences and a stated one, and over all."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics, prevalence, results
from ich.evaluation.statistics.metrics import Confusion, Floats
from ich.evaluation.statistics.proportions import is_degenerate, jeffreys_draws
from ich.evaluation.statistics.sample import Sample
from ich.labels import SUBTYPES

COMMON = (0.02, 0.05, 0.15)  # prevalences that are always told: screening, an emergency department, a stroke unit


def account(
    sample: Sample,
    decisions: Mapping[str, NDArray[np.bool_]],
    local_prevalence: float | None,
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """PPV, NPV, alerts and misses of each operating point.

    Args:
        sample: series, or what else is scanned and reported as one.
        decisions: operating point -> (n,) whether `any` is called.
        local_prevalence: in (0, 1), where it is stated.
        replicates: of the bootstrap over patients, for the intervals.
        rng: of the bootstrap.

    Returns:
        `level`, `here` (the prevalence of the sample), `local_prevalence`; `points`: operating point -> `ratios`
        (`results.Ratios`, as JSON), `at`: a list of place (in words), prevalence, ppv, npv, alerts, true_alerts,
        false_alerts and missed (per 100), as `Estimate.as_json`; `curve`: lists of prevalence, ppv, npv, alerts and
        missed; `found`: of what has each subtype, `n` and how many get an alert. None where one class only is there.
    """
    truth = sample.truth[:, 0]
    if truth.all() or not truth.any():
        return None
    places = {"as here": float(truth.mean())}
    places |= {f"{share:.0%}": share for share in COMMON}
    if local_prevalence is not None:
        places["local"] = local_prevalence
    called = np.stack(list(decisions.values()), axis=1)
    state = rng.bit_generator.state
    tiled = np.repeat(truth[:, None], len(decisions), axis=1)
    ratios = results.ratio_estimates(tiled, called, sample.patients, replicates, rng, sample.level)
    points = {}
    for (name, each), found in zip(decisions.items(), ratios, strict=True):
        rng.bit_generator.state = state  # the same draws for each operating point
        shares = _shares(sample, each, replicates, rng)
        points[name] = {
            "ratios": found.as_json(),
            "at": [{"place": place, "prevalence": share} | _at(shares, share) for place, share in places.items()],
            "curve": _curve(shares),
            "found": _found(sample, each),
        }
    return {"level": sample.level, "here": places["as here"], "local_prevalence": local_prevalence, "points": points}


class _Shares(NamedTuple):
    """Sensitivity and specificity, and replicates of both."""

    sensitivity: float
    specificity: float
    replicates: tuple[Floats, Floats]


def _shares(sample: Sample, called: NDArray[np.bool_], replicates: int, rng: np.random.Generator) -> _Shares:
    """Replicates are those of the bootstrap; where all of one agree, as of 18 of 18 cleared, Jeffreys' draws instead.

    They are of patients: of those with positives for the sensitivity, with negatives for the specificity.
    """
    truth = sample.truth[:, 0]
    sums = sample.by_patient(np.stack(metrics.outcomes(truth, called), axis=1))
    drawn = [np.empty((0, 4))]
    drawn += [weights @ sums for weights in intervals.draw(sample.n_patients, replicates, len(sample), rng)]
    once, each = (metrics.ratios(Confusion(*counts.T)) for counts in (sums.sum(axis=0)[None], np.concatenate(drawn)))
    found = []
    for name, rows in (("sensitivity", truth), ("specificity", ~truth)):
        value, replicated = float(once[name][0]), each[name]
        if is_degenerate(replicated):
            patients = len(np.unique(sample.codes[rows]))
            replicated = jeffreys_draws(round(value * patients), patients, replicates, rng)
        found.append((value, replicated))
    return _Shares(found[0][0], found[1][0], (found[0][1], found[1][1]))


def _at(shares: _Shares, place: float) -> dict[str, Any]:
    estimates = prevalence.estimates(shares.sensitivity, shares.specificity, place, shares.replicates)
    return {name: each.as_json() for name, each in estimates.items()}


def _curve(shares: _Shares) -> dict[str, list[float | None]]:
    found = prevalence.at_prevalence(shares.sensitivity, shares.specificity, prevalence.GRID)
    columns = {"prevalence": prevalence.GRID, "ppv": found.ppv, "npv": found.npv, "alerts": found.alerts}
    columns["missed"] = found.missed
    return {name: [None if np.isnan(x) else float(x) for x in column] for name, column in columns.items()}


def _found(sample: Sample, called: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Of what has each subtype, how many get an alert for `any`."""
    has = dict(zip(SUBTYPES, sample.truth.T[1:], strict=True))
    return {subtype: {"n": int(rows.sum()), "called": int((rows & called).sum())} for subtype, rows in has.items()}
