"""How devices share a batch; that they train together is tested in training/test_processes.py."""

import pytest

from ich import devices
from ich.errors import ConfigError


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can(monkeypatch):
    monkeypatch.setattr(devices, "count", lambda: 4)
    devices.refuse_unequal_shares(32)
    with pytest.raises(ConfigError, match=r"train\.batch_size is 30, which 4 devices .*; set it to 28 or 32"):
        devices.refuse_unequal_shares(30)


def test_the_shares_of_processes_are_the_whole_batch_in_order(monkeypatch):
    class Device:
        def __init__(self, process_index):
            self.process_index = process_index

    shares = []
    monkeypatch.setattr(devices, "count", lambda: 4)
    monkeypatch.setattr(devices, "_devices", lambda: [Device(0), Device(1), Device(1), Device(2)])
    for process in range(3):
        monkeypatch.setattr(devices.jax, "process_index", lambda process=process: process)
        shares += range(12)[devices.own_share(12)]
    assert shares == [*range(12)]
