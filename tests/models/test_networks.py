"""The networks as a whole, at demo scale: shapes, the product, gating, what learns, saving."""

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from ich.config import Train
from ich.labels import LABELS
from ich.models.backbones import top_layers
from ich.models.build import Networks, backbones, build, set_trainable
from ich.models.cascade import split_cascade
from ich.models.subtypes import attention_model

SIZE = 64
IMAGES = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3)).astype(np.float32)


def demo(model: str, seed: int = 0, **heads: float) -> Networks:
    small = {"gate_units": 16, "subtype_units": 16, "attention_width": 12, "attention_heads": 3}
    names = {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"}
    return build(
        Train.model_validate({"model": model, "weights": "none", "backbones": names, "heads": small | heads}),
        SIZE,
        seed,
    )


@pytest.fixture(scope="module")
def networks() -> dict[str, Networks]:
    return {model: demo(model) for model in ("cascade", "modified-cascade", "efficientnet", "convnext")}


def run(model: keras.Model, images=IMAGES) -> NDArray[np.float32]:
    return np.asarray(model.predict_on_batch(images))


@pytest.mark.parametrize("model", ["cascade", "modified-cascade", "efficientnet", "convnext"])
def test_six_probabilities_in_float32(networks, model):
    probabilities = run(networks[model].final)
    assert probabilities.shape == (len(IMAGES), len(LABELS))
    assert probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()


@pytest.mark.parametrize("model", ["cascade", "modified-cascade"])
def test_cascade_is_the_product_of_its_stages(networks, model):
    parts = networks[model]
    probabilities, p_any, p_subtype_if_any = run(parts.final), run(parts.gate), run(parts.subtypes)
    np.testing.assert_allclose(probabilities, np.hstack([p_any, p_any * p_subtype_if_any]), rtol=1e-5)
    assert (probabilities[:, :1] >= probabilities[:, 1:]).all()


@pytest.mark.parametrize(("model", "reused"), [("cascade", 0), ("modified-cascade", 1)])
def test_gated_parts_give_what_the_whole_gives(networks, model, reused):
    gate, subtypes = split_cascade(networks[model].final)
    p_any, *features = keras.tree.flatten(gate.predict_on_batch(IMAGES))
    assert len(features) == reused
    kept = np.array([1, 4])
    p_subtype = run(subtypes, [IMAGES[kept], *(feature[kept] for feature in features)])
    expected = run(networks[model].final)
    np.testing.assert_allclose(p_any[:, 0], expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(p_any[kept] * p_subtype, expected[kept, 1:], atol=1e-6)


def test_shared_trunk_is_one_network_and_runs_once(networks):
    labels = [[b.name for b in backbones(networks[model].final)] for model in ("cascade", "modified-cascade")]
    assert sorted(labels[0]) == ["convnext", "efficientnet", "gate_efficientnet"]
    assert sorted(labels[1]) == ["convnext", "efficientnet"]
    trunk = networks["modified-cascade"].gate.get_layer("efficientnet")
    assert trunk is networks["modified-cascade"].subtypes.get_layer("efficientnet")
    whole, parts = networks["modified-cascade"].final, networks["cascade"].final
    assert parts.count_params() - whole.count_params() == trunk.count_params()
    # A gated-in slice costs the second part alone, and the trunk is not in it.
    assert [b.name for b in backbones(split_cascade(whole)[1])] == ["convnext"]
    assert (
        len(whole.get_config()["layers"][[layer.name for layer in whole.layers].index("efficientnet")]["inbound_nodes"])
        == 1
    )


def test_attention_is_kept(networks):
    parts = networks["cascade"]
    p_subtype, attention = attention_model(parts.subtypes).predict_on_batch(IMAGES)
    np.testing.assert_allclose(p_subtype, run(parts.subtypes), atol=1e-6)
    assert attention.shape == (len(IMAGES), 3, 4, 4)  # heads, EfficientNet's 2 x 2 positions, ConvNeXt's
    np.testing.assert_allclose(attention.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("model", ["cascade", "modified-cascade", "convnext"])
def test_batch_equals_slices_one_by_one(networks, model):
    whole = run(networks[model].final)
    single = np.concatenate([run(networks[model].final, IMAGES[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(whole[:2], single, atol=1e-5)


@pytest.mark.parametrize("model", ["cascade", "modified-cascade", "efficientnet"])
def test_saved_file_loads_alone_and_gives_the_same(networks, model, tmp_path):
    final = networks[model].final
    final.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # no custom objects
    np.testing.assert_allclose(run(loaded), run(final), atol=1e-6)  # plain Keras, without ich's faster layers
    if model != "efficientnet":
        assert len(split_cascade(loaded)[0].outputs) == len(split_cascade(final)[0].outputs)


def test_seed_decides_the_start():
    first, again, other = demo("modified-cascade", 1), demo("modified-cascade", 1), demo("modified-cascade", 2)
    assert np.array_equal(run(first.final), run(again.final))
    assert not np.array_equal(run(first.final), run(other.final))


def test_l2_is_a_penalty_on_the_heads_dense_kernels():
    penalised = demo("efficientnet", l2=0.01).final
    kernels = [penalised.get_layer("flat_head").get_layer(name).kernel for name in ("dense", "probabilities")]
    expected = sum(0.01 * float(np.square(kernel.numpy()).sum()) for kernel in kernels)
    assert float(sum(penalised.losses)) == pytest.approx(expected, rel=1e-5)


GATE, EFFICIENTNET, CONVNEXT = "gate_efficientnet", "efficientnet", "convnext"


@pytest.mark.parametrize(
    ("model", "part", "which", "expected"),
    [
        ("cascade", "gate", "heads", {"gate_head"}),
        ("cascade", "gate", "top", {"gate_head", f"{GATE} top"}),
        ("cascade", "gate", "all", {"gate_head", GATE, f"{GATE} top"}),
        ("cascade", "subtypes", "heads", {"subtype_head"}),
        (
            "cascade",
            "final",
            "top",
            {"gate_head", "subtype_head", f"{GATE} top", f"{EFFICIENTNET} top", f"{CONVNEXT} top"},
        ),
        # Stage 2 must not change the trunk that the gate has learnt with.
        ("modified-cascade", "gate", "all", {"gate_head", EFFICIENTNET, f"{EFFICIENTNET} top"}),
        ("modified-cascade", "subtypes", "all", {"subtype_head", CONVNEXT, f"{CONVNEXT} top"}),
        ("modified-cascade", "final", "heads", {"gate_head", "subtype_head"}),
        ("convnext", "final", "top", {"flat_head", f"{CONVNEXT} top"}),
    ],
)
def test_one_step_changes_what_it_should(networks, model, part, which, expected):
    """Batch-norm statistics count as changes too."""
    parts = networks[model]
    trained = set_trainable(parts, part, which)
    trained.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    assert trained.jit_compile  # Keras switches XLA off silently for models with certain random layers
    before = [variable.numpy().copy() for variable in parts.final.variables]
    trained.train_on_batch(IMAGES, np.eye(len(IMAGES), trained.output_shape[1], dtype=np.float32))
    moved = [v for old, v in zip(before, parts.final.variables, strict=True) if not np.array_equal(old, v.numpy())]
    assert {place(parts.final, variable) for variable in moved if "seed" not in variable.path} == expected


def place(final: keras.Model, variable: keras.Variable) -> str:
    """Which backbone, its top, or which head holds the variable."""
    layer = next(layer for layer in final.layers if any(variable is v for v in layer.variables))
    top = top_layers(layer) if layer in backbones(final) else []
    return f"{layer.name} top" if any(variable is v for inner in top for v in inner.variables) else layer.name
