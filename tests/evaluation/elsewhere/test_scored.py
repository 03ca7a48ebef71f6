import os

import numpy as np
import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation.elsewhere.scored import Elsewhere, on_labels, on_splits
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

    refused(wide(["ID_a"]), IDS, r"2 of 3 labelled images have no prediction in .*p\.csv, e.g. ID_b, ID_c")
    refused(wide(["1.2.3"]), IDS, "none of the 3 .* labels name ID_a, predictions ID_1.2.3; do the two files belong")
    refused(wide(["A"], "study"), IDS, r"predictions .*p\.csv are by study, the labels by image")
    refused(wide(IDS, split=["test", "train", "test"]), IDS, "1 of the predictions .* of split train by their own")
    refused(wide(["x/ID_a.dcm", "y/ID_a.dcm"], "file"), ["ID_a"], r"several predictions, e.g. ID_a \(x/ID_a.dcm, y/")


def test_labels_by_image_with_and_without_patients(tmp_path):
    predictions = saved(tmp_path, "p.csv", wide(IDS))
    alone = on_labels(predictions, saved(tmp_path, "l.csv", labels(IDS)))
    assert (alone.patients_known, alone.patients.tolist()) == (False, IDS)
    told = on_labels(predictions, saved(tmp_path, "l.csv", labels(IDS, patient=["p", "p", ""])))
    assert (told.patients_known, told.patients.tolist()) == (False, ["p", "p", "ID_c"])
    assert told.notes == ("Patients are known of 2 of 3 slices only: counted as unknown.",)
    assert (alone.notes, alone.series_known) == ((), False)
    by_predictions = on_labels(
        saved(tmp_path, "q.csv", wide(IDS, patient=["p", "q", "q"])), saved(tmp_path, "l.csv", labels(IDS))
    )
    assert (by_predictions.patients_known, by_predictions.patients.tolist()) == (True, ["p", "q", "q"])
    blank = on_labels(predictions, saved(tmp_path, "l.csv", labels(IDS, patient=[" "] * 3, series=[" ", "s", ""])))
    assert (blank.patients_known, blank.series_known, blank.notes) == (False, True, ())
    assert blank.series.tolist() == ["ID_a", "s", "ID_c"]
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
    assert result.notes[0] == "Labels are of whole studies, from CQ500."
    assert result.notes[1].startswith("Patients are not known: each study counts as a patient of its own")
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
    assert (result.agreement, result.series_known) == (None, False)


def test_studies_that_do_not_fit(tmp_path):
    (tmp_path / "l.csv").write_text(f"study,{NAMES}\n" + "".join(f"S-{n},0,0,0,0,0,0\n" for n in range(4)))

    def scored(found):
        return on_labels(saved(tmp_path, "p.csv", found), tmp_path / "l.csv")

    some = wide(["S0", "S1"], "study")
    with pytest.raises(DataError, match=r"2 of 4 labelled studies have no prediction in .*p\.csv, e.g. S-2, S-3"):
        scored(some)
    with pytest.raises(DataError, match="none of the 4 labelled studies .* labels name S-0, predictions T0"):
        scored(wide(["T0"], "study"))
    with pytest.raises(DataError, match=r"none of the 4 labelled studies has a prediction in .*p\.csv; do the two"):
        scored(wide(["Ann Lee"], "patient"))  # whose name is not told
    with pytest.raises(DataError, match="fits two studies of the labels, S-0 and S-1, by"):
        scored(wide(["S0/S1/a.dcm"], "file"))
    with pytest.raises(DataError, match=r"are of one study of the labels, S-0 \(2 such rows\)"):
        scored(wide(["S-0", "S0"], "study"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (wide(["Ann Lee", "Bo-Li"], "patient"), r"1 of 3 labelled studies .*p\.csv, e.g. that of row 3; predict"),
        (wide(["Dee Poe"], "patient"), r"none of the 3 labelled studies has a prediction in .*p\.csv; do the two"),
        (wide(["/d/Dee Poe/a.dcm"], "file"), r"none of the 3 .*p\.csv; do the two"),
        (wide(["Bo Li/Ann Lee/a.dcm"], "file"), "two studies of the labels, that of row 2 and that of row 1, by"),
        (wide(["Bo Li", "Bo-Li"], "patient"), r"one study of the labels, that of row 2 \(2 such rows\)"),
    ],
)
def test_no_message_names_a_patient(tmp_path, found, message):
    (tmp_path / "l.csv").write_text(f"patient,{NAMES}\nAnn Lee,0,0,0,0,0,0\nBo Li,0,0,0,0,0,0\nCy Roe,0,0,0,0,0,0\n")
    with pytest.raises(DataError, match=message) as caught:
        on_labels(saved(tmp_path, "p.csv", found), tmp_path / "l.csv")
    assert not any(name in str(caught.value) for name in ("Ann", "Bo", "Cy", "Dee"))


def test_studies_without_a_patient_are_patients_of_their_own(tmp_path):
    (tmp_path / "l.csv").write_text(f"study,patient,{NAMES}\nA, ,1,0,0,0,0,0\nB,,1,1,0,0,0,0\nC,P,0,0,0,0,0,0\n")
    found = wide(["A", "B", "C"], "study", patient=[" ", "", None])
    result = on_labels(saved(tmp_path, "p.csv", found), tmp_path / "l.csv")
    assert (result.patients.tolist(), result.patients_known) == (["A", "B", "P"], True)
    assert result.notes[:2] == (
        "Labels are of whole studies, from a table with a row a study.",
        "1 study has any, but no subtype.",
    )
    assert result.notes[2].startswith("The patients of 2 studies are not known")


def test_label_files_of_spreadsheets(tmp_path):
    """Columns in any case and order; what is wrong with them is said to a user, not to a step of ours."""
    predictions = saved(tmp_path, "p.csv", wide(IDS))
    right = labels(IDS, ["ID_b"], patient=["p", "q", "r"])
    plain = on_labels(predictions, saved(tmp_path, "l.csv", right))
    for image in ("IMAGEID", "image_id", "Id"):
        other = right.rename({"ImageID": image} | {name: name.title() for name in ("patient", *LABELS)})
        found = on_labels(predictions, saved(tmp_path, "l.csv", other.select(reversed(other.columns))))
        assert (found.ids.tolist(), found.patients.tolist()) == (IDS, ["p", "q", "r"])
        np.testing.assert_array_equal(found.truth, plain.truth)
    long = right.unpivot(LABELS, index="ImageID").select(id=pl.format("{}_{}", "ImageID", "variable"), LABEL="value")
    np.testing.assert_array_equal(on_labels(predictions, saved(tmp_path, "l.csv", long)).truth, plain.truth)

    def refused(content, message):
        path = tmp_path / "l.csv"
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            on_labels(predictions, path)
        assert "run the step" not in str(caught.value)
        assert "truncate_ragged_lines" not in str(caught.value)

    text = right.write_csv()
    refused(text.encode("utf-16"), r"l\.csv is UTF-16; save it as UTF-8")
    refused(text.replace(",", ";").encode(), "its columns are parted by ;: save it with commas")
    refused(
        text.replace("ID_a,p,0", "\nID_a,p,7").encode(), r"row 2: labels must be 0 or 1 \(1 such rows\); correct it"
    )
    refused(text.replace("ID_a,p,0", "ID_a,p,").encode(), "row 1: labels must be 0 or 1")
    refused(text.replace("subdural", "sdh").encode(), "lacks the column subdural; correct it")
    refused(f"{text}ID_d,s{',0' * 7}\n".encode(), "cannot be read as CSV")
    for path, message in [
        (tmp_path, "it is a folder"), (tmp_path / "no.csv", "it does not exist"),
        (tmp_path / os.fsdecode(b"\xff.csv"), r"\\xff\.csv: its name is not UTF-8; rename it"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=message):
            on_labels(predictions, path)


def test_incoherent_counts_the_rows_that_are_scored():
    probabilities = np.full((4, 6), 0.5)
    probabilities[1:3, 4] = 0.6
    names = np.array(list("abcd"))
    given = Elsewhere("slice", names, names, names, probabilities > 1, probabilities < 1, probabilities, True, True, 0)
    assert given.incoherent == 2
    assert given._replace(probabilities=probabilities[:2]).incoherent == 1
