"""Processes that meet: threads here, as nothing in it asks which process it is in."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from ich.errors import IchError
from ich.training import rendezvous
from ich.training.rendezvous import meet


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def outcomes(*visits, seconds=20.0, port=None):
    """What became of processes that were started as (processes, process), a moment apart: None, or what they said."""
    port = port or free_port()

    def one(processes, process):
        try:
            meet("127.0.0.1", port, processes, process, seconds)
        except IchError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(visits)) as pool:
        running = []
        for visit in visits:
            running.append(pool.submit(one, *visit))
            time.sleep(0.2)
        return [each.result() for each in running]


def test_all_go_on_when_all_have_come_in_any_order():
    assert outcomes((3, 2), (3, 0), (3, 1)) == [None, None, None]


def test_the_port_is_free_again():
    port = free_port()
    for _ in range(3):
        assert outcomes((2, 0), (2, 1), port=port) == [None, None]


def test_who_did_not_come_is_named():
    told, told_too = outcomes((4, 0), (4, 2), seconds=1.0)
    assert told.startswith("process 1, 3 of 4 did not come in time")
    assert "ended, or something else listens there" in told_too or "not to be reached" in told_too


def test_process_0_that_is_not_there_is_named():
    (told,) = outcomes((2, 1), seconds=0.1)
    assert told.startswith("process 0 is not to be reached at 127.0.0.1:")


def test_processes_that_do_not_fit_together_are_refused_by_all(monkeypatch):
    for visits, message in (
        (((3, 0), (3, 1), (3, 1)), "two processes have --process-id 1"),
        (((3, 0), (2, 1)), "process 1 was started as one of 2, process 0 of 3"),
    ):
        told = outcomes(*visits)
        assert told[0] == told[-1]
        assert told[0].startswith(message)
    monkeypatch.setattr(rendezvous, "_refusal", lambda version, *_: f"{version} is another version")
    assert all("is another version" in each for each in outcomes((2, 0), (2, 1)))


def test_a_stranger_is_passed_over_and_one_who_left_may_come_again():
    port = free_port()
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(meet, "127.0.0.1", port, 3, 0, 20.0)]
        time.sleep(0.2)
        for words in (b"GET / HTTP/1.1\r\n\r\n", f"ich {rendezvous.__version__} 3 1\n".encode()):
            with socket.create_connection(("127.0.0.1", port)) as visitor:
                visitor.sendall(words)
                time.sleep(0.2)
        running += [pool.submit(meet, "127.0.0.1", port, 3, number, 20.0) for number in (1, 2)]
        assert [each.result() for each in running] == [None, None, None]
