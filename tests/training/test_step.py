import jax
import keras
import numpy as np
import pytest

from ich.augmentation import apply, draw, item_keys
from ich.config import TrainingAugmentation
from ich.models.initialize import numpy_initializers
from ich.training import step as step_module
from ich.training.losses import binary_crossentropy
from ich.training.step import Batch, Learner, adam, arrays, assign

SIZE = 8
STILL = TrainingAugmentation(horizontal_flip=0, rotate=0, shift=0)
LOSS = binary_crossentropy(np.full(2, 0.5, np.float32))


def network(normalised=False, dropout=0.0):
    keras.utils.set_random_seed(1)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    with numpy_initializers(1):
        x = keras.layers.Conv2D(4, 3, strides=2, use_bias=not normalised)(x)
        x = keras.layers.BatchNormalization()(x) if normalised else x
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("silu")(x))
        x = keras.layers.Dropout(dropout)(x)
        outputs = keras.layers.Dense(2, "sigmoid", dtype="float32", kernel_regularizer=keras.regularizers.L2(0.01))(x)
    return keras.Model(images, outputs)


def batch(parts=1, n=6, augmentation=STILL):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (parts * n, SIZE, SIZE, 3), np.uint8)
    draws = draw(augmentation, 1, 0, item_keys(map(str, range(parts * n))))
    targets = rng.integers(0, 2, (parts * n, 2)).astype(np.float32)
    return jax.tree.map(lambda array: array.reshape(parts, n, *array.shape[1:]), Batch(images, draws, targets))


def after_steps(learner, given, steps=3, rate=0.01):
    step, state = learner.compile(given), learner.state()
    results = []
    for _ in range(steps):
        state, result = step(state, np.float32(rate), given)
        results.append(float(result.loss))
    learner.store(state)
    return results


@pytest.mark.parametrize("decay", [0, 0.3])
def test_a_step_is_the_step_that_keras_takes(decay):
    """Loss, weights and batch-norm statistics after three steps, against `train_on_batch`."""
    ours, theirs = network(normalised=True), network(normalised=True)
    given = batch()
    losses = after_steps(Learner(ours, adam("float32", decay), LOSS, STILL), given)
    theirs.compile(keras_adam(decay, theirs), loss=LOSS)
    expected = [theirs.train_on_batch(given.images[0].astype(np.float32), given.targets[0]) for _ in range(3)]
    assert losses == pytest.approx([float(loss) for loss in expected], rel=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def keras_adam(decay, model):
    if not decay:
        return keras.optimizers.Adam(0.01)
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_list=[each for each in model.trainable_variables if each.ndim == 1])
    return optimizer


def test_weight_decay_by_hand():
    """Without a gradient Adam stands still, and kernels shrink by rate times decay; nothing else does."""
    net = network(normalised=True)
    before = [variable.numpy() for variable in net.trainable_variables]
    after_steps(Learner(net, adam("float32", 0.5), lambda y, p: 0 * LOSS(y, p), STILL), batch(), steps=2, rate=0.1)
    kept = {1: 1, 4: 0.95**2}  # by dimensions: gamma, beta and bias; the convolution (the other kernel has a penalty)
    seen = [
        (variable.numpy(), was * kept[was.ndim])
        for variable, was in zip(net.trainable_variables, before, strict=True)
        if was.ndim in kept
    ]
    assert len(seen) == 4
    for now, expected in seen:
        np.testing.assert_allclose(now, expected, rtol=1e-6)


def test_averaged_weights_by_hand():
    net, given = network(normalised=True), batch()
    plain = Learner(net, adam("float32"), LOSS, STILL)
    assert plain.state().averaged == []
    learner = Learner(net, adam("float32"), LOSS, STILL, ema=0.3)
    step, state = learner.compile(given), learner.state()
    expected = [each.numpy() for each in net.trainable_variables]
    for t in range(1, 7):
        state, _ = step(state, np.float32(0.01), given)
        decay = min(0.3, (1 + t) / (10 + t))  # of the first two steps, less than 0.3
        expected = [decay * a + (1 - decay) * np.asarray(w) for a, w in zip(expected, state.trainable, strict=True)]
    learner.store(state)
    own = net.get_weights()
    with learner.averaged():
        for a, b in zip(net.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-7)
    assert all(np.array_equal(a, b) for a, b in zip(own, net.get_weights(), strict=True))
    without = network(normalised=True)
    after_steps(Learner(without, adam("float32"), LOSS, STILL), given, steps=6)
    for a, b in zip(own, without.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_mixed_images_are_learnt_with_mixed_targets():
    augmentation = TrainingAugmentation(horizontal_flip=0, rotate=0, shift=0, mixup=0.4)
    given, net = batch(augmentation=augmentation), network()
    share = given.draws.own_share[0]
    assert share.min() < 0.95
    images, targets = given.images[0].astype(np.float32), given.targets[0]
    mixed = [
        np.stack([s * values[i] + (1 - s) * values[i - 1] for i, s in enumerate(share)]) for values in (images, targets)
    ]
    penalty = sum(float(each) for each in net.losses)
    expected = float(np.mean(LOSS(mixed[1], net(mixed[0])))) + penalty
    learner = Learner(net, adam("float32"), LOSS, augmentation)
    assert after_steps(learner, given, steps=1) == pytest.approx([expected], rel=1e-5)


def test_images_are_augmented_and_their_probabilities_told():
    augmentation = TrainingAugmentation(shift=0.3)
    given, net = batch(augmentation=augmentation), network()
    seen = np.asarray(apply(given.images[0], jax.tree.map(lambda field: field[0], given.draws), augmentation))
    expected = np.asarray(net(seen))
    learner = Learner(net, adam("float32"), LOSS, augmentation)
    _, result = learner.compile(given)(learner.state(), np.float32(0.1), given)
    np.testing.assert_allclose(result.probabilities[0], expected, rtol=1e-5)


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_parts_are_averaged_to_the_step_of_the_whole_batch(monkeypatch, in_a_loop):
    monkeypatch.setattr(step_module, "computes_on_cpu", lambda: not in_a_loop)  # elsewhere parts run in a loop
    whole, parts = batch(n=8), batch(parts=2, n=4)
    assert np.array_equal(whole.images[0], parts.images.reshape(8, SIZE, SIZE, 3))
    one, two = network(), network()
    losses = [after_steps(Learner(net, adam("float32"), LOSS, STILL), b) for net, b in ((one, whole), (two, parts))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_recomputing_changes_nothing_but_the_memory():
    losses, computed_again = [], []
    for recompute in (False, True):
        learner = Learner(network(normalised=True, dropout=0.3), adam("float32"), LOSS, STILL, recompute)
        jaxpr = jax.make_jaxpr(learner.step)(learner.state(), np.float32(0.1), batch())
        computed_again.append("remat" in str(jaxpr) or "checkpoint" in str(jaxpr))
        losses.append(after_steps(learner, batch()))
    assert computed_again == [False, True]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_frozen_layers_and_their_statistics_stay_as_they_are():
    net = network(normalised=True)
    for layer in net.layers[:-1]:
        layer.trainable = False
    before = net.get_weights()
    after_steps(Learner(net, adam("float32"), LOSS, STILL), batch())
    changed = [not np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True)]
    assert changed == [False] * 5 + [True, True]


def test_float16_scales_the_loss_and_skips_a_step_that_overflows():
    net = network()
    learner = Learner(net, adam("float16"), lambda y, p: 1e3 * LOSS(y, p), STILL)
    assert after_steps(learner, batch()) == pytest.approx(
        after_steps(Learner(network(), adam("float32"), lambda y, p: 1e3 * LOSS(y, p), STILL), batch()), rel=1e-5
    )
    scale = next(v for v in learner.optimizer.variables if v.name == "dynamic_scale")
    scale.assign(1e38)  # gradients overflow
    before = net.get_weights()
    after_steps(learner, batch(), steps=1)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    assert float(scale.value) == pytest.approx(0.5e38)


@pytest.mark.parametrize(("precision", "ema"), [("float32", 0), ("float32", 0.9), ("float16", 0)])
def test_a_state_that_was_saved_continues_to_the_same_bits(precision, ema):
    """Weights, their averages, statistics, moments, what dropout draws, and a loss scale that changes on the way."""
    given = batch()

    def learner():
        ours = Learner(network(True, 0.5), adam(precision), LOSS, STILL, ema=ema)
        for variable in ours.optimizer.variables:
            if variable.name == "step_counter":
                variable.assign(1996)  # at 2,000 the scale is doubled
        return ours

    whole, cut, resumed = learner(), learner(), learner()
    expected = after_steps(whole, given, steps=5)
    begun = after_steps(cut, given, steps=2)
    assign(resumed.variables, arrays(cut.variables))
    assert begun + after_steps(resumed, given, steps=3) == expected
    assert all(np.array_equal(a, b) for a, b in zip(arrays(whole.variables), arrays(resumed.variables), strict=True))
    scales = [float(v.value) for v in resumed.optimizer.variables if v.name == "dynamic_scale"]
    assert scales == ([2.0**16] if precision == "float16" else [])
    with whole.averaged(), resumed.averaged():
        weights = (learner.network.get_weights() for learner in (whole, resumed))
        assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_learning_rate_is_that_of_the_step():
    net = network()
    before = net.get_weights()
    after_steps(Learner(net, adam("float32"), LOSS, STILL), batch(), rate=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
