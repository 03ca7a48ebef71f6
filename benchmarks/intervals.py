"""Intervals by bootstrap over patients, on made-up predictions of a large test set, beside the plain way.

    python -m benchmarks.intervals [--slices N] [--replicates N] [--naive N]

Every figure of `ich.evaluation.statistics.results`: AUROC and average precision, the six ratios, log loss, Brier,
ECE, of six labels and three means of them, in 2,000 replicates, and calibration slopes in 200. Labels have about the
competition's prevalences, and positives are those of some patients. The plain way draws the slices of the patients
drawn and calls scikit-learn for the AUROC of six labels alone: a few replicates, extrapolated. Ends with exit code 1
if the two do not agree, or if the bar is missed.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.competition import POSITIVES, SLICES
from benchmarks.measure import machine, peak_gb, verdict
from ich.evaluation.statistics import replicates as statistics
from ich.evaluation.statistics import results
from ich.evaluation.statistics.results import Sample
from ich.labels import LABELS, SUBTYPES

SECONDS, GIGABYTES = 60, 2  # at most: for 120,000 slices, on two cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=120_000)
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--naive", type=int, default=5, help="replicates of the plain way")
    arguments = parser.parse_args()
    rng = np.random.default_rng(2019)
    sample = made_up(arguments.slices, arguments.slices * 3_500 // 120_000, rng)
    every, seconds, cpu = measured(lambda: results.estimates(sample, arguments.replicates, copy.deepcopy(rng)))
    peak = peak_gb()
    slopes = measured(lambda: statistics.calibration_statistics(sample, arguments.replicates, copy.deepcopy(rng)))
    plain, plain_seconds, plain_cpu = measured(lambda: plain_aurocs(sample, arguments.naive, copy.deepcopy(rng)))
    fast = statistics.replicate_statistics(sample, arguments.naive, copy.deepcopy(rng))[1]["auroc"][:, : len(LABELS)]
    agree = np.allclose(plain, fast, rtol=0, atol=1e-12)
    times = arguments.replicates / arguments.naive
    reached = seconds <= SECONDS and peak <= GIGABYTES

    table = Table("what", "wall s", "CPU s", "bar", title=title(sample, arguments.replicates), title_justify="left")
    table.add_row(
        "all figures with intervals", f"{seconds:.1f}", f"{cpu:.1f}",
        f"{SECONDS} s, {GIGABYTES} GB: {verdict(reached)}",
    )  # fmt: skip
    fewer = min(arguments.replicates, statistics.CALIBRATION_REPLICATES)
    table.add_row(f"of that, calibration slopes, {fewer} replicates", f"{slopes[1]:.1f}", f"{slopes[2]:.1f}", "")
    table.add_row(
        f"scikit-learn's AUROC alone, from {arguments.naive} replicates", f"{plain_seconds * times:.0f}",
        f"{plain_cpu * times:.0f}", f"{plain_cpu * times / cpu:.0f} times the CPU",
    )  # fmt: skip
    Console().print(table)
    auroc = every["any"]["auroc"]
    print(f"peak memory {peak:.2f} GB; AUROC of any {auroc.value:.4f} [{auroc.low:.4f}, {auroc.high:.4f}]")
    print("the same AUROCs in the same replicates" if agree else "WRONG: AUROCs differ from scikit-learn's")
    sys.exit(0 if agree and (reached or arguments.slices != 120_000) else 1)


def title(sample: Sample, replicates: int) -> str:
    return (
        f"{len(sample):,} slices x {len(LABELS)} labels, {sample.n_patients:,} patients, {replicates:,} replicates; "
        f"{os.cpu_count()} cores of {machine()}"
    )


def made_up(slices: int, patients: int, rng: np.random.Generator) -> Sample:
    """Predictions of slices of patients; a subtype's positives are two fifths of the slices of some patients.

    A patient's slices share a part of their error. Probabilities are float32, none better calibrated than another.
    """
    patient = np.sort(np.r_[np.arange(patients), rng.integers(0, patients, slices - patients)])
    prevalence = np.array([POSITIVES[label] for label in SUBTYPES]) / SLICES
    bleeds = rng.random((patients, len(SUBTYPES))) < prevalence / 0.4
    truth = np.zeros((slices, len(LABELS)), bool)
    truth[:, 1:] = bleeds[patient] & (rng.random((slices, len(SUBTYPES))) < 0.4)
    truth[:, 0] = truth[:, 1:].any(axis=1)
    score = -4 + 4 * truth + rng.normal(size=(patients, len(LABELS)))[patient] + rng.normal(size=truth.shape)
    probabilities = (1 / (1 + np.exp(-score))).astype(np.float32)
    probabilities[:, 0] = probabilities.max(axis=1)
    return Sample(truth, probabilities, probabilities >= 0.3, patient.astype(str))


def plain_aurocs(sample: Sample, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """(replicates, 6), from the slices of the patients drawn."""
    order = np.argsort(sample.codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(sample.codes))[:-1])
    found = []
    for _ in range(replicates):
        drawn = np.concatenate([rows[patient] for patient in rng.integers(sample.n_patients, size=sample.n_patients)])
        truth, probabilities = sample.truth[drawn], sample.probabilities[drawn]
        found.append([roc_auc_score(truth[:, label], probabilities[:, label]) for label in range(len(LABELS))])
    return np.array(found)


def measured(job: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the job returned, and its wall and CPU seconds, those of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = job()
    return result, time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
