from types import SimpleNamespace

import pytest

from ich.precision import _policy_for, resolve_precision


@pytest.mark.parametrize(
    ("platform", "capability", "policy"),
    [
        ("cpu", None, "float32"),
        ("gpu", "7.0", "mixed_float16"),  # V100
        ("gpu", "7.5", "mixed_float16"),  # T4
        ("gpu", "8.0", "mixed_bfloat16"),  # A100
        ("gpu", "8.9", "mixed_bfloat16"),  # L4
        ("gpu", "10.0", "mixed_bfloat16"),  # B200
        ("gpu", "gfx90a", "mixed_bfloat16"),  # MI250
    ],
)
def test_auto_follows_the_device(platform, capability, policy):
    assert _policy_for(SimpleNamespace(platform=platform, compute_capability=capability)) == policy


def test_a_named_precision_is_taken():
    assert resolve_precision("mixed_float16") == "mixed_float16"
