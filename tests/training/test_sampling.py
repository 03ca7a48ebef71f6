import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ich.config import Train
from ich.errors import DataError
from ich.training.phases import stages
from ich.training.sampling import balanced_chances, priors

# 60 slices, 12 positive; natural: 1,000 slices, 50 positive.
ANY = (np.arange(60) % 5 == 0).astype(np.uint8)[:, None]
NATURAL = {"slices": 1000, "counts": {"any": 50, "epidural": 2, "subdural": 20}}


def gate(**settings):
    return stages(Train(**settings))[0]


def priors_of(stage):
    return priors(NATURAL, ("any",), None, ANY, stage.chances(ANY), stage.class_weights(ANY))["any"]


def test_positives_and_negatives_of_one_label_are_equally_likely():
    # Two of eight: odds 6 / 2 for each positive, 1 for each negative, 12 in all.
    chances = balanced_chances(np.array([[1], [1], [0], [0], [0], [0], [0], [0]]))
    assert chances == pytest.approx(np.array([3, 3, 1, 1, 1, 1, 1, 1]) / 12)


def test_a_slice_counts_for_its_rarest_label():
    # Odds against the labels: 5 / 1 and 4 / 2. The third is in all slices and the fourth in none: they say nothing.
    targets = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    assert balanced_chances(targets) == pytest.approx(np.array([5, 2, 1, 1, 1, 1]) / 11)


@pytest.mark.parametrize(
    ("settings", "seen", "effective"),
    [
        ({"loss": {"class_weights": "none"}}, 0.2, 0.2),
        ({"loss": {"class_weights": "balanced"}}, 0.2, 0.5),
        ({"loss": {"class_weights": "none"}, "sampling": "balanced"}, 0.5, 0.5),
        ({"loss": {"class_weights": "balanced"}, "sampling": "balanced"}, 0.5, 0.5),
        ({"loss": {"class_weights": "none", "label_weights": {"any": 7}}}, 0.2, 0.2),
    ],
)
def test_priors_by_hand(settings, seen, effective):
    found = priors_of(gate(**settings))
    assert (found["positives"], found["slices"], found["prevalence"]) == (50, 1000, 0.05)
    assert found["prevalence_seen"] == pytest.approx(seen)
    assert found["effective_prior"] == pytest.approx(effective)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("sampling", ["none", "balanced"])
def test_a_network_that_sees_nothing_learns_the_effective_prior(class_weights, sampling):
    """The constant with the least training loss, over the draws of an epoch."""
    stage = gate(loss={"class_weights": class_weights, "label_weights": {"any": 3}}, sampling=sampling)
    loss, chances = stage.training_loss(ANY, functions=np), stage.chances(ANY)
    weights = np.full(60, 1 / 60) if chances is None else chances
    best = minimize_scalar(lambda p: weights @ loss(ANY, np.full((60, 1), p)), bounds=(0.01, 0.99), method="bounded")
    assert priors_of(stage)["effective_prior"] == pytest.approx(best.x, abs=1e-4)


def test_subtypes_are_compared_with_natural_positive_slices():
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    found = priors(NATURAL, ("epidural", "subdural"), "any", targets, None, None)
    assert [(each["prevalence"], each["prevalence_seen"]) for each in found.values()] == [(0.04, 0.25), (0.4, 0.75)]


def test_splits_without_counts_are_an_error():
    with pytest.raises(DataError, match="run split again"):
        priors({"counts": {"any": 1}}, ("any",), None, ANY, None, None)
