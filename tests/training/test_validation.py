import math

import cv2
import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from ich.data import Manifest
from ich.models.forward import compile_forward
from ich.training.validation import label_aucs, predict, scores

SIZE = 8


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, (60, 5)), rng.random((60, 5))
    flat, called = truth.ravel(), (p >= 0.5).ravel()
    expected = {
        "accuracy": accuracy_score(flat, called),
        "precision": precision_score(flat, called),
        "recall": recall_score(flat, called),
        "auc": roc_auc_score(truth, p, average="macro"),
    }
    assert scores(truth, p) == pytest.approx(expected)


def test_scores_that_are_not_defined_are_nan():
    undefined = scores(np.zeros((3, 1), int), np.full((3, 1), 0.1))
    assert undefined.pop("accuracy") == 1
    assert all(math.isnan(value) for value in undefined.values())


def test_a_label_of_one_class_is_left_out_of_the_mean_auc():
    truth, p = np.array([[0, 0], [1, 0]]), np.array([[0.1, 0.3], [0.2, 0.4]])
    assert scores(truth, p)["auc"] == 1
    assert label_aucs(truth, p) == [1, pytest.approx(math.nan, nan_ok=True)]


def test_every_slice_is_predicted_once(tmp_path):
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((SIZE, SIZE, 3), i, np.uint8))
    paths = tuple(tmp_path / f"{i}.png" for i in range(10))
    slices = Manifest(tuple(map(str, range(10))), paths, np.zeros((10, 6), np.uint8))
    images = keras.Input((SIZE, SIZE, 3))
    mean = keras.Model(images, keras.layers.Reshape((1,))(keras.ops.mean(images, axis=(1, 2, 3))))
    done = []
    found = predict(compile_forward(mean), slices, SIZE, 4, done.append)
    assert found[:, 0].tolist() == list(range(10))
    assert done == [4, 4, 2]
