"""DICOM files: headers as the RSNA files have them, or complete CT Image Storage objects (PS3.3 A.3)."""

import struct
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich.phantom.quirks import Oddities

# Bytes that ID_6431af929, the best known broken file of the real data, holds of its 524,288.
TRUNCATED_SHARE = 153_710 / 524_288


@dataclass(frozen=True)
class Identity:
    """Who and where a slice is."""

    image: str
    patient: str
    study: str
    series: str
    position: list[float]
    orientation: list[float]
    pixel: float  # mm
    slab: float  # mm
    tilt: float  # degrees
    number: int  # of the slice in its series, from 1


def encode_file(stored: np.ndarray, identity: Identity, oddities: Oddities, headers: str, truncated: bool) -> bytes:
    """One DICOM file.

    Args:
        stored: stored values, int16 or uint16, shape (rows, columns).
        identity: ids and geometry.
        oddities: the patient's quirks.
        headers: `rsna` (stripped tags, invalid UIDs) or `clinical` (complete and valid; the patient is named PHANTOM).
        truncated: end the file in the middle of the pixels.
    """
    implicit = oddities.implicit_vr
    pixels = np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).data.cast("B")
    rows = [*(_rsna(identity) if headers == "rsna" else _clinical(identity)), *_image(stored, identity, oddities)]
    meta = b"".join(_element(row, False) for row in _meta(identity, implicit))
    group_length = _element(("FileMetaInformationGroupLength", "UL", len(meta)), False)
    body = b"".join(_element(row, implicit) for row in sorted(rows, key=lambda row: tag_for_keyword(row[0]) or 0))
    start = _start(tag_for_keyword("PixelData") or 0, "OW", len(pixels), implicit)
    kept = int(len(pixels) * TRUNCATED_SHARE) if truncated else len(pixels)
    return b"".join([b"\0" * 128, b"DICM", group_length, meta, body, start, pixels[:kept]])


Row = tuple[str, str, Any]  # keyword, value representation, value


def _element(row: Row, implicit: bool) -> bytes:
    """One data element (PS3.5 7.1), little endian. By hand: pydicom takes 1.4 ms a file, this 0.2 ms."""
    keyword, vr, value = row
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not a DICOM keyword; see PS3.6")
    if vr in ("US", "UL"):
        content = struct.pack("<H" if vr == "US" else "<L", value)
    elif vr in ("OB", "OW"):
        content = value
    else:
        content = ("\\".join(value) if isinstance(value, list) else value).encode("latin-1")
        content += (b"\0" if vr == "UI" else b" ") * (len(content) % 2)
    return _start(tag, vr, len(content), implicit) + content


def _start(tag: int, vr: str, length: int, implicit: bool) -> bytes:
    """What comes before the content of a data element."""
    number = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return number + struct.pack("<L", length)
    if vr in ("OB", "OW"):
        return number + vr.encode() + struct.pack("<HL", 0, length)
    return number + vr.encode() + struct.pack("<H", length)


def _meta(identity: Identity, implicit: bool) -> list[Row]:
    """File meta information (PS3.10 7.1); valid even where the data set's own UIDs are not."""
    return [
        ("FileMetaInformationVersion", "OB", b"\0\1"),
        ("MediaStorageSOPClassUID", "UI", CTImageStorage),
        ("MediaStorageSOPInstanceUID", "UI", _uid("instance", identity.image)),
        ("TransferSyntaxUID", "UI", ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian),
        ("ImplementationClassUID", "UI", _uid("implementation", "1")),
        ("ImplementationVersionName", "SH", "ICH_PHANTOM_1"),
    ]


def _rsna(identity: Identity) -> list[Row]:
    return [
        ("SOPInstanceUID", "UI", identity.image),
        ("Modality", "CS", "CT"),
        ("PatientID", "LO", identity.patient),
        ("StudyInstanceUID", "UI", identity.study),
        ("SeriesInstanceUID", "UI", identity.series),
        ("StudyID", "SH", ""),
    ]


def _clinical(identity: Identity) -> list[Row]:
    return [
        ("SpecificCharacterSet", "CS", "ISO_IR 100"),
        ("ImageType", "CS", ["DERIVED", "PRIMARY", "AXIAL"]),
        ("SOPClassUID", "UI", CTImageStorage),
        ("SOPInstanceUID", "UI", _uid("instance", identity.image)),
        ("StudyDate", "DA", "20200101"),
        ("SeriesDate", "DA", "20200101"),
        ("AcquisitionDate", "DA", "20200101"),
        ("ContentDate", "DA", "20200101"),
        ("StudyTime", "TM", "120000"),
        ("SeriesTime", "TM", "120000"),
        ("ContentTime", "TM", "120000"),
        ("AccessionNumber", "SH", identity.study[-10:]),
        ("Modality", "CS", "CT"),
        ("Manufacturer", "LO", "ich phantom"),
        ("InstitutionName", "LO", "PHANTOM HOSPITAL"),
        ("ReferringPhysicianName", "PN", "PHANTOM^REFERRER"),
        ("StudyDescription", "LO", "PHANTOM head CT"),
        ("SeriesDescription", "LO", "PHANTOM axial, not a patient"),
        ("ManufacturerModelName", "LO", "synthetic head"),
        ("PatientName", "PN", f"PHANTOM^{identity.patient}"),
        ("PatientID", "LO", identity.patient),
        ("PatientBirthDate", "DA", ""),
        ("PatientSex", "CS", ""),
        ("BodyPartExamined", "CS", "HEAD"),
        ("SliceThickness", "DS", _number(identity.slab)),
        ("KVP", "DS", "120"),
        ("SoftwareVersions", "LO", "ich phantom 1"),
        ("GantryDetectorTilt", "DS", _number(identity.tilt)),
        ("ConvolutionKernel", "SH", "PHANTOM"),
        ("PatientPosition", "CS", "HFS"),
        ("StudyInstanceUID", "UI", _uid("study", identity.study)),
        ("SeriesInstanceUID", "UI", _uid("series", identity.series)),
        ("StudyID", "SH", "1"),
        ("SeriesNumber", "IS", "2"),
        ("AcquisitionNumber", "IS", "1"),
        ("InstanceNumber", "IS", str(identity.number)),
        ("FrameOfReferenceUID", "UI", _uid("frame", identity.series)),
        ("PositionReferenceIndicator", "LO", "OM"),
    ]


def _image(stored: np.ndarray, identity: Identity, oddities: Oddities) -> list[Row]:
    storage = oddities.storage
    center, width = (["00040"] * 2, ["00080"] * 2) if oddities.double_window else ("40", "80")
    return [
        ("ImagePositionPatient", "DS", [_number(value) for value in identity.position]),
        ("ImageOrientationPatient", "DS", [_number(value) for value in identity.orientation]),
        ("SamplesPerPixel", "US", 1),
        ("PhotometricInterpretation", "CS", "MONOCHROME1" if oddities.monochrome1 else "MONOCHROME2"),
        ("Rows", "US", stored.shape[0]),
        ("Columns", "US", stored.shape[1]),
        ("PixelSpacing", "DS", [_number(identity.pixel)] * 2),
        ("BitsAllocated", "US", 16),
        ("BitsStored", "US", storage.bits_stored),
        ("HighBit", "US", storage.bits_stored - 1),
        ("PixelRepresentation", "US", int(storage.signed)),
        ("WindowCenter", "DS", center),
        ("WindowWidth", "DS", width),
        ("RescaleIntercept", "DS", f"{storage.intercept:.6f}" if oddities.text_numbers else str(storage.intercept)),
        ("RescaleSlope", "DS", "1.000000" if oddities.text_numbers else "1"),
    ]


def _number(value: float) -> str:
    """Text of a decimal string, at most 16 characters (PS3.5 6.2)."""
    return f"{value:.9f}".rstrip("0").rstrip(".")[:16]


def _uid(kind: str, name: str) -> str:
    """A UID derived from a UUID (PS3.5 B.2), the same for the same name."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'ich phantom {kind} {name}').int}"
