"""A training that starts from a whole model, which may know patients who are held out."""

import json

import keras
import pytest

from ich.card import read_card
from ich.errors import DataError
from ich.files import fingerprint
from ich.models.build import build
from ich.training.best import save
from ich.training.origin import origin_note, read_origin
from ich.training.train import train
from ich.workspace import Workspace
from square_slices import ALL, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]


def test_a_training_tells_and_keeps_whose_weights_it_started_from(tmp_path, tiny_backbones):
    write_squares(tmp_path, train=40, val=20)
    plain = {"model": "convnext", "phases": [ALL | {"epochs": 1}]}
    earlier = tmp_path / "convnext_best.h5"
    keras.utils.clear_session()  # layers without a name have the numbers of the session
    save(build(squares_experiment(tmp_path, **plain).train, 64, 0).final, earlier)
    config = squares_experiment(tmp_path, **plain, weights=str(tmp_path))
    keras.utils.clear_session()
    outcome = train(config)
    assert outcome.notes[0] == (
        "weights come from convnext_best.h5: whether it was trained on patients who are held out here is not known"
    )
    kept = read_card(Workspace(config).final_model).training["weights"]
    assert kept == [{"file": "convnext_best.h5", "sha256": fingerprint(earlier)}]


def test_a_card_of_another_split_beside_the_model_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text("{}")
    (tmp_path / "fold0.h5").write_bytes(b"weights")
    workspace = Workspace(squares_experiment(tmp_path, weights=str(tmp_path / "fold0.h5")))
    here = {"training": {"splits_sha256": fingerprint(workspace.splits)}}
    for content in (b"not JSON", b"[]", b'{"training": null}', b"{}", json.dumps(here).encode()):
        (tmp_path / "fold0.json").write_bytes(content)
        assert [each["file"] for each in read_origin(workspace)] == ["fold0.h5"], content
    (tmp_path / "fold0.json").write_text('{"training": {"splits_sha256": "that of another fold"}}')
    with pytest.raises(DataError, match=r"fold0\.h5 was trained on another split \(fold0\.json beside it says so\)"):
        read_origin(workspace)


def test_kerass_own_weights_and_a_random_start_know_no_patient(tmp_path):
    for name in ("EfficientNetV2Demo_notop.h5", "ConvNeXtDemo_notop.h5"):
        (tmp_path / name).touch()
    for weights in ("none", str(tmp_path)):
        origin = read_origin(Workspace(squares_experiment(tmp_path, weights=weights)))
        assert (origin, origin_note(origin)) == ([], [])
