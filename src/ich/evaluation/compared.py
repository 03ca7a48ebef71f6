"""The evaluated probabilities beside those of another model, from a file, on the same rows."""

from typing import Any

import numpy as np

from ich.evaluation.statistics import comparison, results
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS


def compare(sample: Sample, other: Sample, name: str, replicates: int, rng: np.random.Generator) -> dict[str, Any]:
    """Figures of the other, and those of the sample less the other's; every replicate draws the same patients for both.

    Args:
        sample, other: the same rows in the same order.
        name: of the other, for people.
        replicates: 0 gives no intervals.
        rng: of the bootstrap.

    Returns:
        `name`, `n`; `labels`: of each, by metric (auroc, log_loss, brier), and `weighted_log_loss`: `other` and
        `difference`, as `Estimate.as_json`; `by_patient`: DeLong's test of each label's AUROC.
    """
    state = rng.bit_generator.state
    figures = results.estimates(other, replicates, rng)
    rng.bit_generator.state = state
    differences = comparison.compare_samples(sample, other, replicates, rng).as_json()
    overall = figures[results.OVERALL]["weighted_log_loss"].as_json()
    return {
        "name": name,
        "n": len(sample),
        "labels": {
            label: {
                metric: {"other": figures[label][metric].as_json(), "difference": differences["labels"][label][metric]}
                for metric in comparison.COMPARED
            }
            for label in LABELS
        },
        "weighted_log_loss": {"other": overall, "difference": differences["weighted_log_loss"]},
        "by_patient": differences["by_patient"],
    }
