"""Against Keras's own callbacks, and from a checkpoint."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from ich.config import EarlyStopping, Phase, Plateau
from ich.training.schedule import Schedule

PHASE = Phase(name="p", epochs=40, learning_rate=0.5, trainable="all")
PLATEAU = Plateau(factor=0.5, patience=2, min_learning_rate=0.1)


def schedule():
    return Schedule(PHASE, PLATEAU, EarlyStopping(patience=5))


def rates(plan, losses):
    """Learning rate of each epoch, until the phase is over."""
    used = []
    for loss in losses:
        if plan.is_over:
            break
        used.append(plan.learning_rate)
        plan.after_epoch(loss)
    return used


def keras_rates(losses):
    model = SimpleNamespace(optimizer=keras.optimizers.Adam(0.5), stop_training=False)
    callbacks = [
        keras.callbacks.EarlyStopping(patience=5),
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.1),
    ]
    used = []
    for callback in callbacks:
        callback.set_model(model)
        callback.monitor_op = np.less if isinstance(callback, keras.callbacks.EarlyStopping) else None
        callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        used.append(float(model.optimizer.learning_rate.value))
        for callback in callbacks:
            callback.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            break
    return used


@pytest.mark.parametrize("seed", range(20))
def test_rates_and_end_are_those_of_kerass_callbacks(seed):
    losses = (np.random.default_rng(seed).random(40).cumsum() ** 0.2).round(3)[:: (-1) ** seed].tolist()
    losses = [loss + (0.00005 if i % 3 else 0) for i, loss in enumerate(losses)]
    assert rates(schedule(), losses) == pytest.approx(keras_rates(losses))


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_schedule_goes_on_wherever_it_was_cut(cut):
    """The plateau is due in the fourth epoch, patience is over in the seventh."""
    losses = [0.5, 0.4, 0.45, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45]
    expected = rates(schedule(), losses)
    assert len(expected) == 7
    assert len(set(expected)) == 3
    begun, continued = schedule(), schedule()
    first = rates(begun, losses[:cut])
    continued.restore(json.loads(json.dumps(begun.as_json())))
    assert first + rates(continued, losses[cut:]) == expected


def cosine(epochs=4, steps=5):
    return Schedule(PHASE.model_copy(update={"epochs": epochs}), PLATEAU, EarlyStopping(patience=2), "cosine", steps)


def test_a_cosine_is_kerass_step_by_step():
    plan, used = cosine(), []
    while not plan.is_over:
        used += [plan.rate_at(step) for step in range(5)]
        assert plan.learning_rate == used[-5]
        plan.after_epoch(1 / len(used))
    expected = keras.optimizers.schedules.CosineDecay(0.5, 20, alpha=0.1 / 0.5)
    assert used == pytest.approx([float(expected(step)) for step in range(20)], rel=1e-6)


def test_a_cosine_goes_on_where_it_was_cut_and_can_be_stopped_early():
    whole, cut = cosine(), cosine()
    whole.after_epoch(0.5)
    cut.restore(json.loads(json.dumps(whole.as_json())))
    assert [cut.rate_at(step) for step in range(5)] == [whole.rate_at(step) for step in range(5)]
    assert len(rates(cosine(epochs=9), [0.5, 0.6, 0.7, 0.4])) == 3


def test_a_phase_ends_with_its_epochs():
    plan = Schedule(PHASE.model_copy(update={"epochs": 3}), PLATEAU, EarlyStopping())
    assert len(rates(plan, [3.0, 2.0, 1.0, 0.5])) == 3
