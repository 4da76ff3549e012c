"""Every side computes the same initial weights, to the bit, today and after the next release of numpy."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from clientagent.wire.tensors import pack
from clientagent.wire.weights import initial_weights, layer_widths, layout_of
from tests.wire.given import a_plan


def digest(inputs: int, **changes) -> str:
    plan = a_plan(**changes)
    return hashlib.sha256(pack(initial_weights(plan, inputs), layout_of(plan, inputs))).hexdigest()


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({"training__seed": 0}, "f2f8c0ba4bddbe25458b3b6cb28cc739d2b5c65bb6772f62a5dc138c936d7e3b"),
        ({"training__seed": 7}, "e413e587c6f7922827f8752817fee6b8bae4431da90302a9fab5c8cda902346e"),
        ({"model__hidden": [3]}, "c142f232052864aa8d781a644680ab144532c11aff6843ae4a1fa9abfa94c392"),
    ],
)
def test_the_digest_of_version_0_is_golden(changes, golden):
    assert digest(5, **changes) == golden


def test_the_first_draws_are_those_of_philox_4x64():
    """Independent of numpy: the first block of Philox4x64-10 with key 0 and counter 1 (Salmon et al. 2011)."""
    block = _philox_4x64_10(counter=(1, 0, 0, 0), key=(0, 0))
    unit = [(word >> 11) * 2.0**-53 for word in block]
    bound = 1 / np.sqrt(5)
    first = initial_weights(a_plan(model__hidden=[4]), 5)
    by_name = layout_of(a_plan(model__hidden=[4]), 5).unflatten(first)
    expected = [np.float32((2 * u - 1) * bound) for u in unit]
    assert by_name["layers.0.weight"].reshape(-1)[:4].tolist() == [float(x) for x in expected]


def _philox_4x64_10(counter, key):
    mask, (c0, c1, c2, c3), (k0, k1) = 2**64 - 1, counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return c0, c1, c2, c3


def test_a_logistic_model_starts_at_zero():
    plan = a_plan(model__family="logistic")
    assert not initial_weights(plan, 5).any()
    assert layer_widths(plan, 5) == [5, 1]


def test_names_and_shapes_are_those_of_torch_linear_layers():
    assert layout_of(a_plan(model__hidden=[64, 32]), 10).shapes == {
        "layers.0.weight": (64, 10), "layers.0.bias": (64,), "layers.1.weight": (32, 64), "layers.1.bias": (32,),
        "layers.2.weight": (1, 32), "layers.2.bias": (1,),
    }


@pytest.mark.parametrize("hidden", [[], [1], [2] * 8, [1024]])
def test_every_layer_lies_within_one_over_the_root_of_its_inputs(hidden):
    plan = a_plan(model__hidden=hidden)
    layout = layout_of(plan, 9)
    tensors = layout.unflatten(initial_weights(plan, 9))
    for i, fan_in in enumerate([9, *hidden]):
        for tensor in (tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]):
            assert np.abs(tensor).max() <= np.float32(1 / np.sqrt(fan_in))
    assert sum(tensor.size for tensor in tensors.values()) == layout.parameters


def test_the_spread_is_that_of_a_uniform_distribution():
    weights = initial_weights(a_plan(model__hidden=[1024]), 100)[1024 : 1024 + 102400].astype(np.float64)
    assert weights.mean() == pytest.approx(0, abs=1e-3)
    assert weights.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.01)


def test_two_seeds_give_two_models():
    assert digest(5, training__seed=1) != digest(5, training__seed=2)


def plugin_plan(**changes):
    tensors = [
        {"name": "deep.weight", "shape": [8, "inputs"]}, {"name": "norm", "shape": [8], "start": "ones"},
        {"name": "deep.bias", "shape": [8], "start": "zeros"}, {"name": "top", "shape": [2, 8, 3]},
    ]  # fmt: skip
    return a_plan(model={"family": "ours@" + "0" * 64, "tensors": tensors}, **changes)


def test_tensors_of_a_plugin_start_as_the_plan_says():
    layout = layout_of(plugin_plan(), 9)
    assert layout.shapes == {"deep.weight": (8, 9), "norm": (8,), "deep.bias": (8,), "top": (2, 8, 3)}
    tensors = layout.unflatten(initial_weights(plugin_plan(), 9))
    assert (tensors["norm"] == 1).all()
    assert not tensors["deep.bias"].any()
    for name, fan_in in (("deep.weight", 9), ("top", 24)):
        assert 0.5 / fan_in**0.5 < np.abs(tensors[name]).max() <= 1 / fan_in**0.5
    assert initial_weights(plugin_plan(training__seed=1), 9).tobytes() != initial_weights(plugin_plan(), 9).tobytes()


def test_the_first_tensor_of_a_plugin_has_the_stream_of_an_mlps_first_layer():
    mlp = layout_of(a_plan(model__hidden=[8]), 9).unflatten(initial_weights(a_plan(model__hidden=[8]), 9))
    ours = layout_of(plugin_plan(), 9).unflatten(initial_weights(plugin_plan(), 9))
    assert ours["deep.weight"].tobytes() == mlp["layers.0.weight"].tobytes()
