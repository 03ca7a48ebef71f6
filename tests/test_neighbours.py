"""Three neighbouring slices as one image: who is whose neighbour, and what training and prediction see."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import ich.data
import ich.predict
from conftest import make_slice
from ich.config.read import validate
from ich.data import Manifest, Neighbours
from ich.detector import Predictions
from ich.dicom.header import SliceHeader
from ich.errors import ConfigError, DataError
from ich.labels import LABELS
from ich.neighbours import neighbours, read_slices, without_image
from ich.png import encode_png, read_pngs
from ich.predict import predict
from ich.prepare.sample import whole_series
from ich.slice_images import lines
from ich.stages import run_step
from ich.workspace import SPLITS, Workspace

WINDOWS = ((75, 215), (40, 80), (600, 2800))
SIZE = 64


def test_neighbours_along_two_series_in_any_order():
    table = pl.DataFrame({
        "series": ["a", "b", "a", None, "a", "b", "a", None, "c"],
        "slice_index": [4, 0, 0, 3, 1, 1, None, 4, 7],
    })  # fmt: skip
    assert neighbours(table).tolist() == [
        [4, 0, 0],  # the last of a; 2 and 3 are not there
        [1, 1, 5],
        [2, 2, 4],
        [3, 3, 3],  # no series
        [2, 4, 0],
        [1, 5, 5],
        [6, 6, 6],  # no place
        [7, 7, 7],  # no series, like row 3: they are not of one series
        [8, 8, 8],
    ]
    nothing = pl.DataFrame(schema={"series": pl.String, "slice_index": pl.Int32})
    assert neighbours(nothing).shape == (0, 3)


@pytest.fixture
def manifest(tmp_path):
    """Five slices of one series, each with other levels in each channel; in another order than along the series."""
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    paths = tuple(tmp_path / f"ID_{i}.png" for i in range(5))
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode_png(image))
    places = pl.DataFrame({"series": ["a"] * 5, "slice_index": [3, 0, 2, 4, 1]})  # along the series: 1 4 2 0 3
    slices = Manifest(tuple(path.stem for path in paths), paths, np.eye(5, 6, dtype=np.uint8))
    return slices.beside(Neighbours(paths, neighbours(places), 1)), images[..., 1]


def test_red_is_before_green_is_itself_blue_is_after(manifest, monkeypatch):
    slices, green = manifest
    decoded = []
    monkeypatch.setattr(ich.data, "read_pngs", lambda paths, size: decoded.extend(paths) or read_pngs(paths, size))
    seen = slices.read(np.array([0, 4, 1, 0]), SIZE)
    expected = [[2, 0, 3], [1, 4, 2], [1, 1, 4], [2, 0, 3]]
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, np.stack([np.stack([green[i] for i in three], axis=-1) for three in expected]))
    assert len(decoded) == len(set(decoded)) == 5


def test_a_subset_keeps_neighbours_that_are_not_in_it(manifest):
    slices, green = manifest
    positive = slices.take(np.array([3, 2]))
    assert (positive.ids, len(positive)) == (("ID_3", "ID_2"), 2)
    expected = [np.stack([green[i] for i in three], axis=-1) for three in ([0, 3, 3], [4, 2, 0])]
    assert np.array_equal(positive.read(np.arange(2), SIZE), np.stack(expected))


# Training and prediction


class Recorder:
    """Stands in for a trained detector, and keeps what it is given."""

    def __init__(self, window=0, model_input="neighbours"):
        self.card = SimpleNamespace(
            windows=WINDOWS, size=SIZE, aspect="pad", input=model_input, neighbours_window=window,
            model="convnext", file_sha256="0123",
        )  # fmt: skip
        self.members, self.seen = [self], []

    def predict(self, images):
        self.seen.extend(images)
        return Predictions(
            np.full((len(images), 6), 0.5, np.float32), np.ones(len(images), bool), np.zeros(len(images), bool)
        )


@pytest.fixture
def predicted(monkeypatch):
    """What the detector is given for each file, and the result: predicted(folder) -> images by ImageID, rows."""

    def run(folder, window=0, at_once=256):
        detector = Recorder(window)
        monkeypatch.setattr(ich.predict, "load_models", lambda models: detector)
        monkeypatch.setattr(ich.predict, "_AT_ONCE", at_once)
        order = []
        rows = ich.predict._predict_slices

        def spy(detector, calibration, group, paths):
            order.extend(paths[each.number].stem for each in group)
            return rows(detector, calibration, group, paths)

        with monkeypatch.context() as patch:
            patch.setattr(ich.predict, "_predict_slices", spy)
            result = predict([folder], [folder / "model.keras"])
        return dict(zip(order, detector.seen, strict=True)), result

    return run


def test_prediction_sees_the_bytes_that_training_sees(tmp_path, predicted):
    config = validate({
        "workspace": str(tmp_path), "steps": ["phantom", "index", "split", "sample", "preprocess", "train"],
        "phantom": {"patients": 12, "slices": [3, 9], "rows": 128, "masks": False},
        "sample": {"per_label": 0, "negatives": 0}, "split": {"fractions": [0.5, 0.25, 0.25]},
        "preprocess": {"size": SIZE, "workers": 1}, "train": {"input": "neighbours", "neighbours_window": 1},
    }, "test")  # fmt: skip
    workspace = Workspace(config)
    run_step("phantom", config)
    run_step("index", config)
    for image_id in pl.read_csv(workspace.root / "files_without_labels.csv")["ImageID"]:  # training never sees them
        (workspace.phantom / "stage_2_train" / f"{image_id}.dcm").unlink()
    index = pl.read_parquet(workspace.index)
    longest = index.filter(pl.col("series") == index["series"].value_counts().sort("count")["series"][-1])
    damaged = longest.filter(slice_index=len(longest) // 2).row(0, named=True)
    content = workspace.phantom / "stage_2_train" / f"{damaged['ImageID']}.dcm"
    content.write_bytes(content.read_bytes()[:-100])  # its header can be read, its pixels cannot
    for step in ("index", "split", "sample", "preprocess"):
        run_step(step, config)

    seen, result = predicted(workspace.phantom / "stage_2_train", window=1)
    compared = 0
    for split in SPLITS:
        slices = read_slices(workspace, split)
        for image_id, image in zip(slices.ids, slices.read(np.arange(len(slices)), SIZE), strict=True):
            assert np.array_equal(image, seen[image_id]), image_id
            compared += 1
    assert compared == len(seen) == len(result.rows) > 40
    assert damaged["ImageID"] not in seen
    assert any(damaged["ImageID"] in path for path, _ in result.unreadable)
    around = [longest.filter(slice_index=damaged["slice_index"] + step)["ImageID"][0] for step in (-1, 1)]
    assert np.array_equal(seen[around[0]][..., 2], seen[around[1]][..., 1])  # the next one that can be read
    assert np.array_equal(seen[around[1]][..., 0], seen[around[0]][..., 1])
    assert without_image(workspace)[0].startswith("2 of ")


def level(number):
    image = np.full((SIZE, SIZE), 1024 + 10 * number, np.int16)
    image[0, 0] = 0  # a slice of one value throughout is not an image
    return image


@pytest.fixture
def mixed(tmp_path):
    """A series of seven whose names run against their places, with a localizer; a second series; one without a name."""
    folder = tmp_path / "dicom"
    for number in range(7):
        make_slice(folder / f"a{9 - number}.dcm", level(number), ImagePositionPatient=[0, 0, 5.0 * number])
    scout = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    make_slice(folder / "a0.dcm", level(8), **scout)
    for number in range(2):
        make_slice(
            folder / f"b{number}.dcm", level(number), SeriesInstanceUID="b", ImagePositionPatient=[0, 0, 5.0 * number]
        )
        make_slice(
            folder / f"c{number}.dcm", level(number), SeriesInstanceUID=None, ImagePositionPatient=[0, 0, 5.0 * number]
        )
    return folder


def test_neighbours_reach_over_groups_and_not_over_series(mixed, predicted):
    (mixed / "a7.dcm").write_bytes((mixed / "a7.dcm").read_bytes()[:-9])  # number 2
    (mixed / "b0.dcm").write_text("not dicom")
    by_groups = [predicted(mixed, at_once=at_once) for at_once in (256, 3, 1)]
    alone = {image_id: image[1, 1, 1] for image_id, image in by_groups[0][0].items()}  # the middle channel is its own
    for seen, result in by_groups:
        told = {image_id: image[1, 1].tolist() for image_id, image in seen.items()}
        assert told == {
            image_id: [alone[other] for other in three.split()]
            for image_id, three in {
                "a9": "a9 a9 a8", "a8": "a9 a8 a6", "a6": "a8 a6 a5", "a5": "a6 a5 a4", "a4": "a5 a4 a3",
                "a3": "a4 a3 a3", "a0": "a0 a0 a0", "b1": "b1 b1 b1", "c0": "c0 c0 c0", "c1": "c1 c1 c1",
            }.items()
        }  # fmt: skip
        assert [path[-6:-4] for path, _ in result.unreadable] == ["a7", "b0"]
        assert [row["file"][-6:-4] for row in result.rows] == [
            "a9",
            "a8",
            "a6",
            "a5",
            "a4",
            "a3",
            "a0",
            "b1",
            "c0",
            "c1",
        ]


def test_slices_at_one_place_are_neighbours_in_the_order_of_the_files():
    def header(series, place):
        values = dict.fromkeys(SliceHeader.__dataclass_fields__) | {
            "series": series, "orientation": (1, 0, 0, 0, 1, 0), "position": None if place is None else (0, 0, place),
        }  # fmt: skip
        return SliceHeader(**values)

    headers = {
        0: header("a", 5.0), 2: header("b", 1.0), 3: header("a", 0.0), 4: header("a", 5.0), 5: header(None, 0.0),
        6: header("a", None),
    }  # fmt: skip
    assert list(lines(headers)) == [[3, 0, 4], [6], [2], [5]]


# What is refused


@pytest.fixture
def ledgers(experiment):
    """A workspace of ledgers and tables only, of one series: ledgers(index, statuses by ImageID, split tables)."""

    def write(indexed, prepared, **tables):
        config = experiment(train={"input": "neighbours"}, augment={"target": 0})
        workspace = Workspace(config)
        workspace.root.mkdir()
        for path, rows in ((workspace.index, dict.fromkeys(indexed, "ok")), (workspace.slices, prepared)):
            place = pl.Series([indexed.index(image_id) for image_id in rows], dtype=pl.Int32)
            table = pl.DataFrame({"ImageID": list(rows), "status": list(rows.values())})
            table.with_columns(series=pl.lit("a"), slice_index=place).write_parquet(path)
        for split, ids in tables.items():
            workspace.images(split).mkdir()
            for image_id in ids:
                (workspace.images(split) / f"{image_id}.png").touch()
            labels = pl.DataFrame({"ImageID": ids} | {label: [0] * len(ids) for label in LABELS})
            labels.write_csv(workspace.table(split))
        return workspace

    return write


def test_neighbours_that_were_not_prepared_are_refused_with_the_fix_and_a_few_unreadable_ones_told(ledgers):
    ids = [f"ID_{i:03}" for i in range(201)]
    # 200 steps, 400 neighbours in all. Without ID_100 two of 398 are not there: half a per cent.
    workspace = ledgers(ids, dict.fromkeys(ids, "ok"), train=ids)
    assert without_image(workspace) == []

    def prepare(statuses):
        pl.read_parquet(workspace.index).filter(pl.col("ImageID").is_in(list(statuses))).with_columns(
            status=pl.col("ImageID").replace_strict(statuses)
        ).write_parquet(workspace.slices)

    prepare({image_id: "ok" for image_id in ids if image_id != "ID_100"})
    assert without_image(workspace) == [
        "2 of 398 neighbours have no image: the next slice that has one stands for each"
    ]
    prepare({image_id: "quarantined" if i % 2 else "repaired" for i, image_id in enumerate(ids)})
    assert without_image(workspace)[0].startswith("200 of 200 neighbours have no image")
    prepare({image_id: "ok" for i, image_id in enumerate(ids) if i % 40})  # 0, 40, ..., 200 were not sampled
    with pytest.raises(
        DataError, match=r"10 of the 390 neighbours in split train .* not prepared; set sample.whole_series: true"
    ):
        without_image(workspace)


def test_whole_series_of_validation_and_test_hide_no_sampled_training_slice(ledgers):
    ids = [f"ID_{i:04}" for i in range(2000)]
    train, val, test = ids[:50], ids[50:1000], ids[1000:]
    prepared = dict.fromkeys([train[10], *val, *test], "ok")  # two of 3,900 neighbours: a twentieth of a per cent
    workspace = ledgers(ids, prepared, train=train[10:11], val=val, test=test)
    with pytest.raises(DataError, match="2 of the 2 neighbours in split train that index.parquet knows were not"):
        without_image(workspace)


def test_neighbours_come_from_the_same_split_only(ledgers):
    ids = [f"ID_{letter}" for letter in "abcd"]
    workspace = ledgers(ids, dict.fromkeys(ids, "ok"), train=["ID_a", "ID_c"], val=["ID_b", "ID_d"])
    slices = read_slices(workspace, "train")
    assert [path.stem for path in slices.neighbours.paths] == ["ID_a", "ID_c"]
    assert slices.neighbours.rows.tolist() == [[0, 0, 1], [0, 1, 1]]


def test_augmented_images_are_refused_with_the_fix(ledgers):
    workspace = ledgers(list("ab"), dict.fromkeys("ab", "ok"), train=["ID_a", "ID_a_aug_0"])
    with pytest.raises(DataError, match=r"holds 1 augmented images.*augment.target: 0 \(train.sampling: balanced"):
        read_slices(workspace, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": {"unit": "slice"}}, "split.unit is slice, .* set split.unit: patient, or train.input: windows"),
        ({"augment": {"target": 9}}, "augment.target is 9, .* augment.target: 0 .* or train.input: windows"),
        ({"steps": ["preprocess", "train"]}, "index, .* is not in steps; add it, or train.input: windows"),
        ({"sample": {"whole_series": True, "scope": "all"}, "steps": ["sample", "index"]}, "must come before sample"),
    ],
)
def test_configs_that_cannot_have_neighbours(experiment, change, message):
    plain = {"train": {"input": "neighbours"}, "augment": {"target": 0}}
    experiment(**plain)
    with pytest.raises(ConfigError, match=message) as error:
        experiment(**plain | change)
    assert len(str(error.value).splitlines()) == 1


def test_whole_series_adds_the_rest_of_each_series_that_was_drawn():
    ids = list("abcdefg")
    pool = pl.DataFrame({"ImageID": ids, "any": [0] * 7})
    index = pl.DataFrame({"ImageID": ["x", *ids], "series": ["1", "1", "1", "2", "2", None, None, "3"]})
    assert whole_series(pool, pool[[1, 4]], index)["ImageID"].to_list() == ["a", "b", "e"]  # x has no labels
    assert whole_series(pool, pool[[2, 6]], index)["ImageID"].to_list() == ["c", "d", "g"]


def test_a_step_samples_whole_series(experiment, small_dataset):
    few = {"scope": "all", "per_label": 1, "negatives": 1}
    steps = ["index", "sample"]
    run_step("index", experiment(sample=few, steps=steps))
    run_step("sample", experiment(sample=few, steps=steps))
    config = experiment(sample=few | {"whole_series": True}, steps=steps)
    drawn = pl.read_csv(Workspace(config).sampled)["ImageID"].to_list()
    outcome = run_step("sample", config)
    series = {image_id[:7] for image_id in drawn}
    taken = pl.read_csv(Workspace(config).sampled)["ImageID"].to_list()
    assert taken == [image_id for image_id in small_dataset if image_id[:7] in series]
    assert outcome.counts["added, the rest of their series"] == len(taken) - len(drawn) > 0
