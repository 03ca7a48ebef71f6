import errno

import keras
import numpy as np
import pytest

from ich.training.best import Best, save


def dense():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))


def values(network):
    return {float(weight.numpy().max()) for weight in network.weights}


def test_the_best_weights_outlive_worse_epochs_and_later_phases(tmp_path):
    network = dense()
    best = Best(network, tmp_path / "best.keras")
    for value, loss in ((1.0, 0.7), (2.0, 0.5), (3.0, 0.6)):
        network.set_weights([np.full(w.shape, value) for w in network.weights])
        best.offer(loss)
    best.restore()
    assert best.loss == 0.5
    assert values(network) == values(keras.models.load_model(tmp_path / "best.keras")) == {2.0}


def test_what_a_training_that_was_cut_off_had_found_is_taken_over(tmp_path):
    network = dense()
    best = Best(network, tmp_path / "best.keras")
    best.take_over(0.5, [np.full(w.shape, 2.0) for w in network.weights])
    best.offer(0.6)
    assert best.loss == 0.5
    assert values(network) == values(keras.models.load_model(tmp_path / "best.keras")) == {2.0}


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


def test_a_full_disk_is_one_even_where_hdf5_says_so_in_its_own_way(tmp_path, monkeypatch):
    network = dense()
    told = "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left on device')"
    monkeypatch.setattr(network, "save", lambda path: (_ for _ in ()).throw(RuntimeError(told)))
    with pytest.raises(OSError, match="No space left") as error:
        save(network, tmp_path / "model.h5")
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
