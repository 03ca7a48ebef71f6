"""Everything that the report says, as one JSON-able mapping, from predictions and thresholds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.config import Experiment
from ich.evaluation import comparison, gating, metrics, results
from ich.evaluation.predictions import Scored
from ich.evaluation.thresholds import Threshold
from ich.labels import LABELS, SUBTYPES

_STREAMS = {"val": 0, "test": 1}


def bootstrap_rng(config: Experiment, split: str) -> np.random.Generator:
    """The draws of one split's bootstrap: the same for everything that is computed on it, so that figures agree."""
    return np.random.default_rng([config.seed, _STREAMS[split]])


def decide(scored: Scored, thresholds: tuple[Threshold, ...]) -> results.Sample:
    """Apply the thresholds: a slice is called positive where its probability is at least the label's threshold."""
    limits = np.array([threshold.value for threshold in thresholds], np.float64)
    decisions = scored.probabilities.astype(np.float64) >= limits
    return results.Sample(scored.truth, scored.probabilities, decisions, scored.patients)


def summarise_split(sample: results.Sample, figures: results.Estimates, gated_in: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts, figures and the gate's account of one split."""
    positives = sample.truth.sum(axis=0).tolist()
    return {
        "slices": len(sample),
        "patients": sample.n_patients,
        "positives": {
            label: {"slices": slices, "patients": patients, "prevalence": slices / len(sample)}
            for label, slices, patients in zip(LABELS, positives, sample.positive_patients.tolist(), strict=True)
        },
        "counts": {
            label: dict(zip(metrics.Confusion._fields, (int(count) for count in counts), strict=True))
            for label, counts in zip((*LABELS, "micro"), zip(*sample.counts, strict=True), strict=True)
        },
        "levels": {
            "slice": {
                column: {name: figure.as_json() for name, figure in row.items()} for column, row in figures.items()
            }
        },
        "subtype_called_without_any": int((sample.decisions[:, 1:].any(axis=1) & ~sample.decisions[:, 0]).sum()),
        "gate": gating.account(sample.truth, gated_in),
    }


def constant_guess(val: Scored, test: Scored) -> dict[str, float]:
    """What test figures are without looking at an image.

    Returns:
        weighted_log_loss: of the validation prevalence of each label.
        exact_match: of calling every label negative.
    """
    prevalence = np.broadcast_to(val.truth.mean(axis=0), test.truth.shape)
    loss = metrics.weighted_log_loss(metrics.log_losses(test.truth, prevalence).mean(axis=0))
    return {"weighted_log_loss": float(loss), "exact_match": float((~test.truth).all(axis=1).mean())}


def subtypes_among_positives(scored: Scored, config: Experiment) -> dict[str, Any]:
    """Whether subtypes are told apart, and not merely bleeding from none: AUROC among slices with haemorrhage.

    Returns:
        For each subtype: `model` (its probability), `p_any` (P(any) in its place) and their paired `difference`.
    """
    positive = scored.truth[:, 0]
    truth, probabilities = scored.truth[positive], scored.probabilities[positive]
    found = {}
    for column, subtype in enumerate(SUBTYPES, start=1):
        pair = comparison.compare_auroc(
            truth[:, column],
            (probabilities[:, column], probabilities[:, 0]),
            scored.patients[positive],
            config.evaluate.bootstrap,
            bootstrap_rng(config, "test"),
        )
        figures = zip(("model", "p_any", "difference"), pair, strict=True)
        found[subtype] = {"positives": int(truth[:, column].sum())} | {name: each.as_json() for name, each in figures}
    return {"slices": int(positive.sum()), "subtypes": found}


def compare_with_baseline(scored: Scored, baseline: NDArray[np.float64], config: Experiment) -> dict[str, Any]:
    """AUROC for `any` of the model and of the baseline on the slices that both scored, and the paired difference."""
    usable = ~np.isnan(baseline)
    pair = comparison.compare_auroc(
        scored.truth[usable, 0],
        (scored.probabilities[usable, 0], baseline[usable]),
        scored.patients[usable],
        config.evaluate.bootstrap,
        bootstrap_rng(config, "test"),
    )
    return {
        "slices": int(usable.sum()),
        "unreadable": int((~usable).sum()),
        "model": pair.first.as_json(),
        "baseline": pair.second.as_json(),
        "difference": pair.difference.as_json(),
    }
