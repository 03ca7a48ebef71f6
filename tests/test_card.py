import json

import pytest

from ich.card import Card, card_path, read_card, write_card
from ich.errors import DataError
from ich.labels import LABELS, SUBTYPES
from ich.workspace import fingerprint


@pytest.fixture
def model(tmp_path):
    """A model file and its card; what is in the file does not matter here."""
    path = tmp_path / "cascade_final.keras"
    path.write_bytes(b"weights")
    write_card(
        path,
        Card(
            model="cascade",
            file_sha256=fingerprint(path),
            labels=LABELS,
            windows=((75, 215), (40, 80), (600, 2800)),
            size=64,
            aspect="pad",
            gate=None,
            conditional_prevalence=dict.fromkeys(SUBTYPES, 0.2),
            training={},
            config={},
            provenance={},
        ),
    )
    return path


def edit(path, **changes):
    card_path(path).write_text(json.dumps(json.loads(card_path(path).read_text()) | changes))


def test_a_card_is_read_as_it_was_written(model):
    card = read_card(model)
    assert (card.labels, card.windows[1], card.size) == (LABELS, (40, 80), 64)


def test_no_model(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.keras does not exist"):
        read_card(tmp_path / "nothing.keras")


def test_no_card(model):
    card_path(model).unlink()
    with pytest.raises(DataError, match=r"has no card: cascade_final\.json must lie beside it"):
        read_card(model)


def test_other_labels(model):
    edit(model, labels=[*LABELS[1:], "any"])
    with pytest.raises(DataError, match="labels must be any, epidural.*in this order, got epidural"):
        read_card(model)


def test_another_models_card(model):
    model.write_bytes(b"other weights")
    with pytest.raises(DataError, match="describes another file than cascade_final.keras"):
        read_card(model)


@pytest.mark.parametrize("changes", [{"size": "large"}, {"gate": {"threshold": 0.1}}, {"model": "resnet"}])
def test_a_card_with_nonsense_in_it(model, changes):
    edit(model, **changes)
    with pytest.raises(DataError, match="is not a model's card"):
        read_card(model)


def test_a_card_that_is_not_json(model):
    card_path(model).write_text('{"model": ')
    with pytest.raises(DataError, match="is not valid JSON"):
        read_card(model)
