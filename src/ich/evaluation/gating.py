"""The cascade's own account: what the gate kept from stage 2, what that missed, what it saved, and what it cost."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.compute import Compute
from ich.evaluation.predictions import Scored
from ich.evaluation.statistics import comparison, metrics, results
from ich.labels import LABELS, SUBTYPES

# Thresholds of the curve: fine near 0, where a gate that misses little lies.
GRID = np.unique(np.concatenate([[0], np.geomspace(1e-4, 0.1, 31)[:-1], np.linspace(0.1, 1, 37)]))
NAMES = ("gated", "ungated", "difference")


def account(
    truth: NDArray[np.bool_],
    gated_in: NDArray[np.bool_],
    patients: NDArray[np.str_],
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Slices and positives that the gate kept away, and their shares with intervals over patients.

    Args:
        truth: (n, 6), at least one slice.
        gated_in: (n,) whether stage 2 ran.
        patients: (n,) names.
        replicates: of the bootstrap over patients; 0 gives no intervals.
        rng: of the bootstrap.

    Returns:
        `slices`, `gated_away`, `share` (of the slices, those kept away), and `labels`: of each, `missed` (positives
        kept away), `positives`, `share` (of the positives, those missed). Shares are `Estimate.as_json`.
    """
    counts = _count(truth, gated_in)
    among = np.column_stack([np.ones(len(truth), bool), truth])  # of all slices, and of the positives of each label
    away = np.broadcast_to(~gated_in[:, None], among.shape)
    # Kept away, of those that count: were the gate a test for being kept away, this is its sensitivity.
    found = [each.figures["sensitivity"] for each in results.ratio_estimates(among, away, patients, replicates, rng)]
    labels = zip(counts["labels"].items(), found[1:], strict=True)
    return counts | {
        "share": found[0].as_json(),
        "labels": {label: each | {"share": share.as_json()} for (label, each), share in labels},
    }


def _count(truth: NDArray[np.bool_], gated_in: NDArray[np.bool_]) -> dict[str, Any]:
    """`slices`, `gated_away`, and `labels`: of each `missed` and `positives`."""
    missed = (truth & ~gated_in[:, None]).sum(axis=0).tolist()
    positives = truth.sum(axis=0).tolist()
    return {
        "slices": len(gated_in),
        "gated_away": int((~gated_in).sum()),
        "labels": {
            label: {"missed": away, "positives": total}
            for label, away, total in zip(LABELS, missed, positives, strict=True)
        },
    }


def curve(
    truth: NDArray[np.bool_], p_any: NDArray[np.float32], chosen: float | None = None, compute: Compute | None = None
) -> list[dict[str, Any]]:
    """What a gate at each threshold would keep away, from P(any) alone: it does not depend on the gate that was used.

    Of several models it is one gate on their mean P(any), which is not what their own gates do.

    Args:
        truth: (n, 6)
        p_any: (n,) of the network, not calibrated: the gate's threshold is on that scale.
        chosen: the gate's own threshold, which is added to GRID.
        compute: of `ich.evaluation.compute.of`.

    Returns:
        A row a threshold, ascending: `threshold`, `chosen`, `slices`, `slices_in`, `share_in` (reach stage 2),
        `missed` (of each label: `missed`, `positives`, `share`), `saved` (share of the operations). Null where nothing
        can be divided by, or is known.
    """
    thresholds = GRID if chosen is None else np.union1d(GRID, [chosen])
    rows = []
    for threshold in thresholds.tolist():
        counts = _count(truth, p_any >= threshold)  # a Python float: compared in float32, as the detector does
        slices, inside = counts["slices"], counts["slices"] - counts["gated_away"]
        rows.append({
            "threshold": threshold,
            "chosen": threshold == chosen,
            "slices": slices,
            "slices_in": inside,
            "share_in": _share(inside, slices),
            "missed": {
                label: each | {"share": _share(each["missed"], each["positives"])}
                for label, each in counts["labels"].items()
            },
            "saved": compute.saved(inside / slices) if compute and slices else None,
        })  # fmt: skip
    return rows


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compare(scored: Scored, replicates: int, rng: Callable[[], np.random.Generator]) -> dict[str, Any]:
    """Figures with and without the gate on the same slices; every replicate draws the same patients for both.

    `any` is left out: it is the gate's own probability, the same with and without it.

    Args:
        scored: of one split; `probabilities` and `ungated` both raw or both calibrated.
        replicates: of the paired bootstrap over patients; 0 gives no intervals.
        rng: gives a generator in the same state each time.

    Returns:
        `reason` (empty, or why there is nothing else), `slices`, `gated_away`, `weighted_log_loss`, and `subtypes`: of
        each `positives`, `log_loss` and `auroc`. A figure is `gated`, `ungated` and their `difference` (gated less
        ungated: a log loss over 0, or an AUROC under it, is what the gate costs), as `Estimate.as_json`.
    """
    counts = {"slices": len(scored.truth), "gated_away": int((~scored.gated_in).sum())}
    if not counts["slices"] or np.isnan(scored.ungated).any():
        lacking = "no slice" if not counts["slices"] else "stage 2 ran only on what the gate lets through"
        return {"reason": lacking, **counts, "weighted_log_loss": None, "subtypes": {}}
    losses = np.stack([metrics.log_losses(scored.truth, p) for p in (scored.probabilities, scored.ungated)])
    weighted = metrics.weighted_log_loss(losses)
    gated, ungated = np.concatenate([weighted[..., None], losses[..., 1:]], axis=2)
    both = np.concatenate([gated, ungated, gated - ungated], axis=1)
    means = [each.as_json() for each in results.mean_estimates(both, scored.patients, replicates, rng())]
    figures = [dict(zip(NAMES, means[k :: gated.shape[1]], strict=True)) for k in range(gated.shape[1])]
    return {
        "reason": "",
        **counts,
        "weighted_log_loss": figures[0],
        "subtypes": {
            subtype: {
                "positives": int(scored.truth[:, column].sum()),
                "log_loss": figures[column],
                "auroc": _aurocs(scored, column, replicates, rng()),
            }
            for column, subtype in enumerate(SUBTYPES, start=1)
        },
    }


def _aurocs(scored: Scored, column: int, replicates: int, rng: np.random.Generator) -> dict[str, Any]:
    scores = scored.probabilities[:, column], scored.ungated[:, column]
    pair = comparison.compare_auroc(scored.truth[:, column], scores, scored.patients, replicates, rng)
    return {name: each.as_json() for name, each in zip(NAMES, pair, strict=True)}
