"""Damage DICOM files in ways that a seed draws: bits, lengths, tags, types, syntaxes, nesting, bombs."""

import random
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from transfer_syntaxes import LOSSLESS

Mutation = Callable[[bytes, random.Random], bytes]

_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"UV", b"SV")
_SHORT = (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"FL", b"FD", b"IS", b"LO", b"PN", b"SH", b"SL", b"SS", b"UI",
          b"UL", b"US")  # fmt: skip
_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")
_TEXTS = ("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient",
          "PixelSpacing", "PatientID", "Modality", "SeriesInstanceUID")  # fmt: skip
_ODD_NUMBERS = (0, 1, 2, 7, 8, 15, 17, 32, 64, 511, 513, 4096, 4097, 0x7FFF, 0x8000, 0xFFFF)
_ODD_TEXTS = (
    b"", b"0", b"-1", b"2", b"1e308\\1e308\\-1e308", b"nan\\inf\\1", b"9" * 400, b"1e-320", b"1\\1\\1\\1\\1\\1",
    b"\0" * 8, b"../../../etc/passwd", b"\x1b[31m\r\n", b"\xff\xfe\x80", b"A" * 3000, b"1_000", b"0x10",
    b"1" + b"\\1" * 500,
)  # fmt: skip
_LENGTHS = (0, 1, 3, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


class Element(NamedTuple):
    """A data element of an explicit little-endian file: its tag, and where it, its value and the next one begin."""

    tag: int
    start: int
    value: int
    stop: int


def mutate(content: bytes, seed: int) -> bytes:
    """One to three mutations, drawn by the seed; the same seed gives the same bytes."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 3))):
        content = chance.choice(MUTATIONS)(content, chance)
    return content


def elements(content: bytes) -> list[Element]:
    """The data elements up to the pixels, or to what is not explicit little endian."""
    found, at = [], 132
    while at + 12 <= len(content):
        group, element, vr, length = struct.unpack_from("<HH2sH", content, at)
        value = at + 8
        if vr in _LONG:
            (length,), value = struct.unpack_from("<L", content, at + 8), at + 12
        elif vr not in _SHORT:
            break
        if value + length > len(content):
            break
        found.append(Element(group << 16 | element, at, value, value + length))
        at = value + length
    return found


def flip_bits(content: bytes, chance: random.Random) -> bytes:
    damaged, end = bytearray(content), chance.choice((400, 2000, len(content)))
    for _ in range(chance.choice((1, 4, 30))):
        if damaged:
            damaged[chance.randrange(min(end, len(damaged)))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut_off(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(chance.choice((150, 1500, len(content) + 1)) + 1)]


def put_in(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(chance.choice((1500, len(content) + 1)) + 1)
    return content[:at] + chance.randbytes(chance.choice((1, 2, 7, 1000))) + content[at:]


def take_out(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(chance.choice((1500, len(content) + 1)) + 1)
    return content[:at] + content[at + chance.choice((1, 2, 8, 300)) :]


def blank(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content) + 1), chance.choice((1, 16, 600))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def empty(content: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"", bytes(132), bytes(128) + b"DICM", content[:140], bytes(5000)))


def repeat_drop_or_swap(content: bytes, chance: random.Random) -> bytes:
    found = elements(content)
    if len(found) < 3:
        return flip_bits(content, chance)
    one, other = sorted(chance.sample(found, 2))
    first, second = content[one.start : one.stop], content[other.start : other.stop]
    middle = content[one.stop : other.start]
    new = chance.choice((first + middle + first + second, middle + second, second + middle + first))
    return content[: one.start] + new + content[other.stop :]


def lie_about_a_length(content: bytes, chance: random.Random) -> bytes:
    found = elements(content)
    if not found:
        return flip_bits(content, chance)
    one, length = chance.choice(found), chance.choice(_LENGTHS)
    if one.value - one.start == 12:
        return content[: one.start + 8] + struct.pack("<L", length) + content[one.value :]
    return content[: one.start + 6] + struct.pack("<H", length & 0xFFFF) + content[one.value :]


def lie_in_a_number(content: bytes, chance: random.Random) -> bytes:
    value = struct.pack("<H", chance.choice(_ODD_NUMBERS))
    return _replaced(content, chance.choice(_NUMBERS), b"US", value, chance)


def lie_in_a_text(content: bytes, chance: random.Random) -> bytes:
    value = chance.choice(_ODD_TEXTS)
    return _replaced(content, chance.choice(_TEXTS), b"LO", value + b" " * (len(value) % 2), chance)


def swap_a_type(content: bytes, chance: random.Random) -> bytes:
    """Another value representation, the value as it is; or a number of another width, or a text for a number."""
    found = elements(content)
    if not found:
        return flip_bits(content, chance)
    one = chance.choice(found)
    swapped = content[: one.start + 4] + chance.choice((*_SHORT, *_LONG, b"??")) + content[one.start + 6 :]
    wide = _replaced(content, chance.choice(_NUMBERS), b"UL", struct.pack("<L", 0xFFFFFFFF), chance)
    text = _replaced(content, chance.choice(_NUMBERS), b"DS", chance.choice((b"1e300 ", b"512.5 ", b"-1")), chance)
    return chance.choice((swapped, swapped, wide, text))


def swap_the_syntax(content: bytes, chance: random.Random) -> bytes:
    uid = chance.choice(
        (*LOSSLESS, ExplicitVRLittleEndian, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "9.9", "")
    )
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return _replaced(content, "TransferSyntaxUID", b"UI", value, chance)


def lie_in_the_meta_length(content: bytes, chance: random.Random) -> bytes:
    value = struct.pack("<L", chance.choice((0, 1, 100, 0xFFFF, 0xFFFFFFFF)))
    return _replaced(content, "FileMetaInformationGroupLength", b"UL", value, chance)


def nest(content: bytes, chance: random.Random) -> bytes:
    """Sequences in sequences, of unknown length, thousands deep, closed or not."""
    depth = chance.choice((1, 50, 1000, 5000, 30_000))
    opening = struct.pack("<HH2sHLHHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return _before_the_pixels(content, opening * depth + closing * chance.choice((0, depth, depth - 1)))


def add_fragments(content: bytes, chance: random.Random) -> bytes:
    """Pixels in fragments: of odd length, empty, without an end, with a table of offsets that lies."""
    found = elements(content)
    at = next((each.start for each in found if each.tag == 0x7FE00010), found[-1].stop if found else len(content))
    table = chance.choice((b"", struct.pack("<L", 0xFFFFFFF0), b"\0\0\0"))
    pieces = [table, *(chance.randbytes(chance.choice((0, 1, 33, 200))) for _ in range(chance.randrange(4)))]
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(piece)) + piece for piece in pieces)
    start = struct.pack("<HH2sHL", 0x7FE0, 0x0010, chance.choice((b"OB", b"OW")), 0, 0xFFFFFFFF)
    end = chance.choice((b"", struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)))
    return swap_the_syntax(content[:at] + start + items + end, chance)


def add_a_large_value(content: bytes, chance: random.Random) -> bytes:
    """Megabytes of text in an id, of zeros in a private element, or of elements that hold nothing."""
    size = chance.choice((1, 4)) * 2**20
    few = b"".join(struct.pack("<HH2sH", 9, number, b"LO", 0) for number in range(0x1000, 0x3000))
    return chance.choice((
        _replaced(content, "PatientID", b"UT", b"A" * size, chance),
        _before_the_pixels(content, struct.pack("<HH2sHL", 9, 0x1001, b"UN", 0, size) + bytes(size)),
        _before_the_pixels(content, few * 4),
    ))  # fmt: skip


def deflate_a_bomb(content: bytes, chance: random.Random) -> bytes:
    """A gigabyte and more of zeros, of which the file holds a thousandth."""
    found = elements(content)
    meta = [each for each in found if each.tag >> 16 == 2]
    if not meta:
        return cut_off(content, chance)
    head = _replaced(
        content[: meta[-1].stop], "TransferSyntaxUID", b"UI", DeflatedExplicitVRLittleEndian.encode(), chance
    )
    deflate, zeros = zlib.compressobj(1, zlib.DEFLATED, -15), bytes(2**20)
    return head + b"".join(deflate.compress(zeros) for _ in range(chance.choice((2, 40, 1200)))) + deflate.flush()


def _replaced(content: bytes, keyword: str, vr: bytes, value: bytes, chance: random.Random) -> bytes:
    """An element with another value and type; its length fits, most of the time."""
    one = next((each for each in elements(content) if each.tag == tag_for_keyword(keyword)), None)
    if one is None:
        return flip_bits(content, chance)
    length = len(value) if chance.random() < 0.9 else chance.choice(_LENGTHS)
    fields = struct.pack("<HL", 0, length) if vr in _LONG else struct.pack("<H", length & 0xFFFF)
    return content[: one.start + 4] + vr + fields + value + content[one.stop :]


def _before_the_pixels(content: bytes, new: bytes) -> bytes:
    """New elements after the file meta information."""
    at = max((each.stop for each in elements(content) if each.tag >> 16 == 2), default=min(132, len(content)))
    return content[:at] + new + content[at:]


RARE: tuple[Mutation, ...] = (deflate_a_bomb,)  # seconds each
MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, cut_off, put_in, take_out, blank, empty, repeat_drop_or_swap, lie_about_a_length, lie_in_a_number,
    lie_in_a_text, swap_a_type, swap_the_syntax, lie_in_the_meta_length, nest, add_fragments, add_a_large_value,
)  # fmt: skip
