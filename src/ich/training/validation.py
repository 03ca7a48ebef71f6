"""Losses and scores of slices that are not learnt from."""

import math
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ich.data import Manifest, pad_batch, prefetch
from ich.devices import of_first_process, own_share, shared_out
from ich.models.forward import Forward
from ich.progress import progress_bar
from ich.training.losses import binary_crossentropy

_AHEAD = 2  # batches that the device is given before the result of the first is looked at


def scores(targets: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Accuracy, precision and recall at 0.5 over all labels together, and the mean of the labels' AUC.

    Args:
        targets: (n, k) 0 or 1.
        probabilities: (n, k) in [0, 1].

    Returns:
        Four numbers. NaN: precision where nothing is called positive, recall without positives, AUC where no label has
        both classes (labels that lack one are left out of the mean).
    """
    truth, called = targets == 1, probabilities >= 0.5
    hits = int((truth & called).sum())
    aucs = [auc for auc in label_aucs(targets, probabilities) if not math.isnan(auc)]
    return {
        "accuracy": float((truth == called).mean()),
        "precision": hits / int(called.sum()) if called.any() else math.nan,
        "recall": hits / int(truth.sum()) if truth.any() else math.nan,
        "auc": float(np.mean(aucs)) if aucs else math.nan,
    }


def label_aucs(targets: NDArray[np.integer], probabilities: NDArray[np.floating]) -> list[float]:
    """AUC of each label, (k,); NaN for one that has positives only or negatives only."""
    columns = zip((targets == 1).T, probabilities.T, strict=True)
    return [float(roc_auc_score(y, p)) if y.any() and not y.all() else math.nan for y, p in columns]


class Validation:
    """Slices to validate on: loss (no class weights) and scores, each slice counted once.

    Attributes:
        targets: (n, k) 0 or 1.
    """

    def __init__(
        self,
        forward: Forward,
        slices: Manifest,
        targets: NDArray[np.integer],
        label_weights: NDArray[np.float32],
        size: int,
        batch_size: int,
    ) -> None:
        self.forward, self.slices, self.targets = forward, slices, targets
        self.size, self.batch_size = size, batch_size
        self._loss = binary_crossentropy(label_weights, functions=np)

    def predict(self) -> NDArray[np.float32]:
        """Probabilities (n, k) of the network as it is now."""
        with progress_bar("validation", len(self.slices)) as advance:
            return predict(self.forward, self.slices, self.size, self.batch_size, advance)

    def loss(self, probabilities: NDArray[np.float32]) -> float:
        """Mean loss of probabilities (n, k) of these slices."""
        return of_first_process(float(np.mean(self._loss(self.targets, probabilities))))


def predict(
    forward: Forward, slices: Manifest, size: int, batch_size: int, done: Callable[[int], object] = int
) -> NDArray[np.float32]:
    """First output (n, k) of a network for n slices in order, each exactly once, in batches of one shape.

    Args:
        forward: compiled to be `shared` by all devices.
        slices: to predict; a process that computes together with others reads its share of each batch.
        size: rows and columns of the images.
        batch_size: slices that are computed together; a multiple of the number of devices.
        done: called with the number of slices that have just been predicted, e.g. to advance a progress bar.
    """
    own = own_share(batch_size)
    outputs: list[NDArray[np.float32]] = []
    under_way: deque[Any] = deque()

    def look() -> None:
        outputs.append(np.asarray(under_way.popleft()))
        done(min(batch_size, len(slices) - (len(outputs) - 1) * batch_size))

    def read(start: int) -> NDArray[np.uint8]:
        rows = np.arange(start, min(start + batch_size, len(slices)))[own]
        return pad_batch(slices.read(rows, size), own.stop - own.start)

    images = prefetch(read, range(0, len(slices), batch_size))
    with closing(images), closing(prefetch(lambda each: shared_out(each, axis=0), images, threads=1)) as batches:
        for batch in batches:
            under_way.append(forward([batch])[0])
            if len(under_way) > _AHEAD:
                look()
        while under_way:
            look()
    return np.concatenate(outputs)[: len(slices)]
