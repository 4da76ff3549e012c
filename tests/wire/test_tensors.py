"""Weights as bytes: one layout, one digest; nothing but the plan's tensors, whole and finite, is an update."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.errors import NotFinite, Refusal, TensorsMismatch, Truncated
from clientagent.wire.tensors import BLOCK, Layout, check_file, pack, unpack

SHAPES = {"layers.0.weight": (3, 4), "layers.0.bias": (3,), "layers.1.weight": (1, 3), "layers.1.bias": (1,)}
LAYOUT = Layout(SHAPES)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda n: n != "__metadata__")
layouts = st.dictionaries(names, st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5).map(Layout)


def values(layout: Layout, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(layout.parameters).astype(np.float32)


def by_library(tensors: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


@given(layouts, st.integers(0, 2**32))
def test_packing_and_unpacking_keeps_every_bit(layout, seed):
    flat = values(layout, seed)
    data = pack(flat, layout)
    assert len(data) == layout.file_bytes
    assert np.array_equal(unpack(data, layout), flat)


@given(layouts)
def test_the_safetensors_library_reads_what_we_write(layout):
    flat = values(layout)
    read = safetensors.numpy.load(pack(flat, layout))
    expected = layout.unflatten(flat)
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_we_read_what_the_safetensors_library_writes_byte_for_byte():
    flat = values(LAYOUT)
    data = by_library(LAYOUT.unflatten(flat))
    assert data == pack(flat, LAYOUT)
    assert np.array_equal(unpack(data, LAYOUT), flat)


@given(layouts)
def test_flatten_is_the_inverse_of_unflatten(layout):
    flat = values(layout)
    assert np.array_equal(layout.flatten(layout.unflatten(flat)), flat)


def test_the_payload_is_the_flat_vector():
    flat = values(LAYOUT)
    assert pack(flat, LAYOUT)[len(LAYOUT.header) :] == flat.tobytes()


def test_the_order_in_which_tensors_were_named_does_not_matter():
    assert Layout(dict(reversed(SHAPES.items()))).header == LAYOUT.header


@given(st.integers(0, LAYOUT.file_bytes - 1))
def test_a_truncated_file_is_truncated(length):
    with pytest.raises(Truncated) as refusal:
        unpack(pack(values(LAYOUT), LAYOUT)[:length], LAYOUT)
    assert refusal.value.got == f"{length} bytes"


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 4, b"x" * 10_000])
def test_an_oversized_file_is_refused(extra):
    with pytest.raises(TensorsMismatch):
        unpack(pack(values(LAYOUT), LAYOUT) + extra, LAYOUT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, LAYOUT.parameters - 1])
def test_one_value_that_is_not_finite_is_refused(value, position, tmp_path):
    flat = values(LAYOUT)
    flat[position] = value
    data = pack(flat, LAYOUT)
    (tmp_path / "update").write_bytes(data)
    for read in (lambda: unpack(data, LAYOUT), lambda: check_file(tmp_path / "update", LAYOUT)):
        with pytest.raises(NotFinite, match="1 NaN or infinite"):
            read()


TENSORS = LAYOUT.unflatten(values(LAYOUT))


@pytest.mark.parametrize(
    "tensors",
    [
        {**TENSORS, "layers.0.weight": TENSORS["layers.0.weight"].T},
        {**TENSORS, "layers.0.weight": TENSORS["layers.0.weight"].reshape(12)},
        {("layers.9.bias" if name == "layers.1.bias" else name): tensor for name, tensor in TENSORS.items()},
        {name: tensor for name, tensor in TENSORS.items() if name != "layers.1.bias"},
        {**TENSORS, "layers.1.bias": np.zeros(2, np.float32)},
    ],
)
def test_a_wrong_shape_or_name_is_refused_with_what_was_expected(tensors):
    with pytest.raises(Refusal) as refusal:
        unpack(by_library(tensors), LAYOUT)
    assert refusal.value.code in ("tensors_mismatch", "truncated")
    with pytest.raises(TensorsMismatch):
        LAYOUT.flatten(tensors)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_another_type_of_the_same_width_is_refused(dtype):
    with pytest.raises(TensorsMismatch):
        unpack(by_library({**TENSORS, "layers.1.bias": np.ones(1, dtype)}), LAYOUT)


def test_the_header_says_what_came_instead():
    swapped = {**TENSORS, "layers.0.weight": TENSORS["layers.0.weight"].T}
    with pytest.raises(TensorsMismatch) as refusal:
        unpack(by_library(swapped), LAYOUT)
    assert "layers.0.weight[3, 4]" in refusal.value.expected
    assert "layers.0.weight[4, 3]" in refusal.value.got


@given(st.data())
def test_any_changed_byte_of_the_header_is_refused(data):
    packed = bytearray(pack(values(LAYOUT), LAYOUT))
    where = data.draw(st.integers(0, len(LAYOUT.header) - 1))
    packed[where] = data.draw(st.integers(0, 255).filter(lambda b: b != packed[where]))
    with pytest.raises(TensorsMismatch):
        unpack(bytes(packed), LAYOUT)


def test_a_header_with_metadata_or_a_bomb_is_refused(tmp_path):
    metadata = by_library(TENSORS)
    text = json.dumps({"__metadata__": {"x": "y" * 500}, **json.loads(LAYOUT.header[8:])}).encode()
    bomb = (2**63).to_bytes(8, "little") + b"{" * (LAYOUT.file_bytes - 8)
    nested = len(text).to_bytes(8, "little") + (b"[" * LAYOUT.file_bytes)[: LAYOUT.file_bytes - 8]
    for data in (len(text).to_bytes(8, "little") + text + metadata, bomb, nested):
        (tmp_path / "update").write_bytes(data)
        with pytest.raises(TensorsMismatch):
            unpack(data, LAYOUT)
        with pytest.raises(TensorsMismatch):
            check_file(tmp_path / "update", LAYOUT)


@pytest.mark.parametrize("flat", [np.zeros(3, np.float32), np.zeros((19, 1), np.float32), np.zeros(0, np.float32)])
def test_a_vector_of_another_length_is_not_packed(flat):
    with pytest.raises(TensorsMismatch):
        pack(flat, LAYOUT)


def test_a_file_of_several_blocks_has_the_norm_of_its_vector(tmp_path):
    layout = Layout({"layers.0.weight": (1, 2 * BLOCK + 17)})
    flat = values(layout)
    (tmp_path / "update").write_bytes(pack(flat, layout))
    assert check_file(tmp_path / "update", layout) == pytest.approx(np.linalg.norm(flat.astype(np.float64)), rel=1e-12)


def test_a_norm_beyond_float32_is_a_number(tmp_path):
    layout = Layout({"w": (4,)})
    (tmp_path / "update").write_bytes(pack(np.full(4, 3e38, np.float32), layout))
    assert check_file(tmp_path / "update", layout) == pytest.approx(6e38, rel=1e-6)


def test_a_truncated_file_on_disk_is_truncated(tmp_path):
    (tmp_path / "update").write_bytes(pack(values(LAYOUT), LAYOUT)[:-1])
    with pytest.raises(Truncated):
        check_file(tmp_path / "update", LAYOUT)
