import csv
import errno
import math

import keras
import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from ich.errors import IchError
from ich.training.callbacks import METRICS, Best, History, Record, StopOnNonsense, save, scores


def dense():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))


def logs(**values):
    numbers = dict.fromkeys(
        [*METRICS, *(f"val_{name}" for name in METRICS), "learning_rate", "seconds", "training_seconds"], 0.5
    )
    return numbers | values


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


def test_a_label_of_one_class_is_left_out_of_the_auc():
    truth, p = np.array([[0, 0], [1, 0]]), np.array([[0.1, 0.3], [0.2, 0.4]])
    assert scores(truth, p)["auc"] == 1


def test_the_best_weights_outlive_worse_epochs_and_later_phases(tmp_path):
    network = dense()
    best = Best(network, tmp_path / "best.keras")
    for value, loss in ((1.0, 0.7), (2.0, 0.5), (3.0, 0.6)):
        network.set_weights([np.full(w.shape, value) for w in network.weights])
        best.on_epoch_end(0, logs(val_loss=loss))
    best.restore()
    assert best.loss == 0.5
    assert {float(w.numpy().max()) for w in network.weights} == {2.0}
    assert {float(w.numpy().max()) for w in keras.models.load_model(tmp_path / "best.keras").weights} == {2.0}


def test_a_save_that_fails_leaves_the_last_file_and_no_other(tmp_path, monkeypatch):
    network = dense()
    save(network, tmp_path / "best.keras")
    before = (tmp_path / "best.keras").read_bytes()

    def half(path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(network, "save", half)
    with pytest.raises(OSError, match="No space left"):
        save(network, tmp_path / "best.keras")
    assert (tmp_path / "best.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_fit(loss):
    network = dense()
    network.compile("adam", loss=lambda y, p: keras.ops.mean(p, axis=-1) + loss)
    with pytest.raises(IchError, match=r"gate, warm-up: the training loss became (nan|inf); lower"):
        network.fit(
            np.zeros((64, 2)), np.zeros((64, 1)), batch_size=4, verbose=0, callbacks=[StopOnNonsense("gate, warm-up")]
        )


def test_looking_at_batches_does_not_make_training_wait():
    callbacks = keras.callbacks.CallbackList([StopOnNonsense("")])
    assert callbacks._async_train


def test_history_and_tensorboard_hold_every_epoch(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = History(tmp_path / "history.csv")
    record = Record("gate", "warm-up", 32, history, tmp_path / "tensorboard", Console(quiet=True))
    record.set_params({"steps": 10})
    record.on_epoch_end(0, logs(loss=0.7, val_auc=math.nan))
    record.on_epoch_end(1, logs(loss=0.6, val_auc=0.9))
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [
        (row["stage"], row["phase"], row["epoch"], row["loss"], row["val_auc"], row["images_per_s"]) for row in rows
    ] == [
        ("gate", "warm-up", "1", "0.7", "", "640"),
        ("gate", "warm-up", "2", "0.6", "0.9", "640"),
    ]
    record.close()
    train, validation = (
        EventAccumulator(str(tmp_path / "tensorboard" / "gate" / part)).Reload() for part in ("train", "validation")
    )
    assert [(event.step, event.value) for event in train.Scalars("loss")] == [
        (1, pytest.approx(0.7)),
        (2, pytest.approx(0.6)),
    ]
    assert [(event.step, event.value) for event in validation.Scalars("auc")] == [(2, pytest.approx(0.9))]
    assert set(train.Tags()["scalars"]) == {*METRICS, "learning_rate"}


def test_a_full_disk_is_one_even_where_hdf5_says_so_in_its_own_way(tmp_path, monkeypatch):
    network = dense()
    told = "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left on device')"
    monkeypatch.setattr(network, "save", lambda path: (_ for _ in ()).throw(RuntimeError(told)))
    with pytest.raises(OSError, match="No space left") as error:
        save(network, tmp_path / "model.h5")
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
