"""Files are read back with pydicom, which wrote none of them."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, CTImageStorage

from ich.phantom.dicom_writer import Identity, encode_file
from ich.phantom.quirks import Oddities, Storage

IDENTITY = Identity(
    image="ID_0123456ab",
    patient="ID_01234567",
    study="ID_0123456789",
    series="ID_9876543210",
    position=[-124.5, -120.25, 33.125],
    orientation=[1.0, 0.0, 0.0, 0.0, 0.948323655, -0.317304656],
    pixel=0.48828125,
    slab=5.0,
    tilt=18.5,
    number=7,
)
STORED = np.arange(24, dtype=np.int16).reshape(4, 6)
RSNA_TAGS = (
    "SOPInstanceUID Modality PatientID StudyInstanceUID SeriesInstanceUID StudyID ImagePositionPatient "
    "ImageOrientationPatient SamplesPerPixel PhotometricInterpretation Rows Columns PixelSpacing BitsAllocated "
    "BitsStored HighBit PixelRepresentation WindowCenter WindowWidth RescaleIntercept RescaleSlope PixelData"
)


def read(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(content))


@pytest.mark.parametrize("implicit", [False, True])
def test_rsna_headers_hold_what_the_real_files_hold(implicit: bool) -> None:
    dataset = read(encode_file(STORED, IDENTITY, Oddities(implicit_vr=implicit), "rsna", False))
    assert " ".join(element.keyword for element in dataset) == RSNA_TAGS
    assert dataset.file_meta.TransferSyntaxUID.is_implicit_VR == implicit
    assert (dataset.SOPInstanceUID, dataset.PatientID) == ("ID_0123456ab", "ID_01234567")
    assert not UID(dataset.StudyInstanceUID, 0).is_valid
    assert dataset.ImagePositionPatient == [-124.5, -120.25, 33.125]
    assert dataset.ImageOrientationPatient == [1, 0, 0, 0, 0.948323655, -0.317304656]
    np.testing.assert_array_equal(dataset.pixel_array, STORED)


def test_clinical_headers_are_complete_valid_and_marked() -> None:
    dataset = read(encode_file(STORED, IDENTITY, Oddities(), "clinical", False))
    assert dataset.SOPClassUID == CTImageStorage
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value.is_valid
    assert str(dataset.PatientName).startswith("PHANTOM^")
    assert (dataset.InstanceNumber, dataset.SliceThickness, dataset.GantryDetectorTilt) == (7, 5, 18.5)
    assert list(dataset.keys()) == sorted(dataset.keys())


def test_text_of_odd_numbers_is_kept() -> None:
    odd = Oddities(Storage("unsigned-12", 12, False, -1024), double_window=True, text_numbers=True, monochrome1=True)
    dataset = read(encode_file(STORED.astype(np.uint16), IDENTITY, odd, "rsna", False))
    assert [value.original_string for value in dataset.WindowCenter] == ["00040", "00040"]
    assert dataset.RescaleSlope.original_string == "1.000000"
    assert dataset.RescaleIntercept.original_string == "-1024.000000"
    assert (dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation) == (12, 11, 0)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"


def test_truncated_file_holds_as_many_bytes_as_the_known_one() -> None:
    dataset = read(encode_file(np.zeros((512, 512), np.int16), IDENTITY, Oddities(), "rsna", True))
    assert len(dataset.PixelData) == 153_710
    with pytest.raises(ValueError, match="less than expected"):
        _ = dataset.pixel_array


def test_same_slice_same_uid_other_slice_other_uid() -> None:
    first, again, other = (
        read(encode_file(STORED, identity, Oddities(), "clinical", False)).SOPInstanceUID
        for identity in (IDENTITY, IDENTITY, replace(IDENTITY, image="ID_0123456ac"))
    )
    assert first == again != other
