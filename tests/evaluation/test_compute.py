"""Operations that are counted, against counting by hand."""

import jax
import keras
import pytest

from ich.detector import Detector
from ich.ensemble import Ensemble
from ich.evaluation import compute
from ich.evaluation.compute import Compute
from ich.models.cascade import CONVNEXT, EFFICIENTNET, GATE_TRUNK
from ich.models.forward import operations
from square_slices import tiny_backbones
from test_detector import card, networks

__all__ = ["tiny_backbones"]
PRODUCT = 5  # multiplications of P(any) with P(subtype | any)


def test_layers_by_hand():
    dense = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5)])
    assert operations(dense) == 2 * 7 * 5 + 5
    convolution = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(4, 3)])
    assert operations(convolution) == 6 * 6 * 4 * (2 * 3 * 3 * 2 + 1)
    depthwise = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.DepthwiseConv2D(3, use_bias=False)])
    assert operations(depthwise) == 6 * 6 * 2 * 2 * 3 * 3


def test_what_the_gate_saves_by_hand():
    cost = Compute(gate=1, stage2=3)
    assert [cost.saved(share) for share in (0, 0.5, 1)] == [0.75, 0.375, 0]
    assert cost.as_json() == {"gate": 1, "stage2": 3, "models": 1}


@pytest.mark.parametrize("model", ["cascade", "modified-cascade"])
def test_both_stages_add_up_to_the_network_so_a_shared_trunk_is_counted_once(tiny_backbones, model):
    network = networks(model)
    cost = compute.of(Detector(network, card(model, threshold=0.5)))
    assert cost.gate + cost.stage2 + PRODUCT == operations(network)
    shared = model == "modified-cascade"
    trunk, convnext = (operations(network.get_layer(name)) for name in (EFFICIENTNET, CONVNEXT))
    gate_trunk = trunk if shared else operations(network.get_layer(GATE_TRUNK))
    assert gate_trunk < cost.gate < 1.1 * gate_trunk
    assert (cost.stage2 > trunk + convnext) is not shared
    assert cost.stage2 > convnext


def test_members_are_added_up(tiny_backbones):
    cascade = Detector(networks("cascade"), card(threshold=0.5))
    flat = Detector(networks("efficientnet"), card("efficientnet"))
    one, both = compute.of(cascade), compute.of(Ensemble([cascade, flat]))
    assert both == Compute(one.gate + operations(flat.network), one.stage2, 2)
    assert compute.of(flat) is None


def test_other_backends_are_not_counted(tiny_backbones, monkeypatch):
    cascade = Detector(networks("cascade"), card(threshold=0.5))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert compute.of(cascade) is None


def test_jax_that_may_not_use_the_cpu_does_not_count(tiny_backbones, monkeypatch):
    def no_cpu(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    cascade = Detector(networks("cascade"), card(threshold=0.5))
    monkeypatch.setattr(jax, "local_devices", no_cpu)
    assert compute.of(cascade) is None
