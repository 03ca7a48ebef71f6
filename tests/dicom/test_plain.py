"""The fast reader gives what pydicom gives, or hands over; on whole files and on damaged ones."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from ich.dicom import full, plain
from ich.dicom.header import ELEMENTS, rescale_of
from ich.dicom.read import HEADER_BYTES
from ich.errors import UnreadableSlice
from transfer_syntaxes import LOSSLESS, encode

PIXELS = np.random.default_rng(0).integers(0, 4096, (32, 40))


def test_tags_and_representations_are_those_of_the_dictionary():
    for keyword, (tag, vr) in ELEMENTS.items():
        assert (tag_for_keyword(keyword), dictionary_VR(tag)) == (tag, vr)


def test_preparing_plain_files_does_not_import_pydicom():
    code = "import sys, ich.prepare.preprocess, ich.prepare.index; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def same(content):
    """Whether the fast reader took the file; what it says must be what pydicom says."""
    header = plain.read_header(content)
    found = plain.read(content)
    try:
        expected = full.read_header(content)
    except UnreadableSlice:
        assert header is None
        assert found is None
        return False
    if header is not None:
        assert dataclasses.asdict(header) == dataclasses.asdict(expected)
    if found is not None:
        try:
            expected, stored_values = full.read(content)
        except UnreadableSlice as error:  # by what the header says, which `read_slice` looks at in either case
            with pytest.raises(UnreadableSlice, match=re.escape(str(error))):
                rescale_of(found[0])
            return True
        assert dataclasses.asdict(found[0]) == dataclasses.asdict(expected)
        np.testing.assert_array_equal(found[1], stored_values)
        assert found[1].dtype == stored_values.dtype
    return found is not None


@pytest.fixture
def content(dicom_slice):
    """Bytes of a slice, which lies at ID_1.dcm too."""

    def write(dtype=np.uint16, **tags):
        return dicom_slice("ID_1", PIXELS.astype(dtype), **tags).read_bytes()

    return write


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"RescaleSlope": "1.000000", "WindowCenter": ["00040", "00040"]},
        {"Manufacturer": "GE MEDICAL SYSTEMS ", "PatientID": " x y "},
        {"PixelSpacing": None, "ImagePositionPatient": None, "SeriesInstanceUID": None},
        {"ImagePositionPatient": [1, 2]},  # one number too few
        {"NumberOfFrames": 1},
        {"Modality": "MR"},
        {"BitsStored": 10, "HighBit": 9},  # the upper bits, which are set, mean nothing
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_plain_files_are_read_as_pydicom_reads_them(content, dicom_slice, tmp_path, tags, implicit, dtype):
    whole = content(dtype, **tags)
    if implicit:
        encode(tmp_path / "ID_1.dcm", ImplicitVRLittleEndian)
        whole = (tmp_path / "ID_1.dcm").read_bytes()
    assert same(whole)
    start = whole[:HEADER_BYTES]
    assert dataclasses.asdict(plain.read_header(start)) == dataclasses.asdict(full.read_header(whole))


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "M\u00fcller", "SpecificCharacterSet": "ISO_IR 100"},
        {"PatientID": "a\\b"},
        {"PatientID": "x" * 2000},
        {"SamplesPerPixel": 3},
        {"NumberOfFrames": 2},
        {"Rows": 31},
        {"BitsAllocated": 8},
        {"PixelData": b"\0" * 100},
        {"PixelRepresentation": None},
        {"PixelData": None},
        {"NumberOfFrames": [1, 1]},
        {"PhotometricInterpretation": " MONOCHROME1"},
        {"FloatPixelData": b"\0\0\0\0"},
    ],
    ids=str,
)
def test_anything_else_is_handed_over(content, tags):
    assert plain.read(content(**tags)) is None


@pytest.mark.parametrize("implicit", [False, True])
def test_the_length_of_the_file_meta_information_may_lack_but_not_lie(content, tmp_path, implicit):
    whole = content()
    if implicit:
        encode(tmp_path / "ID_1.dcm", ImplicitVRLittleEndian)
        whole = (tmp_path / "ID_1.dcm").read_bytes()
    start, length = 132, 12  # after DICM; (0002,0000) UL 4 and its value
    assert whole[start : start + 8] == b"\2\0\0\0UL\4\0"
    assert same(whole[:start] + whole[start + length :])
    lying = bytearray(whole)
    lying[start + 8] += 2
    assert plain.read(bytes(lying)) is None
    without = whole[:start] + whole[start + length + 14 :]  # nor the version, as RSNA's
    assert without[start : start + 6] == b"\2\0\2\0UI"
    assert same(without)
    assert not same(without.replace(b"\2\0\2\0UI", b"\2\0\2\0UL", 1))  # pydicom refuses this as damaged
    assert plain.read_header(without[: without.index(b"\2\0\x10\0UI") + 8]) is None  # cut off in the transfer syntax


def test_tags_out_of_order_are_handed_over(content):
    whole = content()
    start = whole.index(b"\x10\0\x20\0LO")
    patient = whole[start : start + 8 + 12]
    twice = whole[:start] + patient + whole[start:]
    assert plain.read(whole) is not None
    assert plain.read(twice) is None
    assert plain.read_header(twice) is None


def test_sequences_of_known_length_are_skipped_and_others_handed_over(content, tmp_path):
    content()
    dataset = pydicom.dcmread(tmp_path / "ID_1.dcm")
    item = Dataset()
    item.Rows, item.PatientID = 7, "another"
    dataset.ReferencedImageSequence = Sequence([item])
    for undefined in (False, True):
        dataset["ReferencedImageSequence"].is_undefined_length = undefined
        dataset.save_as(tmp_path / "ID_1.dcm")
        assert same((tmp_path / "ID_1.dcm").read_bytes()) == (not undefined)


@pytest.mark.parametrize("syntax", LOSSLESS[1:], ids=lambda uid: uid.name)
def test_other_encodings_are_handed_over(content, tmp_path, syntax):
    content()
    encode(tmp_path / "ID_1.dcm", syntax)
    assert not same((tmp_path / "ID_1.dcm").read_bytes())


@pytest.mark.filterwarnings("ignore")  # pydicom's, as where it is used
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_read_as_pydicom_reads_them_or_handed_over(content, data):
    """Bytes of the header changed, cut out, put in: what is still taken is what pydicom makes of it."""
    whole = bytearray(content())
    # As it is, without the length of the file meta information, or, as in RSNA's, without the version that follows it.
    del whole[132 : data.draw(st.sampled_from([132, 144, 158]))]
    end = len(whole) - 2 * PIXELS.size
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(128, end))
        kind = data.draw(st.sampled_from(["change", "cut", "insert", "double"]))
        if kind == "change":
            whole[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del whole[at : at + data.draw(st.integers(1, 12))]
        elif kind == "insert":
            whole[at:at] = data.draw(st.binary(min_size=1, max_size=12))
        else:
            whole[at:at] = whole[at - data.draw(st.integers(1, 40)) : at]
    same(bytes(whole))


def test_real_slices_are_read_as_pydicom_reads_them(realdata):
    taken = {path: same(path.read_bytes()) for path in sorted(realdata.rglob("*.dcm"))}
    assert not [path for path, quick in taken.items() if not quick and path.parts[-2].startswith("rsna")]
