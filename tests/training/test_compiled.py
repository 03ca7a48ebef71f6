import os

import numpy as np
import pytest
from tests.training.test_step import LOSS, STILL, batch, network

from ich.training.compiled import compile_step
from ich.training.step import Learner, adam


def learner():
    return Learner(network(normalised=True, dropout=0.5), adam("float32"), LOSS, STILL)


def steps(ours, step):
    state, losses = ours.state(), []
    for _ in range(3):
        state, result = step(state, np.float32(0.01), batch())
        losses.append(float(result.loss))
    ours.store(state)
    return losses, ours.network.get_weights()


@pytest.fixture
def expected(tmp_path):
    ours = learner()
    step, was_there = compile_step(ours, batch(), tmp_path, "a")
    assert not was_there
    return steps(ours, step)


def same(a, b):
    return a[0] == b[0] and all(np.array_equal(x, y) for x, y in zip(a[1], b[1], strict=True))


def test_a_step_that_was_compiled_before_is_loaded_and_does_the_same(expected, tmp_path, monkeypatch):
    ours = learner()
    monkeypatch.setattr(Learner, "compile", pytest.fail)
    step, was_there = compile_step(ours, batch(), tmp_path, "a")
    assert was_there
    assert same(steps(ours, step), expected)


def test_another_program_is_not_taken_for_it(expected, tmp_path):
    assert not compile_step(learner(), batch(), tmp_path, "b")[1]
    assert not compile_step(learner(), batch(n=5), tmp_path, "a")[1]
    assert len(list(tmp_path.iterdir())) == 3


def test_steps_that_were_not_used_for_long_go(expected, tmp_path):
    (ours,) = tmp_path.iterdir()
    for age in range(25):
        (old := tmp_path / f"step-{age:02d}.bin").write_bytes(b"")
        os.utime(old, (1e9 - age, 1e9 - age))
    (tmp_path / "jit_step-cache").write_bytes(b"JAX's")
    os.utime(ours, (0, 0))
    compile_step(learner(), batch(), tmp_path, "a")
    assert ours.stat().st_mtime > 1e9  # the oldest until it was loaded, which removes nothing
    assert len(list(tmp_path.iterdir())) == 27
    compile_step(learner(), batch(), tmp_path, "b")
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == 21
    assert kept >= {ours.name, "jit_step-cache", *(f"step-{age:02d}.bin" for age in range(18))}


@pytest.mark.parametrize("damage", ["a bit", "cut off", "empty"])
def test_a_damaged_file_is_compiled_again(expected, tmp_path, damage):
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"a bit": content, "cut off": content[:1000], "empty": b""}[damage])
    ours = learner()
    step, was_there = compile_step(ours, batch(), tmp_path, "a")
    assert not was_there
    assert same(steps(ours, step), expected)
    assert compile_step(learner(), batch(), tmp_path, "a")[1]
