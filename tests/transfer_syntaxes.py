"""Write a slice in another transfer syntax: compressed, deflated, implicit, big endian (PS3.5 10, A)."""

from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

LOSSLESS = (
    ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLossless,
    JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
_GDCM = {JPEGLossless: "JPEGLosslessProcess14", JPEGLosslessSV1: "JPEGLosslessProcess14_1"}  # pydicom reads these only


def encode(path: Path, syntax: UID) -> None:
    """Encode an uncompressed little-endian file of unsigned or signed 16-bit values anew, in place."""
    if syntax in _GDCM:
        _encode_with_gdcm(path, _GDCM[syntax])
        return
    dataset = pydicom.dcmread(path)
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
    fresh = pydicom.Dataset()  # one that was read keeps its encoding
    fresh.file_meta = dataset.file_meta
    fresh.file_meta.TransferSyntaxUID = syntax
    for element in dataset:
        fresh.add(element)
    if syntax == ExplicitVRBigEndian:
        fresh.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    fresh.save_as(path, enforce_file_format=True)


def _encode_with_gdcm(path: Path, name: str) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    assert reader.Read()
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
