"""Files that crash, hang or eat memory end the child process that reads them, and nothing else."""

import os
import signal
import struct
import threading
import time
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from ich.dicom import isolated
from ich.dicom.read import parse_header, parse_slice, read_slice
from ich.errors import CannotRead, IchError, UnreadableSlice
from transfer_syntaxes import encode

PIXELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 3000


@pytest.fixture(autouse=True)
def own_child():
    """Each test has a child with its own limits."""
    isolated._kill()
    yield
    isolated._kill()


@pytest.fixture
def compressed(dicom_slice):
    path = dicom_slice("ID_1", PIXELS)
    encode(path, RLELossless)
    return path


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "ten", "\u0661"])
def test_a_time_limit_that_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv("ICH_SECONDS_A_FILE", text)
    with pytest.raises(IchError, match=f"ICH_SECONDS_A_FILE is {text}; set it to a whole number of seconds, 1 or more"):
        isolated.seconds_a_file()


def slow_file(compressed):
    """Millions of empty data elements before the rest: pydicom takes minutes for them."""
    content = compressed.read_bytes()
    elements = b"".join(struct.pack("<HH2sH", 9, number, b"LO", 0) for number in range(0x1000, 0x10000))
    start = content.index(b"\x10\0\x20\0LO")  # PatientID
    return content[:start] + elements * 200 + content[start:]


def test_a_deflate_bomb_is_stopped(dicom_slice):
    path = dicom_slice("ID_1", PIXELS)
    encode(path, DeflatedExplicitVRLittleEndian)
    head = path.read_bytes()[: 132 + 12 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength]
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    zeros = bytes(2**20)
    bomb = head + b"".join(deflate.compress(zeros) for _ in range(1200)) + deflate.flush()
    assert len(bomb) < 10_000_000
    for parse in (parse_slice, parse_header):
        with pytest.raises(UnreadableSlice, match="more than 1 GiB of memory"):
            parse(bomb)


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(compressed, monkeypatch):
    monkeypatch.setenv("ICH_SECONDS_A_FILE", "1")
    monkeypatch.setattr(isolated, "SECONDS", 1)
    before = time.monotonic()
    with pytest.raises(UnreadableSlice, match="takes longer than 1 s"):
        parse_slice(slow_file(compressed))
    assert time.monotonic() - before < 30  # it would take minutes
    np.testing.assert_array_equal(read_slice(compressed).hu, PIXELS.astype(int) - 1024)


def test_a_decoder_that_crashes_takes_one_file_with_it(compressed, monkeypatch):
    ask = isolated._Child.ask

    def crash(child, task, content):
        threading.Timer(0.5, child.process.send_signal, (signal.SIGSEGV,)).start()
        return ask(child, task, content)

    with monkeypatch.context() as during:
        during.setattr(isolated._Child, "ask", crash)
        with pytest.raises(UnreadableSlice, match="ends the decoder .SIGSEGV"):
            parse_slice(slow_file(compressed))
    np.testing.assert_array_equal(read_slice(compressed).hu, PIXELS.astype(int) - 1024)


def test_a_child_that_was_ended_before_is_replaced(compressed):
    read_slice(compressed)
    isolated._child.process.kill()
    np.testing.assert_array_equal(read_slice(compressed).hu, PIXELS.astype(int) - 1024)


def test_waiting_for_the_next_file_takes_no_time_of_it(compressed, monkeypatch):
    monkeypatch.setenv("ICH_SECONDS_A_FILE", "1")
    read_slice(compressed)
    child = isolated._child.process.pid
    time.sleep(1.5)
    read_slice(compressed)
    assert isolated._child.process.pid == child


def test_an_interrupted_question_leaves_no_answer_behind(compressed, dicom_slice, monkeypatch):
    other = dicom_slice("ID_2", PIXELS + np.uint16(1))
    encode(other, RLELossless)

    def interrupted(pipe):
        raise KeyboardInterrupt

    read_slice(compressed)
    with monkeypatch.context() as during:
        during.setattr(isolated, "_receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read_slice(compressed)
    np.testing.assert_array_equal(read_slice(other).hu, PIXELS.astype(int) - 1023)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ended_from_without_says_nothing_of_the_file(compressed, monkeypatch, how):
    ask = isolated._Child.ask

    def end(child, task, content):
        child.process.send_signal(how)
        return ask(child, task, content)

    monkeypatch.setattr(isolated._Child, "ask", end)
    with pytest.raises(CannotRead, match=f"its reader was ended .{how.name}"):
        parse_slice(slow_file(compressed))


def test_what_lies_in_the_current_folder_is_not_imported(compressed, tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_slice(compressed).hu, PIXELS.astype(int) - 1024)


def test_a_child_that_does_not_start_is_no_fault_of_the_file(compressed, tmp_path, monkeypatch):
    (tmp_path / "gdcm").mkdir()
    (tmp_path / "pydicom.py").write_text("print('hello')\nraise ImportError('no pydicom here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(IchError, match="does not start .*no pydicom here") as error:
        read_slice(compressed)
    assert not isinstance(error.value, UnreadableSlice)


def test_what_a_decoder_prints_is_no_answer(compressed, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os\nimport numpy\nfrom ich.dicom import full\nread = full.read\n"
        "full.read = lambda content: (os.write(1, b'x' * 99), os.write(2, b'y' * 99), read(content))[2]\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    np.testing.assert_array_equal(read_slice(compressed).hu, PIXELS.astype(int) - 1024)


def test_reasons_come_back_as_they_are(compressed):
    content = compressed.read_bytes()
    for damaged, reason in (
        (b"hello" * 100, "no DICM prefix"),
        (content.replace(b"CS\x02\0CT", b"CS\x02\0MR"), "modality is MR, not CT"),
        (content[:-100], "ends inside a data element"),
    ):
        with pytest.raises(UnreadableSlice, match=reason):
            parse_slice(damaged)


def test_threads_get_their_own_answers(compressed, dicom_slice):
    wanted, got = {}, {}
    for number in range(6):
        path = dicom_slice(f"ID_{number}", PIXELS + np.uint16(number), PatientID=f"P{number}")
        encode(path, RLELossless)
        wanted[number] = f"P{number}"

    def read(number):
        path = compressed.with_name(f"ID_{number}.dcm")
        got[number] = {read_slice(path).header.patient for _ in range(20)}

    threads = [threading.Thread(target=read, args=(number,)) for number in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: {patient} for number, patient in wanted.items()}
