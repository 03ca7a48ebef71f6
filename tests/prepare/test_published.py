import hashlib
import json

import pytest

from ich.errors import DataError
from ich.prepare.index import index
from ich.prepare.split import split
from ich.prepare.splits_file import assignment_sha256
from ich.workspace import Workspace


@pytest.fixture
def publish(experiment, small_dataset, tmp_path):
    """Make a split of small_dataset with a seed of its own, change its content, and put it outside the workspace."""

    def make(how=None, change=lambda content: content):
        config = experiment(split=how or {"folds": 4, "fold": 2}, seed=7)
        index(config)
        split(config)
        content = json.loads(Workspace(config).splits.read_text())
        path = tmp_path / "published.json"
        path.write_text(json.dumps(change(content)))
        return path, content

    return make


def test_sha256_of_sorted_lines():
    assert assignment_sha256({"B": "test", "A": "train"}) == hashlib.sha256(b"A,train\nB,test\n").hexdigest()


def test_a_published_split_is_applied_as_it_is(experiment, publish):
    path, content = publish()
    outcome = split(experiment(split={"published": str(path)}))
    applied = json.loads(Workspace(experiment()).splits.read_text())
    kept = ("unit", "seed", "fractions", "folds", "fold", "splits", "assignment", "assignment_sha256", "fold_of")
    assert {key: applied[key] for key in kept} == {key: content[key] for key in kept}
    assert (applied["seed"], applied["folds"], applied["fold"]) == (7, 4, 2)
    assert set(applied["fold_of"].values()) == {0, 1, 2, 3}
    assert applied["published"] == {"assignment_sha256": content["assignment_sha256"], "units": 12, "units_not_here": 0}
    assert outcome.counts["assignment"] == content["assignment_sha256"][:12]
    assert outcome.counts["fold"] == "2 of 4"
    assert [note for note in outcome.notes if "no positive slice" not in note] == []


def test_one_by_hand_needs_unit_and_assignment_only(experiment, publish):
    path, content = publish({"unit": "slice"}, lambda content: {key: content[key] for key in ("unit", "assignment")})
    outcome = split(experiment(split={"published": str(path), "unit": "slice"}))
    applied = json.loads(Workspace(experiment()).splits.read_text())
    assert outcome.counts["assignment"] == content["assignment_sha256"][:12]
    assert (applied["seed"], applied["folds"], applied["fold_of"]) == (None, None, None)


def more(content):
    content["assignment"] = content["assignment"] | {"ID_elsewhere": "test"}
    del content["assignment_sha256"]
    return content


def test_those_that_are_not_here_are_counted(experiment, publish):
    path, content = publish(change=more)
    outcome = split(experiment(split={"published": str(path)}))
    told = assignment_sha256(content["assignment"])[:12]
    assert outcome.notes[0] == f"1 of the 13 patients of the published split {told} are not here"
    assert outcome.notes[1:] == [
        "no positive slice of epidural in val: nothing to learn or measure there; add patients"
    ]
    applied = json.loads(Workspace(experiment()).splits.read_text())
    assert applied["published"]["assignment_sha256"][:12] == told != outcome.counts["assignment"]
    assert "ID_elsewhere" not in applied["assignment"]


def fewer(content):
    kept = dict(list(content["assignment"].items())[2:])
    return {"unit": "patient", "assignment": kept}


def test_errors_say_what_does_not_fit(experiment, publish, tmp_path):
    path, content = publish()
    config = experiment(split={"published": str(path)})
    for change, message in (
        (fewer(content), r"lacks 2 of the 12 patients here; it must hold all"),
        (content | {"unit": "slice"}, "is by slice, but split.unit is patient: set it to slice, or take a split by"),
        (content | {"assignment_sha256": "0" * 64}, "says assignment_sha256 000000000000, but .* it was changed"),
        (content | {"assignment": {"P": "tset"}}, r"must hold unit \(patient or slice\) and assignment"),
        (fewer(content) | {"assignment": dict.fromkeys(content["assignment"], "test")}, "no slice is in train"),
    ):
        path.write_text(json.dumps(change))
        with pytest.raises(DataError, match=message):
            split(config)
    path.write_text("{")
    with pytest.raises(
        DataError, match=r"published split .*published\.json is not valid JSON \(.*\); get the file again"
    ):
        split(config)
    path.unlink()
    with pytest.raises(DataError, match=r"published\.json cannot be read \(No such file or directory\); set split.pub"):
        split(config)
