"""Whole models saved as .h5, by Keras 2 (written here by hand, with made-up weights) and by Keras 3."""

import re

import h5py
import numpy as np
import pytest

# Keras's generic constructor, as in ich.models.backbones: ConvNeXtBase's layers, narrow.
from keras.src.applications.convnext import ConvNeXt

from ich.config import Train
from ich.errors import DataError
from ich.models.backbones import build_backbone
from ich.models.build import build
from ich.models.initialize import numpy_initializers
from ich.models.whole_models import layers_of, load_backbone, load_head
from ich.training.best import save

DEMO = {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"}
HEADS = {"gate_units": 8, "subtype_units": 8, "attention_width": 4, "attention_heads": 2}


def convnext():
    return ConvNeXt(
        [1, 1, 1, 1], [8, 16, 16, 16], include_top=False, weights=None, input_shape=(64, 64, 3), name="convnext_narrow"
    )


@pytest.fixture(autouse=True)
def quick_start():
    with numpy_initializers(0):
        yield


def made_up(network):
    """Layer -> (name of an array as in Keras 2, made-up values)."""
    generator = np.random.default_rng(7)
    return {
        layer: [
            ("Variable" if "layer_scale" in layer else array.name, generator.random(array.shape, np.float32))
            for array in arrays
        ]
        for layer, arrays in layers_of(network).items()
    }


def values(layers):
    return [value for arrays in layers.values() for _, value in arrays]


def dense(name, *shape):
    generator = np.random.default_rng(sum(shape))
    arrays = [("kernel", generator.random(shape, np.float32)), ("bias", generator.random(shape[1], np.float32))]
    return {name: arrays}


def write(path, groups):
    """A file of Keras 2's: group -> name of a weight -> values."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = b"2.10.0", b"{}"
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name in groups]
        for name, weights in groups.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, value in weights.items():
                group[weight] = value


def flat(layers):
    """All layers are layers of the model, with some that have no weights."""
    names = {layer: {f"{layer}/{name}:0": value for name, value in arrays} for layer, arrays in layers.items()}
    # The variable of Keras 2.10's LayerScale is of no layer.
    names |= {layer: {"Variable:0": arrays[0][1]} for layer, arrays in layers.items() if layer.endswith("_layer_scale")}
    return {"input_1": {}} | names


def nested(layers, name="backbone"):
    """The backbone is a layer of the model: what learns stands before the statistics of batch normalisation."""
    rows = [(f"{layer}/{array}:0", value) for layer, arrays in layers.items() for array, value in arrays]
    rows.sort(key=lambda row: "moving" in row[0])
    return {"input_2": {}, name: dict(rows)}


def same(network, expected):
    return all(np.array_equal(a, b) for a, b in zip(network.get_weights(), expected, strict=True))


@pytest.mark.parametrize("how", [flat, nested])
@pytest.mark.parametrize("name", ["EfficientNetV2B0", "ConvNeXt"])
def test_every_array_of_a_keras_2_file_arrives(tmp_path, name, how):
    network = convnext() if name == "ConvNeXt" else build_backbone(name, 64, "none", label="trunk")
    layers = made_up(network)
    # The number of an unnamed layer is that of the session that saved it.
    saved = {re.sub(r"^layer_normalization.*", "layer_normalization_7", layer): a for layer, a in layers.items()}
    write(tmp_path / "stage2.h5", how(saved) | {"dense": {"dense/kernel:0": np.zeros((2, 2))}})
    if name == "ConvNeXt":
        load_backbone(network, name, tmp_path / "stage2.h5", ["trunk"])
    else:
        network = build_backbone(name, 64, str(tmp_path / "stage2.h5"), label="trunk")
    assert same(network, values(layers))


def test_frozen_layers_stand_last_in_a_nested_file_and_long_lists_in_pieces(tmp_path):
    network = convnext()
    layers = made_up(network)
    order = list(layers)
    groups = nested({layer: layers[layer] for layer in [*order[-5:], *order[:-5]]})
    write(tmp_path / "stage2.h5", groups)
    with h5py.File(tmp_path / "stage2.h5", "a") as file:
        group = file["model_weights/backbone"]
        names = group.attrs["weight_names"]
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:20], names[20:]
    load_backbone(network, "ConvNeXt", tmp_path / "stage2.h5", ["trunk"])
    assert same(network, values(layers))


def test_renamed_and_numbered_layers_are_found(tmp_path):
    network = convnext()
    layers = made_up(network)
    unnamed = [layer for layer in layers if layer.startswith("layer_normalization")]
    numbered = {layer if layer in unnamed else f"{layer}_1": arrays for layer, arrays in layers.items()}
    another = {"layer_normalization_3": {"layer_normalization_3/gamma:0": np.ones(3), "beta:0": np.ones(3)}}
    write(tmp_path / "numbered.h5", another | flat(numbered))
    # Keras 2's remedy for two layers of one name, layer._name = "stage1_" + layer.name, leaves weights their names.
    renamed = {f"stage1_{name}" if name != "input_1" else name: weights for name, weights in flat(layers).items()}
    for name, weights in renamed.items():
        if name.endswith("_layer_scale"):
            renamed[name] = {f"{name.removeprefix('stage1_')}/Variable:0": value for value in weights.values()}
    write(tmp_path / "renamed.h5", renamed)
    for file in ("numbered.h5", "renamed.h5"):
        network = convnext()
        load_backbone(network, "ConvNeXt", tmp_path / file, ["trunk"])
        assert same(network, values(layers)), file


def efficientnet():
    return build_backbone("EfficientNetV2Demo", 64, "none", label="trunk")


def times(factor, layers):
    return {layer: [(name, factor * value) for name, value in arrays] for layer, arrays in layers.items()}


def prefixed(prefix, groups):
    """Keras 2's remedy for two layers of one name; weights keep the names they were made with."""
    return {prefix + group: weights for group, weights in groups.items()}


def test_another_stages_backbone_is_not_taken_silently(tmp_path):
    network, other = efficientnet(), convnext()
    first, beside = made_up(network), made_up(other)
    second, before = times(2, first), network.get_weights()
    one, two = nested(first, "stage1_effnet"), nested(second, "stage2_effnet")
    numbered = [{f"{layer}_{n}": arrays for layer, arrays in each.items()} for n, each in ((1, first), (2, second))]
    files = {
        "nested": (one | two, "stage1_effnet, stage2_effnet"),
        "numbered": (flat(numbered[0] | numbered[1]), "stem_conv_1, stem_conv_2"),
        "plain": (flat(first | numbered[1]), "stem_conv, stem_conv_2"),
        "renamed": (flat(first) | prefixed("stage2_", flat(second)), "stem_conv, stage2_stem_conv"),
        "both": (flat(first) | two, "stem_conv, stage2_effnet|stage2_effnet, stem_conv"),
    }
    for name, (groups, several) in files.items():
        write(tmp_path / f"{name}.h5", groups | nested(beside, "convnext_x"))
        with pytest.raises(
            DataError, match=rf"{name}\.h5 holds several networks that fit E.*stem_conv is in ({several}); save each"
        ):
            load_backbone(network, "E", tmp_path / f"{name}.h5", ["trunk"])
        assert same(network, before), name
        load_backbone(other, "C", tmp_path / f"{name}.h5", ["convnext"])  # of which there is one
        assert same(other, values(beside)), name
    load_backbone(network, "E", tmp_path / "nested.h5", ["stage2_effnet"])
    assert same(network, values(second))
    write(tmp_path / "equal.h5", one | nested(first, "stage2_effnet"))
    load_backbone(network, "E", tmp_path / "equal.h5", ["trunk"])
    assert same(network, values(first))


def test_the_one_network_that_has_all_layers_is_taken(tmp_path):
    """Not the one before it, which shares names of layers with it."""
    network = efficientnet()
    layers = made_up(network)
    less = {layer: arrays for layer, arrays in times(2, layers).items() if layer != "top_conv"}
    write(tmp_path / "two.h5", nested(less, "smaller") | nested(layers, "whole"))
    load_backbone(network, "E", tmp_path / "two.h5", ["trunk"])
    assert same(network, values(layers))


def test_a_layer_that_is_missing_or_of_another_shape_is_named(tmp_path):
    network = convnext()
    before, layers = network.get_weights(), made_up(network)
    layer = "convnext_narrow_stage_2_block_0_pointwise_conv_1"
    write(tmp_path / "missing.h5", flat({name: arrays for name, arrays in layers.items() if name != layer}))
    write(tmp_path / "other.h5", flat(layers | dense(layer, 16, 32)))
    with pytest.raises(DataError, match=rf"missing\.h5.* of ConvNeXt: layer {layer}, \(16, 64\) \(64,\), is not in it"):
        load_backbone(network, "ConvNeXt", tmp_path / "missing.h5", ["trunk"])
    with pytest.raises(DataError, match=rf"layer {layer}, \(16, 64\) \(64,\), has shape \(16, 32\) \(32,\) in it"):
        load_backbone(network, "ConvNeXt", tmp_path / "other.h5", ["trunk"])
    assert same(network, before)  # nothing is loaded by halves


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    network = convnext()
    write(tmp_path / "whole.h5", flat(made_up(network)))
    content = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.h5").write_bytes(b"no HDF5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    write(tmp_path / "lost.h5", flat(made_up(network)))
    with h5py.File(tmp_path / "lost.h5", "a") as file:
        del file["model_weights/convnext_narrow_stem_conv/convnext_narrow_stem_conv/kernel:0"]
    write(tmp_path / "nan.h5", flat(made_up(network)))
    with h5py.File(tmp_path / "nan.h5", "a") as file:
        kernel = file["model_weights/convnext_narrow_stem_conv/convnext_narrow_stem_conv/kernel:0"]
        kernel[0, 0, 0, 0] = np.nan
    for name, odd in (("group", None), ("whole", np.zeros(3, int)), ("complex", np.zeros(3, complex))):
        write(tmp_path / f"{name}.h5", flat(made_up(network)))
        with h5py.File(tmp_path / f"{name}.h5", "a") as file:
            place = "model_weights/convnext_narrow_stem_conv/convnext_narrow_stem_conv/kernel:0"
            del file[place]
            file.create_group(place) if odd is None else file.create_dataset(place, data=odd)
    with h5py.File(tmp_path / "number.h5", "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = 7
    for name in ("cut", "text", "foreign", "lost", "nan", "group", "whole", "complex", "number"):
        with pytest.raises(DataError, match=rf"{name}\.h5 cannot be read as a model that Keras saved as \.h5 \("):
            load_backbone(network, "ConvNeXt", tmp_path / f"{name}.h5", ["trunk"])


def test_a_head_of_the_same_shapes_is_loaded_and_no_other(tmp_path):
    head, backbone = build_demo("efficientnet").final.layers[-1], convnext()
    layers = flat(made_up(backbone))
    units = head.input_shape[-1]
    head_layers = dense("dense", units, 8) | dense("dense_1", 8, 6)
    write(tmp_path / "same.h5", layers | flat(head_layers))
    write(tmp_path / "more.h5", layers | flat(head_layers | dense("dense_2", 6, 6)))
    write(tmp_path / "other.h5", layers | flat(dense("dense", units, 8) | dense("dense_1", 8, 5)))
    before = head.get_weights()
    assert not load_head(head, [backbone], tmp_path / "more.h5")
    assert not load_head(head, [backbone], tmp_path / "other.h5")
    assert same(head, before)
    assert load_head(head, [backbone], tmp_path / "same.h5")
    assert same(head, values(head_layers))


def build_demo(model, weights="none", seed=0):
    plan = {"model": model, "backbones": DEMO, "heads": HEADS, "weights": str(weights)}
    return build(Train.model_validate(plan), 64, seed)


@pytest.mark.parametrize("model", ["cascade", "modified-cascade", "convnext"])
def test_what_train_saves_as_h5_comes_back(tmp_path, model):
    trained = build_demo(model, seed=1)
    save(trained.final, tmp_path / "model.h5")
    again = build_demo(model, tmp_path / "model.h5")
    assert same(again.final, trained.final.get_weights())
    assert len(again.loaded) == (1 if model == "convnext" else 2)
    assert all(line.endswith("model.h5; its head too") for line in again.loaded)


def test_each_stage_takes_its_own_file_of_a_folder(tmp_path):
    first, second = (build_demo("cascade", seed=seed) for seed in (1, 2))
    save(first.gate, tmp_path / "stage1_best.h5")
    save(second.final, tmp_path / "cascade_final.h5")
    loaded = build_demo("cascade", tmp_path)
    assert same(loaded.gate, first.gate.get_weights())
    assert same(loaded.subtypes, second.subtypes.get_weights())
    # A trunk for both stages is the gate's; then the head of the subtypes was trained with another.
    shared = build_demo("modified-cascade", tmp_path)
    assert same(shared.gate, first.gate.get_weights())
    assert shared.loaded[1].endswith(
        f"subtypes: efficientnet from {tmp_path}/stage1_best.h5, convnext from {tmp_path}/cascade_final.h5; its head "
        "starts at random: only one of the same shapes, from the file that all its backbones come from, is taken"
    )


def test_a_folder_with_neither_says_what_is_looked_for(tmp_path):
    with pytest.raises(
        DataError,
        match=r"EfficientNetV2Demo_notop\.h5 does not exist; .* stage2_best\.h5 or the whole model cascade_final\.h5",
    ):
        build_demo("cascade", tmp_path)
