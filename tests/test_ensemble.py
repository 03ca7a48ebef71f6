"""The mean of several models is a model like any other."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import ich.data
import ich.ensemble
from conftest import make_slice
from ich.card import read_card, write_card
from ich.cli import run_command
from ich.data import Manifest
from ich.detector import Detector, Predictions, load_detector
from ich.ensemble import Ensemble, load_models, mean
from ich.errors import DataError
from ich.labels import LABELS
from square_slices import tiny_backbones
from test_detector import SIZE, card, networks, saved

__all__ = ["tiny_backbones"]


def predictions(any_of, subtypes, gated_in, raised):
    rows = [[p, *[s] * 5] for p, s in zip(any_of, subtypes, strict=True)]
    return Predictions(np.array(rows, np.float32), np.array(gated_in), np.array(raised))


def test_the_mean_by_hand():
    first = predictions([0.5, 0.25, 1], [0.25, 0, 0.5], [True, False, True], [False, False, True])
    second = predictions([0.25, 0.25, 0], [0.125, 0.25, 0], [False, False, True], [False, False, True])
    found = mean([first, second])
    assert found.probabilities.dtype == np.float32
    assert found.probabilities[:, 0].tolist() == [0.375, 0.25, 0.5]
    assert found.probabilities[:, 1:].tolist() == [[0.1875] * 5, [0.125] * 5, [0.25] * 5]
    assert found.gated_in.tolist() == [True, False, True]  # in any member
    assert found.raised.tolist() == [False, False, True]  # once, though both raised it


@given(
    arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 4), st.just(6)), elements=st.floats(0, 1, width=32))
)
def test_any_stays_at_least_every_subtype(members):
    members[..., 0] = members.max(axis=-1)
    flags = np.ones(members.shape[1], bool)
    probabilities = mean([Predictions(member, flags, flags) for member in members]).probabilities
    assert (probabilities[:, :1] >= probabilities[:, 1:]).all()
    assert (probabilities <= 1).all()


@pytest.fixture(scope="module")
def members(tiny_backbones, tmp_path_factory):
    """Files of a cascade whose gate lets about half of `images` through, and of a flat model."""
    folder = tmp_path_factory.mktemp("models")
    network = networks("cascade")
    threshold = float(np.median(Detector(network, card(threshold=0.0)).predict(images()).probabilities[:, 0]))
    return [
        saved(network, folder, card(threshold=threshold), "a"),
        saved(networks("efficientnet", seed=4), folder, card("efficientnet"), "b"),
    ]


def images():
    """Eleven, from dark to bright."""
    noise = np.random.default_rng(0).integers(0, 60, (11, SIZE, SIZE, 3))
    return (noise + np.linspace(0, 190, 11)[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def ensemble(members):
    return load_models(members)


def test_the_mean_of_two_models_is_that_of_what_each_predicts(ensemble, members):
    cascade, flat = (load_detector(path).predict(images()) for path in members)
    found = ensemble.predict(images())
    expected = (cascade.probabilities.astype(np.float64) + flat.probabilities) / 2
    assert found.probabilities == pytest.approx(expected, abs=1e-6)
    assert np.abs(cascade.probabilities - flat.probabilities).max() > 0.01
    assert 0 < cascade.gated_in.sum() < 11
    assert found.gated_in.all()  # the flat model sees every slice
    assert np.array_equal(found.raised, flat.raised)


def test_without_gates_the_mean_is_that_of_what_each_network_gives(ensemble, members, monkeypatch):
    monkeypatch.setattr(ich.ensemble, "_AT_ONCE", 4)
    found, gated = ensemble.predict(images(), 3, ungated=True), ensemble.predict(images(), 3)
    assert np.abs(found.probabilities - gated.probabilities).max() < 1e-5
    assert np.array_equal(found.gated_in, gated.gated_in)
    assert gated.ungated is None
    each = [load_detector(path).predict(images(), ungated=True).ungated.astype(np.float64) for path in members]
    assert found.ungated == pytest.approx(sum(each) / 2, abs=1e-5)
    assert np.abs(found.ungated - found.probabilities).max() > 1e-3


def test_two_gates_let_through_what_either_does(members):
    cascade = load_detector(members[0])
    stricter = Detector(cascade.network, card(threshold=1.0))
    expected = cascade.predict(images()).gated_in
    assert np.array_equal(Ensemble([stricter, cascade]).predict(images()).gated_in, expected)


def test_any_number_of_slices_together_gives_the_same(ensemble, monkeypatch):
    expected = ensemble.predict(images())
    for batch_size, at_once in ((1, 256), (3, 256), (3, 4), (11, 1)):
        monkeypatch.setattr(ich.ensemble, "_AT_ONCE", at_once)
        found = ensemble.predict(images(), batch_size)
        assert np.abs(found.probabilities - expected.probabilities).max() < 1e-5
        assert np.array_equal(found.gated_in, expected.gated_in)
    assert ensemble.predict(images()[:0]).probabilities.shape == (0, 6)


def test_every_file_is_read_once(ensemble, tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(11)]
    for path, image in zip(paths, images(), strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    slices = Manifest(tuple(map(str, paths)), tuple(paths), np.zeros((len(paths), 6), np.uint8))
    read, counted = [], []
    read_pngs = ich.data.read_pngs
    monkeypatch.setattr(ich.data, "read_pngs", lambda some, size: read.extend(some) or read_pngs(some, size))
    monkeypatch.setattr(ich.ensemble, "_AT_ONCE", 4)
    found = ensemble.predict_files(slices, batch_size=3, done=counted.append)
    assert found.probabilities == pytest.approx(ensemble.predict(images()).probabilities, abs=1e-6)
    assert sorted(read) == sorted(paths)
    assert counted == [6, 5, 0]


def test_one_model_is_itself(members):
    assert isinstance(load_models(members[:1]), Detector)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"windows": ((75, 215), (40, 80), (500, 2800))}, r"windows of .*a\.keras is .* leave one out"),
        ({"size": 96}, r"size of .*a\.keras is 64, of .*c\.keras 96: models whose mean"),
        ({"aspect": "stretch"}, r"aspect of .*a\.keras is pad, of .*c\.keras stretch"),
    ],
)
def test_models_that_see_other_images_are_refused(members, tmp_path, changed, message):
    other = tmp_path / "c.keras"
    other.write_bytes(members[1].read_bytes() + b" ")
    write_card(other, card("efficientnet").model_copy(update={"file_sha256": ich.card.fingerprint(other)} | changed))
    with pytest.raises(DataError, match=message):
        load_models([members[0], other])


def test_the_same_model_twice_is_refused(members, tmp_path):
    copy = tmp_path / "copy.keras"
    copy.write_bytes(members[0].read_bytes())
    write_card(copy, read_card(members[0]))
    for again in (members[0], copy):
        with pytest.raises(DataError, match="are the same model"):
            load_models([members[0], members[1], again])


def test_the_command_takes_several_models(members, tmp_path, capfd):
    for number in range(3):
        stored_values = np.random.default_rng(number).integers(900, 1100, (64, 64)).astype(np.int16)
        make_slice(tmp_path / "study" / f"ID_{number}.dcm", stored_values, ImagePositionPatient=[0, 0, 5.0 * number])
    models = [["--model", str(path)] for path in members]
    found = []
    for flags in (models[0], models[1], models[0] + models[1]):
        assert run_command(["predict", str(tmp_path / "study"), *flags, "--json"]) == 0
        found.append(json.loads(capfd.readouterr().out))
    rows = np.array([[[row[label] for label in LABELS] for row in each["slices"]] for each in found])
    assert rows[2] == pytest.approx((rows[0] + rows[1]) / 2, abs=1e-6)
    assert found[2]["models"] == [
        {"file": str(path), "model": kind, "sha256": read_card(path).file_sha256}
        for path, kind in zip(members, ("cascade", "efficientnet"), strict=True)
    ]
    assert len(found[0]["models"]) == 1
    assert run_command(["predict", *models[0], *models[1], str(tmp_path / "study")]) == 0
    assert f"mean of 2 models: {members[0]}, {members[1]}\n" in capfd.readouterr().out
