"""Backbones: names, sizes, weights, and which layers are the top."""

import keras
import numpy as np
import pytest

from ich.errors import ConfigError, DataError
from ich.models.backbones import DEMO, PUBLISHED, build_backbone, top_layers
from ich.models.initialize import numpy_initializers
from ich.models.parameters import MILLIONS


@pytest.fixture(autouse=True)
def quick_start():
    with numpy_initializers(0):
        yield


def test_names_are_kerass_constructors_and_all_of_both_families():
    families = [name for name in dir(keras.applications) if name.startswith(("EfficientNetV2", "ConvNeXt"))]
    assert sorted(PUBLISHED) == sorted(families)
    assert MILLIONS.keys() == {*PUBLISHED, *DEMO}


@pytest.mark.parametrize("name", DEMO)
@pytest.mark.parametrize("size", [64, 128])
def test_feature_map_is_a_32nd_of_the_image(name, size):
    # Both demo members come from constructors that are not Keras's public API: this fails first if they change.
    backbone = build_backbone(name, size, "none", label="trunk")
    assert backbone.name == "trunk"
    assert backbone.output_shape[:3] == (None, size // 32, size // 32)
    assert backbone.count_params() / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)


@pytest.mark.parametrize("name", DEMO)
def test_pixels_are_scaled_inside_the_graph(name):
    backbone = build_backbone(name, 64, "none", label="trunk")
    inputs = np.full((1, 64, 64, 3), [[[0.0, 127.5, 255.0]]], np.float32)
    scaled = keras.Model(backbone.input, scalers(backbone)[-1].output).predict_on_batch(inputs)
    assert np.abs(scaled).max() < 3


def scalers(backbone):
    return [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)
    ]


def test_members_with_published_weights_scale_pixels_as_those_weights_want_it():
    (m,) = scalers(build_backbone("EfficientNetV2M", 64, "none", label="trunk"))
    assert (m.scale, m.offset) == (1 / 128, -1)  # -1 to 1
    (convnext,) = scalers(build_backbone("ConvNeXtBase", 64, "none", label="trunk"))
    # ImageNet's mean and standard deviation of 0-255 RGB
    assert np.ravel(convnext.mean) == pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255])
    assert np.sqrt(np.ravel(convnext.variance)) == pytest.approx([0.229 * 255, 0.224 * 255, 0.225 * 255])


@pytest.mark.parametrize(
    ("name", "first", "blocks"),
    [
        ("EfficientNetV2B0", "block6a_dwconv2", {"block6"}),
        ("EfficientNetV2M", "block6a_dwconv2", {"block6", "block7"}),
        ("ConvNeXtTiny", "convnext_tiny_downsampling_block_2", {"stage_3"}),
    ],
)
def test_top_is_the_last_resolution_stage(name, first, blocks):
    top = [layer.name for layer in top_layers(build_backbone(name, 64, "none", label="trunk"))]
    assert top[0] == first
    assert {
        block for block in ("block5", "block6", "block7", "stage_2", "stage_3") if any(block in n for n in top)
    } == blocks


def test_unknown_name_is_answered_with_close_ones():
    with pytest.raises(ConfigError, match="'EfficientNetV2m'.*EfficientNetV2M"):
        build_backbone("EfficientNetV2m", 64, "none", label="trunk")


@pytest.mark.parametrize("size", [32, 100])
def test_size_must_be_a_multiple_of_32_from_64_on(size):
    with pytest.raises(ConfigError, match=f"multiple of 32 and at least 64.* got {size}"):
        build_backbone("ConvNeXtDemo", size, "none", label="trunk")


def test_demo_members_have_no_published_weights():
    with pytest.raises(ConfigError, match="set it to none"):
        build_backbone("ConvNeXtDemo", 64, "imagenet", label="trunk")


def test_weights_come_from_a_file_or_its_folder(tmp_path):
    start = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(64, 64, 3))
    start.save(tmp_path / "efficientnetv2-b0_notop.h5")
    for weights in (tmp_path, tmp_path / "efficientnetv2-b0_notop.h5"):
        loaded = build_backbone("EfficientNetV2B0", 64, str(weights), label="trunk")
        assert all(np.array_equal(a, b) for a, b in zip(start.get_weights(), loaded.get_weights(), strict=True))


def test_a_missing_weight_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"convnext_base_notop\.h5 does not exist"):
        build_backbone("ConvNeXtBase", 64, str(tmp_path), label="trunk")


def test_weights_of_another_network_are_refused(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.h5")
    (tmp_path / "efficientnetv2-b0_notop.h5").write_bytes(b"not HDF5")
    for name in ("other.h5", "efficientnetv2-b0_notop.h5"):
        with pytest.raises(DataError, match=f"{name} does not hold weights of EfficientNetV2B0"):
            build_backbone("EfficientNetV2B0", 64, str(tmp_path / name), label="trunk")


def test_without_a_network_the_error_says_which_file_goes_where(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", no_network)
    with pytest.raises(DataError, match=rf"put Keras's efficientnetv2-b0_notop\.h5 into {tmp_path}/models"):
        build_backbone("EfficientNetV2B0", 64, "imagenet", label="trunk")
