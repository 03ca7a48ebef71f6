"""How well each way of splitting keeps the prevalence of the labels, on made-up patients of the competition's size.

    python -m benchmarks.splits [--seeds N]

18,938 patients, 21,744 series, 752,803 slices, and as many positive slices of each label as the competition's training
set has; bleeds are runs of neighbouring slices of some patients. Only these counts are those of the real data: which
patient has how many of them is made up. Every way splits the same patients 80/10/10.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.competition import PATIENTS, POSITIVES, SERIES, SLICES
from benchmarks.measure import machine
from ich.config import Split
from ich.labels import IMAGE_ID, LABELS, SUBTYPES, Label
from ich.prepare.assign import assign_patients
from ich.prepare.split import summarise, worst_deviation

Way = Callable[[pl.DataFrame, int], list[pl.Series]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    ways: dict[str, Way] = {
        "ich split": lambda table, seed: [ours(table, Split(), seed)],
        "ich split, 5 folds": lambda table, seed: [
            ours(table, Split(folds=5, fold=fold), seed) for fold in range(5)
        ],
        "StratifiedGroupKFold, 10 folds": lambda table, seed: [stratified_groups(table, seed)],
        "random patients": lambda table, seed: [random_patients(table, seed)],
    }  # fmt: skip
    results = Table(
        "way", *(f"seed {seed}" for seed in seeds), "worst", "s a split", title_justify="left",
        title=f"worst relative deviation of a label's prevalence in a split, {machine()}",
    )  # fmt: skip
    tables = [made_up_patients(seed) for seed in seeds]
    for name, way in ways.items():
        worst, seconds = [], []
        for seed, table in zip(seeds, tables, strict=True):
            start = time.perf_counter()
            splits = way(table, seed)
            seconds.append((time.perf_counter() - start) / len(splits))
            worst.append(max(deviation(table, split) for split in splits))
        results.add_row(name, *(f"{value:.2%}" for value in (*worst, max(worst))), f"{np.median(seconds):.2f}")
    Console().print(results)


def made_up_patients(seed: int) -> pl.DataFrame:
    """Slices: ImageID, `unit` (the patient) and six labels, with the real counts exactly.

    Every patient has a series, and 2,806 series more belong to patients drawn with replacement. A series has 20 to 60
    slices, about 35. Patients bleed in random order until the positive slices are used up: in each of their series one
    run of 1 to 24 slices is positive. Runs are handed to the subtypes one after another, so that a subtype's slices
    cluster; what is over is laid on others' runs, as subtypes come together.
    """
    rng = np.random.default_rng(seed)
    patient = np.sort(np.r_[np.arange(PATIENTS), rng.integers(0, PATIENTS, SERIES - PATIENTS)])
    length = _lengths(rng)
    first = np.cumsum(length) - length
    by_patient = np.argsort(rng.permutation(PATIENTS)[patient], kind="stable")
    runs: list[NDArray[np.intp]] = []
    left = POSITIVES["any"]
    for series in by_patient:
        if not left:
            break
        run = min(int(rng.integers(1, 25)), int(length[series]), left)
        start = first[series] + rng.integers(0, length[series] - run + 1)
        runs.append(np.arange(start, start + run))
        left -= run
    labels = _subtypes(runs, rng)
    labels["any"] = np.zeros(SLICES, np.uint8)
    labels["any"][np.concatenate(runs)] = 1
    return pl.DataFrame({
        IMAGE_ID: [f"ID_{number:09x}" for number in range(SLICES)],
        "unit": pl.Series([f"ID_{number:08x}" for number in range(PATIENTS)]).gather(np.repeat(patient, length)),
        **{label: labels[label] for label in LABELS},
    })  # fmt: skip


def _lengths(rng: np.random.Generator) -> NDArray[np.intp]:
    """Slices of each series; they add up to SLICES."""
    length = np.clip(rng.normal(SLICES / SERIES, 5, SERIES).round().astype(np.intp), 20, 60)
    while over := int(length.sum()) - SLICES:
        some = rng.choice(np.flatnonzero((length > 20) & (length < 60)), min(abs(over), SERIES // 2), replace=False)
        length[some] -= np.sign(over)
    return length


def _subtypes(runs: list[NDArray[np.intp]], rng: np.random.Generator) -> dict[Label, NDArray[np.uint8]]:
    """Every positive slice gets a subtype, in proportion to the counts, run after run; then more until counts fit."""
    labels: dict[Label, NDArray[np.uint8]] = {label: np.zeros(SLICES, np.uint8) for label in SUBTYPES}
    mixed = np.concatenate([runs[number] for number in rng.permutation(len(runs))])
    wanted = np.array([POSITIVES[label] for label in SUBTYPES])
    ends = (np.cumsum(wanted) * len(mixed) // wanted.sum()).tolist()
    for label, start, end in zip(SUBTYPES, [0, *ends], ends, strict=False):
        labels[label][mixed[start:end]] = 1
    for label in SUBTYPES:
        lacking = POSITIVES[label] - int(labels[label].sum())
        again = np.concatenate([runs[number] for number in rng.permutation(len(runs))])
        labels[label][again[labels[label][again] == 0][:lacking]] = 1
    return labels


def deviation(table: pl.DataFrame, split: pl.Series) -> float:
    return worst_deviation(summarise(table.with_columns(split=split)))[0]


def ours(table: pl.DataFrame, how: Split, seed: int) -> pl.Series:
    return table.select("unit").join(assign_patients(table, how, seed), on="unit", maintain_order="left")["split"]


def stratified_groups(table: pl.DataFrame, seed: int) -> pl.Series:
    """Of ten folds, one is validation and one is test; strata are the combinations of subtypes."""
    strata = sum(table[label].to_numpy().astype(int) << place for place, label in enumerate(SUBTYPES))
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
    split = np.full(len(table), "train", object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of combinations rarer than folds
        (_, val), (_, test), *_ = folds.split(strata, strata, table["unit"].to_physical().to_numpy())
    split[val], split[test] = "val", "test"
    return pl.Series(split, dtype=pl.String)


def random_patients(table: pl.DataFrame, seed: int) -> pl.Series:
    """Four fifths of the patients, and twice a tenth, whatever they have."""
    units = table["unit"].unique().sort()
    place = np.random.default_rng(seed).permutation(len(units)) / len(units)
    split = pl.DataFrame({"unit": units, "split": np.select([place < 0.8, place < 0.9], ["train", "val"], "test")})
    return table.select("unit").join(split, on="unit", maintain_order="left")["split"]


if __name__ == "__main__":
    main()
