"""What figures on test data are held against: a constant guess, P(any) in a subtype's place, a count of pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import comparison, metrics
from ich.evaluation.statistics.sample import Sample
from ich.labels import SUBTYPES


def constant_guess(val: Sample, test: Sample) -> dict[str, float]:
    """What test figures are without looking at an image.

    Returns:
        weighted_log_loss: of the validation prevalence of each label.
        exact_match: of calling every label negative.
    """
    guess = np.broadcast_to(val.truth.mean(axis=0), test.truth.shape)
    loss = metrics.weighted_log_loss(metrics.log_losses(test.truth, guess).mean(axis=0))
    return {"weighted_log_loss": float(loss), "exact_match": float((~test.truth).all(axis=1).mean())}


def subtypes_among_positives(sample: Sample, replicates: int, rng: np.random.Generator) -> dict[str, Any]:
    """Whether subtypes are told apart, and not merely bleeding from none: AUROC among what has a haemorrhage.

    Returns:
        For each subtype: `model` (its probability), `p_any` (P(any) in its place) and their paired `difference`.
    """
    positive = sample.truth[:, 0]
    truth, probabilities = sample.truth[positive], sample.probabilities[positive]
    state = rng.bit_generator.state
    found = {}
    for column, subtype in enumerate(SUBTYPES, start=1):
        rng.bit_generator.state = state  # the same draws for each subtype
        pair = comparison.compare_auroc(
            truth[:, column],
            (probabilities[:, column], probabilities[:, 0]),
            sample.patients[positive],
            replicates,
            rng,
            sample.level,
        )
        named = zip(("model", "p_any", "difference"), pair, strict=True)
        found[subtype] = {"positives": int(truth[:, column].sum())} | {name: each.as_json() for name, each in named}
    return {"n": int(positive.sum()), "subtypes": found}


def compare_with_baseline(
    sample: Sample, baseline: NDArray[np.float64], replicates: int, rng: np.random.Generator
) -> dict[str, Any]:
    """AUROC for `any` of the model and of the baseline on the slices that both scored, and the paired difference."""
    usable = ~np.isnan(baseline)
    pair = comparison.compare_auroc(
        sample.truth[usable, 0],
        (sample.probabilities[usable, 0], baseline[usable]),
        sample.patients[usable],
        replicates,
        rng,
        sample.level,
    )
    return {
        "slices": int(usable.sum()),
        "unreadable": int((~usable).sum()),
        "model": pair.first.as_json(),
        "baseline": pair.second.as_json(),
        "difference": pair.difference.as_json(),
    }
