"""Which stages each model is trained in: on which slices, for which labels, with which weights, what is saved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ich.config import Loss, Phase, Train
from ich.data import Manifest
from ich.errors import DataError
from ich.labels import LABELS, SUBTYPES, Label
from ich.training.losses import COMPETITION_WEIGHTS, balanced_class_weights, binary_crossentropy
from ich.training.sampling import balanced_chances


@dataclass(frozen=True)
class Stage:
    """One network's way through its phases.

    Attributes:
        name: gate, subtypes, end-to-end, or the name of a flat model.
        part: the network, by its name in `ich.models.build.Networks`.
        labels: what its outputs are.
        phases: of training, in order; those of no epoch are left out.
        loss: of training: class weights, label weights, focal exponent, label smoothing.
        label_weights: (k,) share of each label in the loss of training and validation, before `loss.label_weights`.
        checkpoint: stem of the file in models/ that holds the best weights.
        compare_with_start: whether the weights that it starts from count as the best so far.
        sampling: how the slices of an epoch are drawn (`train.sampling`).
    """

    name: str
    part: Literal["gate", "subtypes", "final"]
    labels: tuple[Label, ...]
    phases: tuple[Phase, ...]
    loss: Loss
    label_weights: NDArray[np.float32]
    checkpoint: str
    compare_with_start: bool = False
    sampling: Literal["none", "balanced"] = "none"

    def select(self, slices: Manifest, split: str) -> tuple[Manifest, NDArray[np.uint8]]:
        """The slices that the stage uses, and their targets (n, k): stage 2 sees slices with haemorrhage only.

        Raises:
            DataError: none is left, or no slice, or every slice, is positive.
        """
        if self.part == "subtypes":
            slices = slices.take(np.flatnonzero(slices.labels[:, 0]))
        targets = slices.labels[:, [LABELS.index(label) for label in self.labels]]
        if not targets.any():
            raise DataError(
                f"{self.name}: the {split} slices hold no positive of {', '.join(self.labels)} ({len(slices)} slices); "
                "give more data, or a larger share of it (split.fractions)"
            )
        if targets.all():
            raise DataError(
                f"{self.name}: all {len(slices)} {split} slices are positive; negatives are needed too "
                "(sample.negatives)"
            )
        return slices, targets

    def chances(self, targets: NDArray[np.integer]) -> NDArray[np.float64] | None:
        """Chance (n,) of each training slice in each draw of an epoch; None: each comes once."""
        return balanced_chances(targets) if self.sampling == "balanced" else None

    def class_weights(self, targets: NDArray[np.integer]) -> NDArray[np.float32] | None:
        """(2, k) factors of negatives and positives, from the targets (n, k) as an epoch draws them; None: all 1."""
        if self.loss.class_weights == "none":
            return None
        return balanced_class_weights(targets, self.chances(targets))

    def training_loss(self, targets: NDArray[np.integer], functions: Any = ops) -> Callable[[Any, Any], Any]:
        """The loss to train with, its class weights computed on the targets (n, k) of the stage's training slices.

        `functions` is as in `ich.training.losses.binary_crossentropy`.
        """
        factors = np.array([self.loss.label_weights.get(label, 1) for label in self.labels], np.float32)
        return binary_crossentropy(
            self.label_weights * factors, self.class_weights(targets), self.loss.focal_gamma, functions,
            self.loss.label_smoothing,
        )  # fmt: skip

    def one_sided(self, targets: NDArray[np.integer]) -> list[Label]:
        """Labels of which the targets (n, k) hold positives only or negatives only: nothing can be learnt of them."""
        return [label for label, column in zip(self.labels, targets.T, strict=True) if column.min() == column.max()]


def stages(train: Train) -> list[Stage]:
    """The stages of `train.model`, in order.

    Cascades: the gate on all slices, P(subtype | any) on the positive ones, then both end to end on all slices with the
    competition's loss. A modified cascade's shared trunk learns with the gate, rests with the subtypes
    (`ich.models.build.set_trainable`), and learns again end to end. Flat models: one stage, six labels. `train.loss`
    and `train.sampling` are not for end to end, which is to end at the prevalence of the training slices.
    """
    phases, how = tuple(phase for phase in train.phases if phase.epochs), train.sampling
    if train.model in ("efficientnet", "convnext"):
        shares = COMPETITION_WEIGHTS if train.loss.weighting == "competition" else _equal(6)
        best = f"{train.model}_best"
        return [Stage(train.model, "final", LABELS, phases, train.loss, shares, best, sampling=how)]
    gate = Stage("gate", "gate", ("any",), phases, train.loss, _equal(1), "stage1_best", sampling=how)
    subtypes = Stage("subtypes", "subtypes", SUBTYPES, phases, train.loss, _equal(5), "stage2_best", sampling=how)
    end = train.end_to_end
    if not end.epochs:
        return [gate, subtypes]
    together = Phase(name="end-to-end", epochs=end.epochs, learning_rate=end.learning_rate, trainable="all")
    plain = Loss(class_weights="none")
    final = Stage("end-to-end", "final", LABELS, (together,), plain, COMPETITION_WEIGHTS, "end_to_end_best", True)
    return [gate, subtypes, final]


def _equal(k: int) -> NDArray[np.float32]:
    return np.full(k, 1 / k).astype(np.float32)
