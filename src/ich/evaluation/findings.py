"""What is found in predictions, as one JSON-able mapping: figures of each split at each level, and what they are of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.calibration import Calibration, Rule, Threshold
from ich.config import Evaluate
from ich.evaluation.predictions import Scored
from ich.evaluation.statistics import (
    comparison,
    levels,
    metrics,
    predictive_values,
    probability_metrics,
    results,
)
from ich.evaluation.statistics.replicates import CALIBRATION_REPLICATES
from ich.evaluation.statistics.sample import Sample
from ich.evaluation.validation import operating_points
from ich.files import write_csv, write_json, write_parquet
from ich.labels import LABELS, SUBTYPES, Label
from ich.level_names import Level

_STREAMS = {"val": 0, "test": 1}
Samples = Mapping[str, Mapping[Level, Sample]]  # by split and level
Thresholds = Mapping[Rule, tuple[Threshold, ...]]  # by rule


def bootstrap_rng(seed: int, split: str) -> np.random.Generator:
    """The draws of one split's bootstrap: the same for everything that is computed on it, so that figures agree."""
    return np.random.default_rng([seed, _STREAMS[split]])


def at_levels(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], series: NDArray[np.str_], patients: NDArray[np.str_]
) -> dict[Level, Sample]:
    """Slices, series and patients, with nothing decided yet.

    Args:
        truth: (n, 6) bool, of slices.
        probabilities: (n, 6) in [0, 1], those that are reported.
        series, patients: (n,) names; a series that names two patients counts as two.
    """
    found: dict[Level, Sample] = {"slice": _undecided(truth, probabilities, patients, "slice")}
    units: dict[Level, NDArray[np.str_]] = {
        "series": np.char.add(np.char.add(patients, " "), series),
        "patient": patients,
    }
    for level, names in units.items():
        each = levels.aggregate(truth, probabilities, names, patients)
        found[level] = _undecided(each.truth, each.probabilities, each.patients, level)
    return found


def _undecided(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], patients: NDArray[np.str_], level: Level
) -> Sample:
    return Sample(truth, probabilities, np.zeros_like(truth), patients, level)


def choose_thresholds(settings: Evaluate, val: Sample | None) -> tuple[tuple[Threshold, ...], Thresholds]:
    """The six thresholds that decide, and those of every rule, at one level.

    Args:
        settings: `threshold`, a number or a rule.
        val: validation; without it there are no rules, and 0.5 stands where no number is given.
    """
    rules = operating_points.choose(val.truth, val.probabilities, val.level) if val is not None else {}
    if isinstance(settings.threshold, str):
        fallback = operating_points.FALLBACK
        fixed = Threshold(value=fallback, source=f"a fixed {fallback}, as there are no validation data")
        return rules.get(settings.threshold, (fixed,) * len(LABELS)), rules
    return (Threshold(value=float(settings.threshold), source="the config"),) * len(LABELS), rules


def decide(sample: Sample, thresholds: tuple[Threshold, ...]) -> Sample:
    """Apply thresholds: positive is called what has at least the label's threshold."""
    return Sample(sample.truth, sample.probabilities, _decisions(sample, thresholds), sample.patients, sample.level)


def _decisions(sample: Sample, thresholds: tuple[Threshold, ...]) -> NDArray[np.bool_]:
    limits = np.array([threshold.value for threshold in thresholds], np.float64)
    return np.asarray(sample.probabilities.astype(np.float64) >= limits)


def of_sample(
    sample: Sample, figures: results.Estimates, rules: Thresholds, replicates: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Counts, figures and operating points of one split at one level."""
    positives = sample.truth.sum(axis=0).tolist()
    return {
        "n": len(sample),
        "patients": sample.n_patients,
        "positives": {
            label: {"n": count, "patients": patients, "prevalence": count / len(sample)}
            for label, count, patients in zip(LABELS, positives, sample.positive_patients.tolist(), strict=True)
        },
        "counts": {
            label: dict(zip(metrics.Confusion._fields, (int(count) for count in counts), strict=True))
            for label, counts in zip((*LABELS, "micro"), zip(*sample.counts, strict=True), strict=True)
        },
        "figures": as_json(figures),
        "subtype_called_without_any": int((sample.decisions[:, 1:].any(axis=1) & ~sample.decisions[:, 0]).sum()),
        "operating_points": _operating_points(sample, rules, replicates, rng),
    }


def _operating_points(
    sample: Sample, rules: Thresholds, replicates: int, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """By rule and label: threshold, source, counts, and each ratio with its interval."""
    if not rules:
        return {}
    decisions = np.concatenate([_decisions(sample, thresholds) for thresholds in rules.values()], axis=1)
    truth = np.tile(sample.truth, (1, len(rules)))
    found = iter(results.ratio_estimates(truth, decisions, sample.patients, replicates, rng, sample.level))
    return {
        rule: {
            label: {"threshold": threshold.value, "source": threshold.source} | next(found).as_json()
            for label, threshold in zip(LABELS, thresholds, strict=True)
        }
        for rule, thresholds in rules.items()
    }


def as_json(figures: results.Estimates) -> dict[str, Any]:
    """By column and metric."""
    return {column: {name: figure.as_json() for name, figure in row.items()} for column, row in figures.items()}


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
    )
    return {
        "slices": int(usable.sum()),
        "unreadable": int((~usable).sum()),
        "model": pair.first.as_json(),
        "baseline": pair.second.as_json(),
        "difference": pair.difference.as_json(),
    }


def reliability(sample: Sample) -> dict[str, list[dict[str, Any]]]:
    """The bins of each label's reliability diagram."""
    return {
        label: [
            each._asdict() for each in probability_metrics.reliability(sample.truth[:, at], sample.probabilities[:, at])
        ]
        for at, label in enumerate(LABELS)
    }


def reported(scored: Mapping[str, Scored], calibration: Calibration | None) -> dict[str, NDArray[np.float32]]:
    """The probabilities that are reported, calibrated where there is a calibration, by split: (n, 6)."""
    if calibration is None:
        return {split: each.probabilities for split, each in scored.items()}
    return {split: calibration.apply(each.probabilities, each.gated_in) for split, each in scored.items()}


@dataclass(frozen=True)
class Found:
    """What `find` found.

    Attributes:
        levels: slice, series, patient; or study alone.
        samples: with decisions, by split and level.
        figures: of each of them.
        operating_points: thresholds of every rule, by level, rule and label.
        content: JSON-able.
    """

    levels: tuple[Level, ...]
    samples: Samples
    figures: Mapping[str, Mapping[Level, results.Estimates]]
    operating_points: dict[Level, dict[Rule, dict[Label, Threshold]]]
    content: dict[str, Any]


def find(undecided: Samples, settings: Evaluate, seed: int) -> Found:
    """Thresholds from validation, decisions, and every figure at every level.

    Args:
        undecided: `test`, and `val` where there is one, each at the same levels.
        settings: thresholds, replicates, local prevalence.
        seed: of the bootstrap.
    """
    levels_of = tuple(undecided["test"])
    chosen = {level: choose_thresholds(settings, undecided.get("val", {}).get(level)) for level in levels_of}
    samples = {
        split: {level: decide(sample, chosen[level][0]) for level, sample in by_level.items()}
        for split, by_level in undecided.items()
    }
    figures = {
        split: {
            level: results.estimates(sample, settings.bootstrap, bootstrap_rng(seed, split))
            for level, sample in by_level.items()
        }
        for split, by_level in samples.items()
    }
    splits = {
        split: {
            "levels": {
                level: of_sample(
                    sample, figures[split][level], chosen[level][1], settings.bootstrap, bootstrap_rng(seed, split)
                )
                for level, sample in by_level.items()
            }
        }
        for split, by_level in samples.items()
    }
    first = samples["test"][levels_of[0]]
    val = samples.get("val", {})
    content = {
        "levels": list(levels_of),
        "rule": settings.threshold if isinstance(settings.threshold, str) else "number",
        "operating_rules": list(chosen[levels_of[0]][1]),
        "thresholds": {
            level: {
                label: {"value": threshold.value, "source": threshold.source}
                for label, threshold in zip(LABELS, thresholds, strict=True)
            }
            for level, (thresholds, _) in chosen.items()
        },
        "splits": splits,
        "constant_guess": {level: constant_guess(val[level], samples["test"][level]) for level in levels_of}
        if val
        else None,
        "among_positives": subtypes_among_positives(first, settings.bootstrap, bootstrap_rng(seed, "test")),
        "prevalence": _worth(samples["test"], chosen, settings, seed),
        "bootstrap": {
            "replicates": settings.bootstrap, "unit": "patient", "interval": "95 % percentile",
            "slopes": min(settings.bootstrap, CALIBRATION_REPLICATES),
        },
    }  # fmt: skip
    by_rule = {
        level: {rule: dict(zip(LABELS, thresholds, strict=True)) for rule, thresholds in chosen[level][1].items()}
        for level in levels_of
    }
    return Found(levels_of, samples, figures, by_rule, content)


def _worth(
    test: Mapping[Level, Sample], chosen: Mapping[Level, tuple[tuple[Threshold, ...], Thresholds]], settings: Evaluate,
    seed: int,
) -> dict[str, Any] | None:  # fmt: skip
    """What calls are worth, of series where there are any: they are what is scanned and reported."""
    level: Level = "series" if "series" in test else next(iter(test))
    thresholds, rules = chosen[level]
    points: dict[str, tuple[Threshold, ...]] = dict(rules.items()) or {"fixed": thresholds}
    decisions = {rule: _decisions(test[level], each)[:, 0] for rule, each in points.items()}
    rng = bootstrap_rng(seed, "test")
    return predictive_values.account(test[level], decisions, settings.local_prevalence, settings.bootstrap, rng)


def figures_of(sample: Sample, settings: Evaluate, seed: int, split: str) -> dict[str, Any]:
    """Figures of a sample that need no decision, JSON-able; with the draws of its split."""
    return as_json(results.estimates(sample, settings.bootstrap, bootstrap_rng(seed, split)))


def write_tables(folder: Path, content: Mapping[str, Any], found: Found) -> list[Path]:
    """metrics.json, and its figures as metrics.csv and metrics.parquet, a row a figure."""
    rows = [
        row
        for split, by_level in found.samples.items()
        for level, sample in by_level.items()
        for row in results.tidy_rows(split, level, sample, found.figures[split][level])
    ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    write_json(folder / "metrics.json", content)
    write_csv(folder / "metrics.csv", table)
    write_parquet(folder / "metrics.parquet", table)
    return [folder / f"metrics.{ending}" for ending in ("json", "csv", "parquet")]
