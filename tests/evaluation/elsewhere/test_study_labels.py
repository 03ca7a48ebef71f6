import pytest

from ich.errors import DataError
from ich.evaluation.elsewhere.study_labels import read_study_labels, study_key
from ich.labels import LABELS, SUBTYPES

FINDINGS = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left")  # the file's order
CT_ICH = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,"
    "Fracture_Yes_No\n"
)
TABLE = f"study,{','.join(LABELS)}\n"


def cq500(tmp_path, *studies):
    """Each study is three readers' strings of ICH IPH IVH SDH EDH SAH."""
    header = ",".join(["name", "Category", *(f"R{reader}:{what}" for reader in (1, 2, 3) for what in FINDINGS)])
    rows = [
        f"CQ500-CT-{number},B1," + ",".join(",".join([*read.replace("-", " "), "0"]) for read in study)
        for number, study in enumerate(studies)
    ]
    return written(tmp_path, "\n".join([header, *rows]))


def written(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def known(table, label):
    return table[label].to_list()


def test_cq500_is_what_two_of_three_readers_say(tmp_path):
    labels = read_study_labels(
        cq500(
            tmp_path,
            ("110000", "110000", "000000"),  # two say intraparenchymal
            ("110000", "100100", "100001"),  # all say bleed, no two of one kind
            ("000000", "000000", "000000"),
            ("-10000", "10000-", "0-0000"),  # any: one yes, one no, one unknown
            ("010000", "010000", "100000"),  # no two say bleed, two say of what kind
        )
    )
    assert labels.form == "CQ500"
    assert known(labels.table, "study") == [f"CQ500-CT-{number}" for number in range(5)]
    assert known(labels.table, "any") == [True, True, False, None, False]
    assert known(labels.table, "intraparenchymal") == [True, False, False, None, True]
    assert known(labels.table, "subarachnoid") == [False, False, False, False, False]  # two zeros outvote the unknown
    assert (labels.any_alone, labels.subtype_alone) == (1, 1)
    found = labels.agreement["any"]
    assert (found["studies"], found["unanimous_positive"], found["unanimous_negative"], found["split"]) == (4, 1, 1, 2)
    assert labels.agreement["epidural"]["undefined"] == "the readers gave one answer throughout"


def test_ct_ich_is_collapsed_to_patients(tmp_path):
    labels = read_study_labels(
        written(tmp_path, CT_ICH + "49,1,0,0,0,0,0,1,0\n49,2,1,0,0,0,,0,1\n50,1,0,0,0,0,0,1,0\n51,1,0,0,0,,0,,0\n")
    )
    assert labels.form == "CT-ICH"
    assert known(labels.table, "study") == known(labels.table, "patient") == ["49", "50", "51"]
    assert known(labels.table, "intraventricular") == [True, False, False]
    assert known(labels.table, "subdural") == [None, False, False]  # one slice is unknown, none is positive
    assert known(labels.table, "any") == [True, False, None]
    with pytest.raises(DataError, match=r"row 2: No_Hemorrhage is 1 beside a subtype \(1 such rows\)"):
        read_study_labels(written(tmp_path, CT_ICH + "49,1,0,0,0,0,0,1,0\n49,2,0,0,0,1,0,1,0\n"))


def test_a_table_of_studies_with_and_without_any(tmp_path):
    labels = read_study_labels(
        written(tmp_path, TABLE + "A,1,1,0,0,0,0\n\nB,0,0,0,0,0,0\nC,1,0,0,0,0,0\nD,,,,,,\n,,,,,,\n")
    )
    assert labels.table["any"].to_list() == [True, False, True, None]
    assert (labels.form, labels.agreement, labels.any_alone) == ("table", None, 1)
    labels = read_study_labels(
        written(tmp_path, f"study,patient,{','.join(SUBTYPES)}\nA,P,1.0,NA,0,0,0\nB,P,0,,0,0,0\nC,Q,0,0,0,0,0\n")
    )
    assert labels.table["any"].to_list() == [True, None, False]
    assert labels.table["patient"].to_list() == ["P", "P", "Q"]
    assert labels.table["row"].to_list() == [1, 2, 3]


PATIENTS = ("", " ", '" "', "P")


def test_blank_patients_are_not_one_patient(tmp_path):
    rows = "".join(f"{study},{patient},0,0,0,0,0\n" for study, patient in zip("ABCD", PATIENTS, strict=True))
    labels = read_study_labels(written(tmp_path, f"study,Patient,{','.join(SUBTYPES)}\n{rows}"))
    assert labels.table["patient"].to_list() == [None, None, None, "P"]
    assert not labels.by_patient


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE + "A,0,1,0,0,0,0\n", "row 1: any is 0 beside a subtype"),
        (TABLE + "A-1,0,0,0,0,0,0\na1,0,0,0,0,0,0\n", "row 2: the study of row 1 again"),
        (TABLE + "A,0,0,0,0.4,0,0\n", "row 1: intraventricular must be 0, 1 or empty, got '0.4'"),
        (TABLE + ",0,0,0,0,0,0\n", "row 1: study is empty"),
        (TABLE, "it has a header but no rows"),
        ("", "it is empty"),
        ("study,Any,any\nA,0,0\n", "the column any twice"),
        ("study,any\nA,0\n", "lack the column epidural, intraparenchymal"),
        ("who,any\nA,0\n", r"have no column study \(they have who, any\)"),
        ("name,R1:ICH\nA,0\n", "lack the column r1:edh, .*r3:sdh"),
    ],
)
def test_what_is_not_labels_by_study_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_study_labels(written(tmp_path, text))


def test_names_of_studies_and_of_their_folders():
    assert study_key("CQ500-CT-0") == study_key("CQ500CT0 CQ500CT0") == study_key("cq500ct0") == "CQ500CT0"
    assert study_key("049") == study_key("49") == "49"
    assert study_key("000") == "0"
    assert study_key("49 50") == "4950"
