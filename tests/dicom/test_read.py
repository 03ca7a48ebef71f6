import warnings

import numpy as np
import pytest

from ich.dicom.read import read_header, read_slice
from ich.errors import UnreadableSlice
from transfer_syntaxes import LOSSLESS, encode

AIR_AND_BRAIN = np.where(np.add.outer(np.arange(32), np.arange(32)) % 7 < 3, 24, 1064)


def test_hu_and_header(dicom_slice):
    ct = read_slice(dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16)))
    np.testing.assert_array_equal(ct.hu, AIR_AND_BRAIN - 1024)
    assert ct.header.patient == "ID_00000001"
    assert (ct.header.position, ct.header.normal) == ((-125, -125, 0), (0, 0, 1))
    assert ct.header.pixel_spacing == (0.488, 0.488)
    assert ct.header.signed


def test_invalid_uids_do_not_warn(dicom_slice):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16), SOPInstanceUID="ID_0a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path).instance == "ID_0a"


@pytest.mark.parametrize(
    ("before", "after", "keyword"),
    [
        (b"\x28\0\x08\0IS\2\x001 ", b"\x28\0\x08\0IS\x90\1" + b"9" * 400, "frames"),  # more than a float holds
        (b"\x28\0\x10\0US\2\0\x20\0", b"\x28\0\x10\0UL\4\0\xff\xff\xff\xff", "rows"),  # more than a column holds
        (b"\x28\0\x10\0US\2\0\x20\0", b"\x28\0\x10\0DS\6\x001e300 ", "rows"),
        (b"\x10\0\x20\0LO\x0c\0ID_00000001 ", b"\x10\0\x20\0UT\0\0\0\0\x10\0" + b"A" * 2**20, "patient"),
    ],
    ids=["400 digits", "32 bits", "1e300", "an id of a megabyte"],
)
def test_values_that_nothing_can_hold_are_as_good_as_none(dicom_slice, before, after, keyword):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16), NumberOfFrames=1)
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))
    assert getattr(read_header(path), keyword) is None


def test_two_valued_and_textual_numbers(dicom_slice):
    path = dicom_slice(
        "ID_0a", AIR_AND_BRAIN.astype(np.uint16), RescaleSlope="1.000000", RescaleIntercept="-1024.000000",
        WindowCenter=["00040", "00040"], WindowWidth=["00080", "00080"],
    )  # fmt: skip
    assert read_slice(path).hu.max() == 40


def test_the_normal_of_a_tilted_slice(dicom_slice):
    angle = np.radians(18.5)
    path = dicom_slice(
        "ID_0a", AIR_AND_BRAIN.astype(np.int16), ImagePositionPatient=[0, 0, 10],
        ImageOrientationPatient=[1, 0, 0, 0, np.round(np.cos(angle), 8), np.round(-np.sin(angle), 8)],
    )  # fmt: skip
    assert read_header(path).normal == pytest.approx((0, np.sin(angle), np.cos(angle)), abs=1e-6)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_transfer_syntaxes_give_the_same_hu(dicom_slice, syntax, dtype):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(dtype))
    encode(path, syntax)
    ct = read_slice(path)
    assert ct.header.transfer_syntax == read_header(path).transfer_syntax == syntax
    np.testing.assert_array_equal(ct.hu, AIR_AND_BRAIN - 1024)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "MR"}, "modality is MR, not CT"),
        ({"Modality": None}, "modality is missing"),
        ({"RescaleIntercept": None}, "RescaleIntercept is missing"),
        ({"RescaleSlope": 0}, "missing, 0 or negative"),
        ({"RescaleSlope": "1e10"}, "cannot be right"),
        ({"RescaleIntercept": "5e9"}, "cannot be right"),
        ({"PixelRepresentation": None}, "PixelRepresentation is not 0 or 1"),
        ({"PixelRepresentation": 2}, "PixelRepresentation is not 0 or 1"),
        ({"Rows": 0}, "Rows is 0"),
        ({"Rows": 60000}, "Rows is 60000"),
        ({"BitsStored": 17}, "cannot be right"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3"),
        ({"NumberOfFrames": 5}, "more than one frame"),
        ({"PixelData": None}, "no pixel data"),
        ({"PixelData": b""}, "no pixel data"),
        ({"PixelData": b"\0" * 1000}, "holds 1,000 of 2,048 pixel bytes"),
    ],
)
def test_what_is_not_a_ct_slice_is_refused_with_the_reason(dicom_slice, tags, reason):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16), **tags)
    with pytest.raises(UnreadableSlice, match=reason):
        read_slice(path)


@pytest.mark.parametrize("length", [0, 100, 131, 140, 400])
def test_a_file_cut_off_anywhere_is_refused(dicom_slice, length):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UnreadableSlice):
        read_slice(path)


def test_not_dicom_and_not_there(tmp_path):
    (tmp_path / "a.dcm").write_text("hello " * 100)
    with pytest.raises(UnreadableSlice, match="not a DICOM file"):
        read_slice(tmp_path / "a.dcm")
    with pytest.raises(UnreadableSlice, match="No such file"):
        read_slice(tmp_path / "b.dcm")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"RescaleIntercept": 99999}, "no pixel is below 32767 HU|all pixels are 32767 HU"),
        ({"RescaleSlope": 1e-9, "RescaleIntercept": 0}, "RescaleSlope 1e-09, RescaleIntercept 0 cannot be right"),
        ({"RescaleSlope": 100}, "RescaleSlope 100, RescaleIntercept -1024 cannot be right"),
        ({"RescaleIntercept": -3000}, "all pixels are under -1024 HU"),
        ({"RescaleSlope": -1}, "missing, 0 or negative"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR; a CT slice is MONOCHROME2"),
    ],
)
def test_what_cannot_be_hounsfield_units_is_refused(dicom_slice, tags, reason):
    with pytest.raises(UnreadableSlice, match=reason):
        read_slice(dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16), **tags))


def test_a_slice_of_air_is_a_slice(dicom_slice):
    assert set(read_slice(dicom_slice("ID_0a", np.zeros((32, 32), np.int16))).hu.ravel()) == {-1024}


def test_control_characters_in_names_become_blanks(dicom_slice):
    path = dicom_slice("ID_0a", AIR_AND_BRAIN.astype(np.int16), SeriesInstanceUID="a\x1b[31mb")
    assert read_header(path).series == "a [31mb"
