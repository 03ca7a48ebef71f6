"""How far several readers agree: Fleiss' kappa, Cohen's kappa of each pair, and plain shares."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics.metrics import divide

_ONE_ANSWER = "the readers gave one answer throughout"
_NOBODY = "no study was read by all"


def fleiss_kappa(counts: NDArray[np.integer]) -> float:
    """Agreement of any number of readers beyond chance, at most 1 (Fleiss, Psychol. Bull. 76:378, 1971).

    Args:
        counts: (studies, answers) how many readers gave each answer; every row adds up to the number of readers.

    Returns:
        kappa; NaN where there are no studies, one reader, or one answer throughout.
    """
    if not len(counts):
        return float("nan")
    readers = counts.sum(axis=1)[0]
    agreeing = divide((counts * (counts - 1)).sum(axis=1), np.full(len(counts), readers * (readers - 1)))
    chance = np.square(counts.sum(axis=0) / counts.sum()).sum()
    return float(divide(agreeing.mean() - chance, 1 - chance))


def cohen_kappa(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Agreement of two readers beyond chance, at most 1 (Cohen, Educ. Psychol. Meas. 20:37, 1960); (n,) and (n,).

    NaN where there is nothing, or both gave one and the same answer throughout.
    """
    if not len(first):
        return float("nan")
    yes = first.mean(), second.mean()
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return float(divide((first == second).mean() - chance, 1 - chance))


def agreement(reads: NDArray[np.floating], readers: Sequence[str]) -> dict[str, Any]:
    """Agreement on one label.

    Args:
        reads: (studies, readers) 0 or 1; NaN where a reader gave none. Only studies that all have read count.
        readers: their names.

    Returns:
        `studies` read by all; of them `unanimous_positive`, `unanimous_negative` and `split`; `fleiss_kappa`; `pairs`:
        names -> `cohen_kappa` and `agreement`, the share of studies with the same answer; `undefined`: why a kappa is
        NaN, empty where none is.
    """
    read = reads[~np.isnan(reads).any(axis=1)].astype(bool)
    positive = read.sum(axis=1)
    unanimous = int((positive == len(readers)).sum()), int((positive == 0).sum())
    pairs = {
        f"{readers[one]}-{readers[other]}": {
            "cohen_kappa": cohen_kappa(read[:, one], read[:, other]),
            "agreement": float(divide((read[:, one] == read[:, other]).sum(), len(read))),
        }
        for one, other in combinations(range(len(readers)), 2)
    }
    fleiss = fleiss_kappa(np.stack([positive, len(readers) - positive], axis=1))
    undefined = np.isnan([fleiss, *(pair["cohen_kappa"] for pair in pairs.values())]).any()
    return {
        "studies": len(read),
        "unanimous_positive": unanimous[0],
        "unanimous_negative": unanimous[1],
        "split": len(read) - sum(unanimous),
        "fleiss_kappa": fleiss,
        "pairs": pairs,
        "undefined": (_ONE_ANSWER if len(read) else _NOBODY) if undefined else "",
    }
