import math

import numpy as np
import pytest

from ich.config import Train
from ich.data import Manifest
from ich.errors import DataError
from ich.labels import LABELS, SUBTYPES
from ich.training.losses import COMPETITION_WEIGHTS
from ich.training.phases import stages


def stage(name, **settings):
    return next(stage for stage in stages(Train(**settings)) if stage.name == name)


def slices(*rows):
    names = tuple(f"ID_{i}" for i in range(len(rows)))
    return Manifest(names, names, np.array(rows, np.uint8).reshape(len(rows), 6))


def test_the_stages_of_each_model():
    def names(**settings):
        return [(stage.name, stage.part, stage.checkpoint) for stage in stages(Train(**settings))]

    both = [("gate", "gate", "stage1_best"), ("subtypes", "subtypes", "stage2_best")]
    end_to_end = ("end-to-end", "final", "end_to_end_best")
    assert names(model="cascade") == names(model="modified-cascade") == [*both, end_to_end]
    assert names(model="cascade", end_to_end={"epochs": 0}) == both
    assert names(model="convnext") == [("convnext", "final", "convnext_best")]


def test_the_gate_learns_any_on_all_slices_and_stage_2_the_subtypes_on_positive_ones():
    data = slices([0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0])
    everything, any_only = stage("gate").select(data, "training")
    assert everything.ids == data.ids
    assert any_only.tolist() == [[0], [1], [0], [1]]
    positive, subtypes = stage("subtypes").select(data, "training")
    assert positive.ids == ("ID_1", "ID_3")
    assert subtypes.tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]]


def test_stages_that_nothing_can_be_learnt_in_are_errors():
    with pytest.raises(DataError, match="gate: the validation slices hold no positive of any"):
        stage("gate").select(slices([0] * 6), "validation")
    with pytest.raises(DataError, match="gate: all 2 training slices are positive"):
        stage("gate").select(slices([1] * 6, [1, 0, 0, 0, 0, 1]), "training")
    assert stage("subtypes").one_sided(np.array([[0, 1, 0, 1, 1], [0, 1, 1, 0, 0]])) == ["epidural", "intraparenchymal"]


def test_phases_without_epochs_are_left_out():
    assert [phase.name for phase in stage("gate").phases] == ["warm-up", "fine-tune"]


def test_end_to_end_uses_the_competitions_loss_without_class_weights():
    last = stage("end-to-end", loss={"class_weights": "balanced", "label_weights": {"epidural": 2}, "focal_gamma": 2})
    targets = np.array([[1, 0, 0, 0, 0, 1], [0] * 6, [0] * 6])
    loss = last.training_loss(targets, functions=np)
    assert loss(targets[:1], np.full((1, 6), 0.5, np.float32)) == pytest.approx(math.log(2), rel=1e-6)
    assert last.label_weights == pytest.approx(COMPETITION_WEIGHTS)
    assert last.labels == LABELS


def test_a_label_weight_multiplies_its_labels_loss():
    targets = np.eye(5, dtype=int)
    only_epidural_is_wrong = np.where(np.arange(5) == 0, 0.5, targets[:1]).astype(np.float32)
    plain, doubled = (
        stage("subtypes", loss={"class_weights": "none", "label_weights": weights}).training_loss(targets, functions=np)
        for weights in ({}, {"epidural": 2})
    )
    assert plain(targets[:1], only_epidural_is_wrong) == pytest.approx(math.log(2) / 5, rel=1e-4)
    assert doubled(targets[:1], only_epidural_is_wrong) == pytest.approx(2 * math.log(2) / 5, rel=1e-4)


def test_a_flat_model_may_weigh_its_labels_like_the_competition():
    assert stage("convnext", model="convnext").label_weights == pytest.approx(np.full(6, 1 / 6))
    flat = stage("convnext", model="convnext", loss={"weighting": "competition", "class_weights": "none"})
    loss = flat.training_loss(np.eye(6, dtype=int), functions=np)
    only_any_is_wrong = np.array([[0.5, 0, 0, 0, 0, 0]], np.float32)
    assert loss(np.eye(6)[:1], only_any_is_wrong) == pytest.approx(2 / 7 * math.log(2), abs=1e-6)


def test_every_stage_but_the_end_to_end_one_is_sampled():
    found = {stage.name: stage.sampling for stage in stages(Train(sampling="balanced"))}
    assert found == {"gate": "balanced", "subtypes": "balanced", "end-to-end": "none"}
    targets = np.eye(6, dtype=int)[:, :1]
    assert stage("gate").chances(targets) is None
    assert stage("gate", sampling="balanced").chances(targets) == pytest.approx([0.5, *[0.1] * 5])


def test_class_weights_come_from_the_stages_own_targets():
    # One epidural among four positive slices: 4 / (2 * 1) for it, whatever the negatives of stage 1 are.
    targets = np.zeros((4, len(SUBTYPES)), int)
    targets[0, 0], targets[1:, 4] = 1, 1
    loss = stage("subtypes", loss={}).training_loss(targets, functions=np)
    guess = np.where(np.arange(5) == 0, 0.5, targets[:1]).astype(np.float32)
    assert loss(targets[:1], guess) == pytest.approx(2 * math.log(2) / 5, rel=1e-4)
