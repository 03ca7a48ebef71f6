"""What is found in predictions, as one JSON-able mapping: figures of each split at each level, and what they are of."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.calibration import Calibration, Rule, Threshold
from ich.config import Evaluate
from ich.evaluation import references
from ich.evaluation.predictions import Scored
from ich.evaluation.statistics import (
    levels,
    metrics,
    predictive_values,
    probability_metrics,
    results,
)
from ich.evaluation.statistics.replicates import CALIBRATION_REPLICATES
from ich.evaluation.statistics.sample import Sample
from ich.evaluation.validation.decisions import Chosen, Six, Thresholds, choose, decide, decisions
from ich.files import write_csv, write_json, write_parquet
from ich.labels import LABELS, Label
from ich.level_names import Level

_STREAMS = {"val": 0, "test": 1}
Samples = Mapping[str, Mapping[Level, Sample]]  # by split and level


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
    whose, which = (np.unique(names, return_inverse=True)[1].astype(str) for names in (patients, series))
    found: dict[Level, Sample] = {"slice": _undecided(truth, probabilities, patients, "slice")}
    # Numbers, as names of patients are for no message, and two names with a space between could be read in two ways.
    units: dict[Level, NDArray[np.str_]] = {"series": np.char.add(np.char.add(whose, " "), which), "patient": whose}
    for level, numbers in units.items():
        each = levels.aggregate(truth, probabilities, numbers, patients)
        if len(each.names) < len(truth):  # else no series is known, and by series would be by slice again
            found[level] = _undecided(each.truth, each.probabilities, each.patients, level)
    return found


def _undecided(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], patients: NDArray[np.str_], level: Level
) -> Sample:
    return Sample(truth, probabilities, np.zeros_like(truth), patients, level)


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
    called = np.concatenate([decisions(sample, thresholds) for thresholds in rules.values()], axis=1)
    truth = np.tile(sample.truth, (1, len(rules)))
    found = iter(results.ratio_estimates(truth, called, sample.patients, replicates, rng, sample.level))
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


def find(undecided: Samples, settings: Evaluate, seed: int, given: Mapping[Level, Thresholds] | None = None) -> Found:
    """Thresholds from validation, decisions, and every figure at every level.

    Args:
        undecided: `test`, and `val` where there is one, each at the same levels.
        settings: thresholds, replicates, local prevalence.
        seed: of the bootstrap.
        given: by level, thresholds of every rule that were chosen on other validation data.
    """
    levels_of = tuple(level for level in undecided["test"] if all(level in each for each in undecided.values()))
    undecided = {split: {level: each[level] for level in levels_of} for split, each in undecided.items()}
    val = undecided.get("val", {})
    chosen = {level: choose(settings, val.get(level), (given or {}).get(level)) for level in levels_of}
    samples = {
        split: {level: decide(sample, chosen[level].thresholds) for level, sample in by_level.items()}
        for split, by_level in undecided.items()
    }
    figures = {
        split: {
            level: results.estimates(sample, settings.bootstrap, bootstrap_rng(seed, split))
            for level, sample in by_level.items()
        }
        for split, by_level in samples.items()
    }
    content = {
        **_of_thresholds(chosen, settings),
        "splits": {
            split: {"levels": _of_levels(by_level, figures[split], chosen, settings, bootstrap_rng(seed, split))}
            for split, by_level in samples.items()
        },
        **_of_test(samples, chosen, settings, seed),
    }
    by_rule = {
        level: {rule: dict(zip(LABELS, six, strict=True)) for rule, six in chosen[level].rules.items()}
        for level in levels_of
    }
    return Found(levels_of, samples, figures, by_rule, content)


def _of_thresholds(chosen: Mapping[Level, Chosen], settings: Evaluate) -> dict[str, Any]:
    """Levels, thresholds, and how intervals were made."""
    return {
        "levels": list(chosen),
        "rule": settings.threshold if isinstance(settings.threshold, str) else "number",
        "operating_rules": list(next(iter(chosen.values())).rules),
        "thresholds": {
            level: {
                label: {"value": threshold.value, "source": threshold.source}
                for label, threshold in zip(LABELS, each.thresholds, strict=True)
            }
            for level, each in chosen.items()
        },
        "bootstrap": {
            "replicates": settings.bootstrap, "unit": "patient", "interval": "95 % percentile",
            "slopes": min(settings.bootstrap, CALIBRATION_REPLICATES),
        },
    }  # fmt: skip


def _of_levels(
    samples: Mapping[Level, Sample],
    figures: Mapping[Level, results.Estimates],
    chosen: Mapping[Level, Chosen],
    settings: Evaluate,
    rng: np.random.Generator,
) -> dict[Level, dict[str, Any]]:
    return {
        level: of_sample(sample, figures[level], chosen[level].rules, settings.bootstrap, copy.deepcopy(rng))
        for level, sample in samples.items()
    }


def _of_test(samples: Samples, chosen: Mapping[Level, Chosen], settings: Evaluate, seed: int) -> dict[str, Any]:
    """What test figures are to be held against."""
    test, val = samples["test"], samples.get("val")
    first = next(iter(test.values()))
    return {
        "constant_guess": {level: references.constant_guess(val[level], test[level]) for level in test}
        if val
        else None,
        "among_positives": references.subtypes_among_positives(first, settings.bootstrap, bootstrap_rng(seed, "test")),
        "prevalence": _worth(test, chosen, settings, seed),
    }


def _worth(
    test: Mapping[Level, Sample], chosen: Mapping[Level, Chosen], settings: Evaluate, seed: int
) -> dict[str, Any] | None:
    """What calls are worth, of series, or else patients: they are what is scanned and reported."""
    level = next(level for level in ("series", "patient", *test) if level in test)
    in_use = {} if isinstance(settings.threshold, str) and chosen[level].rules else {"fixed": chosen[level].thresholds}
    points: dict[str, Six] = in_use | dict(chosen[level].rules.items())
    called = {rule: decisions(test[level], each)[:, 0] for rule, each in points.items()}
    rng = bootstrap_rng(seed, "test")
    return predictive_values.account(test[level], called, settings.local_prevalence, settings.bootstrap, rng)


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
