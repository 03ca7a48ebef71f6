import numpy as np
import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation.elsewhere.scored import on_labels, on_splits
from ich.labels import LABELS

DRAW = np.random.default_rng(5)
NAMES = ",".join(LABELS)


def wide(ids, column="ImageID", **more):
    values = {label: DRAW.random(len(ids)).round(3) for label in LABELS}
    return pl.DataFrame({column: ids, **more, **values})


def labels(ids, positive=(), **more):
    truth = {label: [int(label in ("any", "subdural") and each in positive) for each in ids] for label in LABELS}
    return pl.DataFrame({"ImageID": ids, **more, **truth})


def saved(tmp_path, name, table):
    table.write_csv(tmp_path / name)
    return tmp_path / name


IDS = ["ID_a", "ID_b", "ID_c"]


def test_splits_of_a_workspace(tmp_path):
    """Rows come in the order of the labels, with the workspace's patients; the rest of the file is counted."""
    found = wide(["c.dcm", "a", "ID_b", "z"], patient=["x"] * 4)
    val = labels(["ID_c"], patient=["q"], study=["t"], series=["u"])
    tables = {"val": val, "test": labels(["ID_b", "ID_a"], ["ID_b"], patient="p", study="s", series=["r", None])}
    both = on_splits(saved(tmp_path, "p.csv", found), tables)
    test = both["test"]
    assert (test.level, test.ids.tolist(), test.patients.tolist()) == ("slice", ["ID_b", "ID_a"], ["p", "p"])
    assert test.series.tolist() == ["r", "ID_a"]
    np.testing.assert_array_equal(test.probabilities, found.select(LABELS).to_numpy()[[2, 1]])
    np.testing.assert_array_equal(test.truth[:, 0], [True, False])
    assert test.known.all()
    assert (test.patients_known, test.extra, both["val"].extra) == (True, 1, 1)
    assert test.incoherent == int((test.probabilities[:, :1] < test.probabilities[:, 1:]).any(axis=1).sum())


def test_what_does_not_fit_is_refused(tmp_path):
    def refused(found, truth, message):
        with pytest.raises(DataError, match=message):
            on_splits(saved(tmp_path, "p.csv", found), {"test": labels(truth, patient="p", study="s", series="r")})

    refused(wide(["ID_a"]), IDS, "2 of 3 labelled images have no prediction, e.g. ID_b, ID_c")
    refused(wide(["1.2.3"]), IDS, "none of the 3 .* labels name ID_a, predictions ID_1.2.3; do the two files belong")
    refused(wide(["A"], "study"), IDS, "predictions are by study, the labels by image")
    refused(wide(IDS, split=["test", "train", "test"]), IDS, "1 of the predictions .* of split train by their own")
    refused(wide(["x/ID_a.dcm", "y/ID_a.dcm"], "file"), ["ID_a"], r"several predictions, e.g. ID_a \(x/ID_a.dcm, y/")


def test_labels_by_image_with_and_without_patients(tmp_path):
    predictions = saved(tmp_path, "p.csv", wide(IDS))
    alone = on_labels(predictions, saved(tmp_path, "l.csv", labels(IDS)))
    assert (alone.patients_known, alone.patients.tolist()) == (False, IDS)
    told = on_labels(predictions, saved(tmp_path, "l.csv", labels(IDS, patient=["p", "p", ""])))
    assert (told.patients_known, told.patients.tolist()) == (True, ["p", "p", "ID_c"])
    by_predictions = on_labels(
        saved(tmp_path, "q.csv", wide(IDS, patient=["p", "q", "q"])), saved(tmp_path, "l.csv", labels(IDS))
    )
    assert by_predictions.patients.tolist() == ["p", "q", "q"]
    long = "ID,Label\n" + "".join(f"{each}_{label},0\n" for each in IDS for label in LABELS)
    (tmp_path / "long.csv").write_text(long)
    np.testing.assert_array_equal(on_labels(predictions, tmp_path / "long.csv").probabilities, alone.probabilities)


CQ500 = "name," + ",".join(f"R{r}:{what}" for r in (1, 2, 3) for what in ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH"))


def test_cq500_by_folder_and_by_study(tmp_path):
    """A study has the largest probability of its slices, whichever way its name is told."""
    (tmp_path / "reads.csv").write_text(
        f"{CQ500}\nCQ500-CT-10,{'1,1,0,0,0,0,' * 3}\nCQ500-CT-1,{'0,' * 18}\n".replace(",\n", "\n")
    )
    files = [f"/d/CQ500CT{n} CQ500CT{n}/Unknown Study/CT Plain/CT{k:06}.dcm" for n in (1, 10, 7) for k in range(2)]
    found = wide(files, "file")
    result = on_labels(saved(tmp_path, "p.csv", found), tmp_path / "reads.csv")
    assert (result.level, result.ids.tolist(), result.extra) == ("study", ["CQ500-CT-10", "CQ500-CT-1"], 2)
    values = found.select(LABELS).to_numpy()
    np.testing.assert_array_equal(result.probabilities, [values[2:4].max(axis=0), values[:2].max(axis=0)])
    np.testing.assert_array_equal(result.truth, [[1, 0, 1, 0, 0, 0], [0] * 6])
    assert result.unanimous.all()
    assert result.agreement["any"]["fleiss_kappa"] == 1
    by_study = wide(["CQ500CT10", "CQ500-CT-1"], "name")
    result = on_labels(saved(tmp_path, "p.csv", by_study), tmp_path / "reads.csv")
    np.testing.assert_array_equal(result.probabilities, by_study.select(LABELS).to_numpy())


def test_ct_ich_by_patient_and_unknown_labels(tmp_path):
    header = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage"
    (tmp_path / "l.csv").write_text(f"{header}\n49,1,0,0,0,1,0,0\n49,2,,0,0,0,0,1\n50,1,0,0,0,0,0,1\n")
    found = wide(["a", "b", "c"], patient=["049", "49", "50"])
    result = on_labels(saved(tmp_path, "p.csv", found), tmp_path / "l.csv")
    assert (result.level, result.ids.tolist(), result.patients.tolist()) == ("study", ["49", "50"], ["49", "50"])
    assert result.known.tolist() == [[True, True, True, False, True, True], [True] * 6]
    assert not result.truth[~result.known].any()
    np.testing.assert_array_equal(result.probabilities[0], found.select(LABELS).to_numpy()[:2].max(axis=0))
    assert (result.agreement, result.unanimous) == (None, None)


def test_studies_that_do_not_fit(tmp_path):
    (tmp_path / "l.csv").write_text(f"study,{NAMES}\n" + "".join(f"S-{n},0,0,0,0,0,0\n" for n in range(4)))

    def scored(found, subset=False):
        return on_labels(saved(tmp_path, "p.csv", found), tmp_path / "l.csv", subset)

    some = wide(["S0", "S1"], "study")
    with pytest.raises(DataError, match="2 of 4 labelled studies have no prediction, e.g. S-2, S-3"):
        scored(some)
    result = scored(some, subset=True)
    assert (result.ids.tolist(), result.notes[-1][:9]) == (["S-0", "S-1"], "2 studies")
    for subset in (False, True):
        with pytest.raises(DataError, match="none of the 4 labelled studies .* labels name S-0, predictions T0"):
            scored(wide(["T0"], "study"), subset)
    with pytest.raises(DataError, match="fits the studies S-0 and S-1"):
        scored(wide(["S0/S1/a.dcm"], "file"))
    with pytest.raises(DataError, match="S-0 and S0 of the predictions are both study S-0"):
        scored(wide(["S-0", "S0"], "study"))
