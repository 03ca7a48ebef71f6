import cv2
import keras
import numpy as np
import pytest

from ich.card import Card, Gate, card_path, write_card
from ich.config import Train
from ich.data import Manifest
from ich.detector import Detector, compile_forward, load_detector
from ich.errors import DataError
from ich.files import fingerprint
from ich.labels import LABELS, SUBTYPES
from ich.models.build import build
from ich.models.cascade import split_cascade
from square_slices import tiny_backbones

__all__ = ["tiny_backbones"]

PREVALENCE = dict(zip(SUBTYPES, (0.03, 0.3, 0.2, 0.3, 0.4), strict=True))
SIZE = 64


def networks(model, seed=3):
    plan = {
        "model": model,
        "backbones": {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"},
        "weights": "none",
        "heads": {"gate_units": 8, "subtype_units": 8, "attention_width": 8, "attention_heads": 2},
    }
    return build(Train(**plan), SIZE, seed=seed).final


def card(model="cascade", threshold=None, sha256=""):
    nothing = dict.fromkeys(LABELS, 0)
    gate = None if threshold is None else Gate(threshold=threshold, chosen="by hand", missed=nothing, positives=nothing)
    return Card(
        model=model,
        file_sha256=sha256,
        labels=LABELS,
        windows=((75, 215), (40, 80), (600, 2800)),
        size=SIZE,
        aspect="pad",
        gate=gate,
        conditional_prevalence=PREVALENCE,
        training={},
        config={},
        provenance={},
    )


@pytest.fixture(scope="module")
def images():
    """Eleven images, from dark to bright."""
    noise = np.random.default_rng(0).integers(0, 60, (11, SIZE, SIZE, 3))
    return (noise + np.linspace(0, 190, 11)[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module", params=["cascade", "modified-cascade"])
def gated(request, tiny_backbones, images):
    """A cascade with a threshold in the middle of these images, and what it gives them."""
    network = networks(request.param)
    p_any = np.sort(Detector(network, card(request.param, threshold=0.0)).predict(images).probabilities[:, 0])
    detector = Detector(network, card(request.param, threshold=float((p_any[4] + p_any[5]) / 2)))
    return detector, detector.predict(images, batch_size=4)


def test_every_batch_size_gives_the_same(gated, images):
    detector, expected = gated
    assert expected.gated_in.sum() == 6
    for batch_size in (1, 3, 11, 64):
        again = detector.predict(images, batch_size)
        assert np.abs(again.probabilities - expected.probabilities).max() < 1e-5
        assert np.array_equal(again.gated_in, expected.gated_in)


def test_slices_through_the_gate_get_the_soft_product(gated, images):
    detector, predicted = gated
    soft = detector.network.predict(images, verbose=0)
    inside = predicted.gated_in
    assert predicted.probabilities[inside] == pytest.approx(soft[inside], abs=1e-6)
    assert predicted.probabilities[:, 0] == pytest.approx(soft[:, 0], abs=1e-6)


def test_slices_under_the_threshold_get_the_prevalence(gated):
    _, predicted = gated
    outside = predicted.probabilities[~predicted.gated_in]
    assert outside[:, 1:] == pytest.approx(outside[:, :1] * np.array(list(PREVALENCE.values())), rel=1e-6)


def test_slices_under_the_threshold_never_reach_stage_2(gated, images):
    detector, predicted = gated
    gate, subtypes = detector._stages
    seen = []

    def watched(inputs):
        seen.append(inputs[0])
        return subtypes(inputs)

    watching = Detector(detector.network, detector.card)
    watching._stages = (gate, watched)
    watching.predict(images, batch_size=4)
    # Six pass, in batches of four: the second is filled up with air.
    assert [batch.shape[0] for batch in seen] == [4, 4]
    reached = np.concatenate(seen)
    assert np.array_equal(reached[:6], images[predicted.gated_in])
    assert not reached[6:].any()


def test_without_a_gate_every_slice_gets_the_soft_product_and_the_gated_result_stays(gated, images):
    detector, expected = gated
    assert expected.ungated is None
    for batch_size in (3, 4, 64):
        found = detector.predict(images, batch_size, ungated=True)
        assert found.ungated == pytest.approx(detector.network.predict(images, verbose=0), abs=1e-5)
        assert found.ungated.dtype == np.float32
        assert np.array_equal(found.gated_in, expected.gated_in)
        assert np.abs(found.probabilities - expected.probabilities).max() < 1e-5
        inside = found.gated_in
        assert np.array_equal(found.ungated[inside], found.probabilities[inside])
        assert np.abs(found.ungated[~inside, 1:] - found.probabilities[~inside, 1:]).max() > 1e-3
    assert detector.predict(images[:0], ungated=True).ungated.shape == (0, 6)


def test_any_is_never_less_than_a_subtype(gated):
    probabilities = gated[1].probabilities
    assert (probabilities[:, :1] >= probabilities[:, 1:]).all()
    assert probabilities.dtype == np.float32


def test_a_gate_that_lets_nothing_through(gated, images):
    detector, _ = gated
    shut = Detector(detector.network, card(threshold=1.0)).predict(images)
    assert not shut.gated_in.any()
    assert np.isfinite(shut.probabilities).all()


def test_no_image_gives_no_row(gated):
    predicted = gated[0].predict(np.empty((0, SIZE, SIZE, 3), np.uint8))
    assert predicted.probabilities.shape == (0, 6)
    assert predicted.gated_in.shape == (0,)


def test_files_give_what_their_pixels_give(gated, images, tmp_path):
    detector, expected = gated
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    counted = []
    slices = Manifest(tuple(map(str, paths)), tuple(paths), np.zeros((len(paths), 6), np.uint8))
    predicted = detector.predict_files(slices, batch_size=4, done=counted.append)
    assert np.array_equal(predicted.probabilities, expected.probabilities)
    assert counted == [4, 4, 3]


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (64, 64, 3), (2, 64, 64)])
def test_images_of_another_shape_are_an_error(gated, shape):
    with pytest.raises(DataError, match=r"must be uint8 of shape \(n, 64, 64, 3\), got uint8"):
        gated[0].predict(np.zeros(shape, np.uint8))


def test_images_from_0_to_1_are_an_error(gated):
    with pytest.raises(DataError, match="must be uint8 .* got float32"):
        gated[0].predict(np.zeros((1, SIZE, SIZE, 3), np.float32))


def test_predicting_with_the_network_itself_does_no_harm(gated, images):
    detector, expected = gated
    for part in (detector.network, *split_cascade(detector.network)[:1]):
        part.predict(images, verbose=0)  # on JAX this gives the variables new arrays and deletes the old ones
    assert np.array_equal(detector.predict(images, batch_size=4).probabilities, expected.probabilities)


@pytest.fixture(scope="module")
def flat(tiny_backbones):
    return networks("efficientnet")


def test_a_flat_model_has_any_raised_and_counted(flat, images):
    raw = flat.predict(images, verbose=0)
    predicted = Detector(flat, card("efficientnet")).predict(images, batch_size=4)
    assert predicted.probabilities[:, 1:] == pytest.approx(raw[:, 1:], abs=1e-6)
    assert predicted.probabilities[:, 0] == pytest.approx(raw.max(axis=1), abs=1e-6)
    assert predicted.raised.sum() == (raw[:, 0] < raw[:, 1:].max(axis=1)).sum() > 0
    assert predicted.gated_in.all()
    ungated = Detector(flat, card("efficientnet")).predict(images, batch_size=4, ungated=True)
    assert np.array_equal(ungated.ungated, ungated.probabilities)


def saved(network, folder, described_as, name="model"):
    path = folder / f"{name}.keras"
    network.save(path)
    write_card(path, described_as.model_copy(update={"file_sha256": fingerprint(path)}))
    return path


def test_a_saved_detector_predicts_the_same(flat, images, tmp_path):
    loaded = load_detector(saved(flat, tmp_path, card("efficientnet")))
    expected = Detector(flat, card("efficientnet")).predict(images)
    assert np.array_equal(loaded.predict(images).probabilities, expected.probabilities)


def test_a_network_trained_in_half_precision_computes_in_float32_on_a_cpu(tiny_backbones, images, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = networks("cascade")
    keras.config.set_dtype_policy(before)
    single = networks("cascade")
    single.set_weights(half.get_weights())
    loaded = load_detector(saved(half, tmp_path, card(threshold=0.0)))
    rounded, exact = (np.asarray(compile_forward(network)([images])[0]) for network in (half, single))
    assert np.abs(rounded - exact).max() > 1e-5
    assert loaded.predict(images).probabilities == pytest.approx(exact, abs=1e-6)


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no zip file")
    write_card(path, card("efficientnet", sha256=fingerprint(path)))
    with pytest.raises(DataError, match=r"model\.keras cannot be loaded as a Keras model"):
        load_detector(path)


def test_a_network_that_does_not_fit_its_card_is_an_error(flat, tmp_path):
    path = saved(flat, tmp_path, card("efficientnet").model_copy(update={"size": 128}))
    with pytest.raises(DataError, match="its card says 128 x 128 RGB"):
        load_detector(path)


def test_a_model_without_a_card_is_an_error(flat, tmp_path):
    path = saved(flat, tmp_path, card("efficientnet"))
    card_path(path).unlink()
    with pytest.raises(DataError, match="has no card"):
        load_detector(path)
