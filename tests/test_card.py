import json

import pytest

from ich.card import Card, Gate, card_path, read_card, read_cards, write_card
from ich.config import Train
from ich.errors import DataError
from ich.files import fingerprint
from ich.labels import LABELS, SUBTYPES


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
            gate=Gate(threshold=0.1, chosen="by hand", missed={}, positives={}),
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


def test_an_older_card_is_of_a_model_of_windows(model):
    content = json.loads(card_path(model).read_text())
    del content["input"], content["neighbours_window"]
    card_path(model).write_text(json.dumps(content))
    assert (read_card(model).input, read_card(model).neighbours_window) == ("windows", 0)


def test_which_window_neighbours_show_means_nothing_without_them(model):
    other = model.with_name("other.keras")
    other.write_bytes(b"other weights")
    content = json.loads(card_path(model).read_text()) | {"file_sha256": fingerprint(other), "neighbours_window": 2}
    card_path(other).write_text(json.dumps(content))
    assert [card.neighbours_window for card in read_cards([model, other])] == [0, 0]
    edit(model, input="neighbours", neighbours_window=1)
    edit(other, input="neighbours")
    with pytest.raises(DataError, match="neighbours_window of .* is 1, of .* 2: models whose mean"):
        read_cards([model, other])
    assert Train(neighbours_window=2) == Train()  # nor is it another training
    assert Train(input="neighbours", neighbours_window=2).neighbours_window == 2


def test_no_model(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.keras does not exist"):
        read_card(tmp_path / "nothing.keras")


def test_no_card(model):
    card_path(model).unlink()
    with pytest.raises(DataError, match=r"has no card: cascade_final\.json must lie beside it"):
        read_card(model)


def test_other_labels(model):
    edit(model, labels=[*LABELS[1:], "any"])
    with pytest.raises(DataError, match="labels must be any, epidural.*in this order, got ..epidural"):
        read_card(model)


def test_another_models_card(model):
    model.write_bytes(b"other weights")
    with pytest.raises(DataError, match="describes another file than cascade_final.keras"):
        read_card(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "resnet"),
        ("model", "convnext"),  # a flat model with a gate
        ("gate", None),  # a cascade without one
        ("gate", {"threshold": 0.1}),
        *[("gate.threshold", value) for value in (-0.1, 1.5, float("nan"), "0.1", True, None)],
        *[("size", value) for value in (0, 16, 100, 2048, 64.5, "large")],
        ("windows", []),
        ("windows", [[40, 80]] * 2),
        ("windows", [[40, 80]] * 4),
        *[("windows", [[40, 80], [40, 80], window]) for window in ([40, 0], [40, -80], [float("inf"), 80], [40], None)],
        ("conditional_prevalence", dict.fromkeys(SUBTYPES[1:], 0.2)),
        ("conditional_prevalence", dict.fromkeys(LABELS, 0.2)),
        ("conditional_prevalence", dict.fromkeys([*SUBTYPES[1:], "two\nlines"], 0.2)),
        *[("conditional_prevalence.subdural", value) for value in (-0.1, 1.1, float("nan"), [0.2])],
        ("training", None),
        ("input", "slices"),
        *[("neighbours_window", value) for value in (3, "0", None)],
    ],
)
def test_an_odd_card_is_refused_in_one_line(model, key, value):
    content = json.loads(card_path(model).read_text())
    *parents, last = key.split(".")
    section = content[parents[0]] if parents else content
    section[last] = value
    card_path(model).write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"is not a model's card \(.+\); copy it from where the model was trained"
    ) as error:
        read_card(model)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b'{"model": ', b"[]", b"null", b'{"model": "\xff"}', b"[" * 100_000])
def test_a_file_that_is_no_card_is_refused_in_one_line(model, content):
    card_path(model).write_bytes(content)
    with pytest.raises(
        DataError, match=r"is not a model's card \(.+\); copy it from where the model was trained"
    ) as error:
        read_card(model)
    assert len(str(error.value).splitlines()) == 1
