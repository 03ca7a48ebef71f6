import itertools
import time

import jax.numpy as jnp
import numpy as np
import pytest

from ich.training.epoch import NotFinite, run_epoch
from ich.training.step import StepResult


def step(state, learning_rate, batch):
    """Adds the batch; its loss is the batch; its two images have the state as probability."""
    return state + batch, StepResult(jnp.float32(batch), jnp.full((1, 2, 1), state, jnp.float32))


def run(batches, steps, advance=int):
    return run_epoch(step, jnp.float32(0), iter(batches), steps, lambda number: 0.1, advance)


def test_an_epoch_tells_every_step_in_order():
    state, told = run([1.0, 2.0, 3.0, 4.0, 5.0], 5)
    assert float(state) == 15
    assert told.losses.tolist() == [1, 2, 3, 4, 5]
    assert told.probabilities[:, 0].tolist() == [0, 0, 1, 1, 3, 3, 6, 6, 10, 10]
    assert told.images_per_s == 10 / told.seconds


def test_no_batch_is_taken_that_is_not_used():
    batches = iter([1.0] * 7)
    run(batches, 4)
    assert len(list(batches)) == 3


def test_the_learning_rate_is_asked_for_each_step():
    asked = []
    run_epoch(step, jnp.float32(0), itertools.repeat(1.0), 3, lambda number: asked.append(number) or 0.5)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("loss", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 3, 9])
def test_a_loss_that_is_not_finite_ends_the_epoch_and_names_its_step(loss, where):
    given = [1.0] * 10
    given[where] = loss
    with pytest.raises(NotFinite) as error:
        run(given, 10)
    assert error.value.step == where
    assert not np.isfinite(error.value.loss)


def test_time_without_a_batch_is_time_waited():
    def slow():
        while True:
            time.sleep(0.02)
            yield 1.0

    _, told = run(slow(), 5)
    assert 0.1 <= told.waiting <= told.seconds


def test_what_the_progress_bar_raises_ends_the_epoch():
    with pytest.raises(KeyboardInterrupt):
        run([1.0] * 5, 5, advance=lambda count: (_ for _ in ()).throw(KeyboardInterrupt))
