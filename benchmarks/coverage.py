"""How often a nominal 95 % interval holds the true figure, in simulated data sets.

    python -m benchmarks.coverage [--sets N] [--replicates N]

Patients of three slices; a patient's slices share the larger part of their error, and a label's positives are half of
the slices of some patients. The probabilities are right (calibrated over the population), their AUROC is 0.85. True
figures are those of 300,000 patients. First six labels of 200 to 300 positive patients, by bootstrap over patients and,
for contrast, over slices; then labels of few positive patients. Intervals: `ich.evaluation.statistics.results`. Exit
code 1 if the mean coverage of the first lies outside 93 to 97 % for a figure of BARRED.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine, timed, verdict
from ich.evaluation.statistics import results
from ich.evaluation.statistics.results import Sample
from ich.labels import LABELS

PATIENTS, SLICES = 600, 3  # slices of each patient
MANY = (300, 220, 200, 240, 260, 280)  # expected positive patients of each label
FEW = (200, 5, 10, 20, 50, 100)
SHARED, OWN = 1.2, 0.9  # standard deviations of what a patient's slices share, and of what is each slice's own
SPREAD = float(np.hypot(SHARED, OWN))
EFFECT = 1.4657 * SPREAD  # of a positive slice; the AUROC is Phi(EFFECT / SPREAD / sqrt(2)) = 0.85
BARRED = ("auroc", "sensitivity", "specificity", "log_loss", "brier", "weighted_log_loss")
SHOWN = (*BARRED, "average_precision", "ppv", "npv", "f1", "calibration_slope", "calibration_intercept", "ece")
LOW, HIGH = 0.93, 0.97


def made_up(patients: int, positive: Sequence[int], rng: np.random.Generator) -> Sample:
    """Draw patients; of PATIENTS, as many as `positive` says are expected to have a positive slice of each label."""
    affected = np.array(positive) / PATIENTS / (1 - 0.5**SLICES)
    prevalence = affected / 2
    patient = np.repeat(np.arange(patients), SLICES)
    truth = (rng.random((patients, len(LABELS))) < affected)[patient] & (rng.random((len(patient), len(LABELS))) < 0.5)
    error = SHARED * rng.normal(size=(patients, len(LABELS)))[patient] + OWN * rng.normal(size=truth.shape)
    score = EFFECT * truth + error
    odds = np.log(prevalence / (1 - prevalence)) + EFFECT / SPREAD**2 * (score - EFFECT / 2)  # Bayes' rule
    probabilities = 1 / (1 + np.exp(-odds))
    return Sample(truth, probabilities, probabilities >= prevalence, patient.astype(str))


def true_figures(positive: Sequence[int], patients: int) -> dict[str, NDArray[np.float64]]:
    """Of the population, by metric: (6,), or (1,) for those of all labels together."""
    table = results.estimates(made_up(patients, positive, np.random.default_rng(1)), 0, np.random.default_rng(0))
    return {metric: _column(table, metric)[:, 0] for metric in SHOWN} | {"ece": np.zeros(len(LABELS))}


def _column(table: results.Estimates, metric: str) -> NDArray[np.float64]:
    """(6 or 1, 3): value, low, high."""
    rows = [results.OVERALL] if metric in results.OVERALL_METRICS else LABELS
    figures = [table[row][metric] for row in rows]
    return np.array([(figure.value, figure.low, figure.high) for figure in figures])


def held(
    seed: int, positive: Sequence[int], replicates: int, by_slice: bool, truths: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Whether the intervals of one data set hold the truth: 1 or 0, NaN where there is no interval."""
    rng = np.random.default_rng([2019, seed])
    sample = made_up(PATIENTS, positive, rng)
    if by_slice:
        slices = np.arange(len(sample)).astype(str)
        sample = Sample(sample.truth, sample.probabilities, sample.decisions, slices)
    table = results.estimates(sample, replicates, rng)
    found = {}
    for metric, truth in truths.items():
        _, low, high = _column(table, metric).T
        found[metric] = np.where(np.isnan(low), np.nan, (low <= truth) & (truth <= high))
    return found


def coverage(
    positive: Sequence[int],
    sets: int,
    replicates: int,
    by_slice: bool = False,
    population: int = 300_000,
    processes: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """(sets, 6 or 1) by metric, of as many simulated data sets; see `held`. Truth is from `population` patients."""
    truths = true_figures(positive, population)
    job = partial(held, positive=positive, replicates=replicates, by_slice=by_slice, truths=truths)
    if processes == 1:
        found = [job(seed) for seed in range(sets)]
    else:  # spawned: NumPy's threads do not survive a fork
        with ProcessPoolExecutor(processes or os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(job, range(sets), chunksize=5))
    return {metric: np.stack([each[metric] for each in found]) for metric in SHOWN}


def mean_and_error(held_: NDArray[np.float64]) -> tuple[float, float]:
    """Mean coverage over sets and labels, and its standard error over the sets, whose labels share nothing else."""
    means = np.nanmean(held_, axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1_000)
    parser.add_argument("--replicates", type=int, default=1_000)
    arguments = parser.parse_args()
    sets, replicates = arguments.sets, arguments.replicates
    seconds, many = timed(lambda: coverage(MANY, sets, replicates))
    by_slice = coverage(MANY, max(sets // 5, 2), replicates, by_slice=True)
    few = coverage(FEW, sets, replicates)
    missed = show_many(many, by_slice, f"{sets:,} data sets of {PATIENTS} patients x {SLICES} slices, {replicates:,} "
                       f"replicates; {os.cpu_count()} cores of {machine()}, {seconds:.0f} s")  # fmt: skip
    show_few(few)
    sys.exit(1 if missed else 0)


def show_many(many: dict[str, NDArray[np.float64]], by_slice: dict[str, NDArray[np.float64]], title: str) -> list[str]:
    """Print the first table; the figures that missed the bar."""
    table = Table(
        "95 % interval of", "over patients", "label of 200", "over slices", "bar", title=title, title_justify="left"
    )  # fmt: skip
    missed = []
    for metric in SHOWN:
        mean, error = mean_and_error(many[metric])
        reached = LOW <= mean <= HIGH
        if metric in BARRED and not reached:
            missed.append(metric)
        one = many[metric][:, min(MANY.index(200), many[metric].shape[1] - 1)]
        naive, naive_error = mean_and_error(by_slice[metric])
        table.add_row(
            metric, f"{mean:.1%} +- {error:.1%}", f"{np.nanmean(one):.1%}", f"{naive:.1%} +- {naive_error:.1%}",
            f"93 to 97 %: {verdict(reached)}" if metric in BARRED else "",
        )  # fmt: skip
    Console().print(table)
    return missed


def show_few(few: dict[str, NDArray[np.float64]]) -> None:
    """Print coverage by the number of positive patients; in parentheses the share of data sets with an interval."""
    order = np.argsort(FEW)
    table = Table(
        "95 % interval of", *(f"{FEW[label]}" for label in order), title_justify="left",
        title="labels of few positive patients: coverage (data sets that have an interval)",
    )  # fmt: skip
    for metric in SHOWN:
        if metric in results.OVERALL_METRICS:
            continue
        cells = []
        for label in order:
            column = few[metric][:, label]
            given = np.isfinite(column)
            cells.append(f"{column[given].mean():.1%} ({given.mean():.0%})" if given.any() else "- (0%)")
        table.add_row(metric, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
