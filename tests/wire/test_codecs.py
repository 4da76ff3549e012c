"""Codecs: the receiver reads to the bit what the sender says it sent, and nothing but a whole and finite container is read."""

from __future__ import annotations

import io
import math
import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clientagent.wire.codecs import CHUNK, apply_delta, coded_bytes, decode, decode_file, delta_of, encode
from clientagent.wire.codecs.container import CHUNK_HEADER, HEADER
from clientagent.wire.codecs.formats import BLOCK, topk_bytes_of
from clientagent.wire.codecs.updates import kept
from clientagent.wire.errors import CodecInvalid, NotFinite, Refusal, TensorsMismatch, Truncated
from clientagent.wire.plan import Compression
from clientagent.wire.tensors import Layout, pack, unpack

BFLOAT16, INT8 = Compression(codec="bfloat16"), Compression(codec="int8")
TOPK = Compression(codec="topk", share=0.05)
ALL = pytest.mark.parametrize("compression", [BFLOAT16, INT8, TOPK], ids=lambda c: c.codec)
LEAST_INT8 = 127 * float(np.finfo(np.float32).tiny)
"""A block whose largest value lies below travels as zeros."""
floats = st.floats(-(2.0**100), 2.0**100, width=32)
vectors = arrays.arrays(np.float32, st.integers(1, 700), elements=floats)


def an_update(size: int, seed: int = 0) -> np.ndarray:
    """Heavy tails, as differences of weights have them."""
    rng = np.random.default_rng(seed)
    return (1e-3 * rng.standard_normal(size) * np.exp(rng.standard_normal(size))).astype(np.float32)


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def read(data: bytes, compression: Compression, size: int) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *decode(io.BytesIO(data), compression, size)])


# ------------------------------------------------------------------------ there and back
@ALL
@given(flat=vectors, seed=st.integers(0, 2**32))
def test_the_portal_reads_to_the_bit_what_the_bank_says_it_sent(compression, flat, seed):
    encoded = encode(flat, compression, chance(seed))
    assert read(encoded.data, compression, len(flat)).tobytes() == encoded.sent.tobytes()


@ALL
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 300])
def test_every_length_fits_its_chunks(compression, size):
    flat = an_update(size)
    encoded = encode(flat, compression, chance())
    assert len(encoded.sent) == size
    assert len(encoded.data) <= coded_bytes(compression, Layout({"w": (size,)}))[1]


@given(vectors)
def test_bfloat16_is_within_half_a_step_of_its_eight_bits(flat):
    sent = encode(flat, BFLOAT16, chance()).sent
    assert (np.abs(sent - flat) <= np.abs(flat) * 2**-8 + 1e-38).all()


@given(vectors, st.integers(0, 2**32))
def test_int8_is_within_a_step_of_its_block(flat, seed):
    sent = encode(flat, INT8, chance(seed)).sent
    for at in range(0, len(flat), BLOCK):
        block = flat[at : at + BLOCK]
        assert np.abs(sent[at : at + BLOCK] - block).max() <= np.abs(block).max() / 127 * 1.001 + LEAST_INT8


@pytest.mark.parametrize(("largest", "travels"), [(LEAST_INT8 * 0.99, False), (LEAST_INT8 * 1.01, True)])
def test_int8_blocks_whose_step_is_no_normal_number_travel_as_zeros(largest, travels):
    sent = encode(np.array([largest], np.float32), INT8, chance()).sent
    assert sent == (pytest.approx(largest, rel=1e-3) if travels else 0)


def test_int8_rounds_without_bias():
    flat = np.full(BLOCK, 0.3, np.float32)
    flat[0] = 127.0  # the step is 1
    mean = np.mean([encode(flat, INT8, chance(seed)).sent[1:].mean() for seed in range(200)])
    assert mean == pytest.approx(0.3, abs=0.01)


def test_the_generator_alone_decides_how_int8_rounds():
    flat = an_update(5000)
    assert encode(flat, INT8, chance(1)).data == encode(flat, INT8, chance(1)).data
    assert encode(flat, INT8, chance(1)).data != encode(flat, INT8, chance(2)).data


@given(vectors)
def test_topk_sends_the_largest_and_zeros_for_the_rest(flat):
    sent = encode(flat, TOPK, chance()).sent
    count = kept(len(flat), TOPK.share)
    smallest = np.sort(np.abs(flat))[len(flat) - count]
    assert np.count_nonzero(sent) <= count
    assert (np.abs(flat[sent != 0]) >= smallest).all()


@pytest.mark.parametrize("share", [1e-6, 0.001, 0.05, 0.5, 1.0])
def test_topk_sends_the_share_that_the_plan_names(share):
    size = 3 * BLOCK + 17
    assert kept(size, share) == min(size, max(1, math.ceil(share * size)))
    compression = Compression(codec="topk", share=share)
    encoded = encode(np.ones(size, np.float32), compression, chance())
    assert np.count_nonzero(encoded.sent) == kept(size, share)


@ALL
def test_an_update_of_zeros_is_zeros(compression):
    assert not encode(np.zeros(1000, np.float32), compression, chance()).sent.any()


@pytest.mark.parametrize(
    ("compression", "most"),
    [(BFLOAT16, 1.6), (INT8, 0.9), (TOPK, 0.11), (Compression(codec="topk", share=0.01), 0.025)],
    ids=["bfloat16", "int8", "topk 5 %", "topk 1 %"],
)
def test_bytes_a_parameter(compression, most):
    size = 300_000
    assert len(encode(an_update(size), compression, chance()).data) / size < most


@ALL
def test_numbers_that_the_codec_cannot_hold_are_refused_before_they_leave(compression):
    flat = an_update(300)
    flat[7] = np.nan
    with pytest.raises(NotFinite):
        encode(flat, compression, chance())
    flat[7] = np.inf
    with pytest.raises(NotFinite):
        encode(flat, compression, chance())


def test_the_largest_float_rounds_to_infinity_in_bfloat16_and_is_refused():
    with pytest.raises(NotFinite):
        encode(np.array([3.4e38], np.float32), BFLOAT16, chance())


# ------------------------------------------------------------------------ files
@ALL
def test_a_coded_file_becomes_the_plain_file_of_what_was_sent(tmp_path, compression):
    layout = Layout({"a": (3, 50_000), "b": (CHUNK,)})
    encoded = encode(an_update(layout.parameters), compression, chance())
    (tmp_path / "coded").write_bytes(encoded.data)
    written: list[bytes] = []
    norm = decode_file(tmp_path / "coded", compression, layout, written.append)
    assert b"".join(written) == pack(encoded.sent, layout)
    assert norm == pytest.approx(float(np.linalg.norm(encoded.sent.astype(np.float64))))


def test_without_a_codec_the_file_stays_as_it_is(tmp_path):
    layout = Layout({"a": (1000,)})
    data = pack(an_update(1000), layout)
    (tmp_path / "plain").write_bytes(data)
    written: list[bytes] = []
    decode_file(tmp_path / "plain", Compression(), layout, written.append)
    assert b"".join(written) == data
    assert coded_bytes(Compression(), layout) == (len(data), len(data))
    (tmp_path / "plain").write_bytes(data[:-1] + b"")
    with pytest.raises(Truncated):
        decode_file(tmp_path / "plain", Compression(), layout, written.append)


def test_decoding_takes_the_same_memory_for_a_large_model(tmp_path):
    peaks = []
    for size in (2 * CHUNK, 16 * CHUNK):
        layout = Layout({"w": (size,)})
        (tmp_path / "coded").write_bytes(encode(an_update(size), TOPK, chance()).data)
        tracemalloc.start()
        decode_file(tmp_path / "coded", TOPK, layout, lambda data: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


# ------------------------------------------------------------------------ at the door
@ALL
def test_a_byte_too_few_or_too_many_is_refused(compression):
    data = encode(an_update(2000), compression, chance()).data
    for cut in (0, 1, HEADER.size, HEADER.size + 3, len(data) // 2, len(data) - 1):
        with pytest.raises(Truncated):
            read(data[:cut], compression, 2000)
    with pytest.raises(CodecInvalid):
        read(data + b"\0", compression, 2000)


@ALL
def test_a_container_of_another_model_or_codec_is_refused(compression):
    data = encode(an_update(2000), compression, chance()).data
    other = INT8 if compression.codec != "int8" else BFLOAT16
    for wrong, size in ((compression, 1999), (other, 2000)):
        with pytest.raises(CodecInvalid):
            read(data, wrong, size)
    with pytest.raises(CodecInvalid, match="no container"):
        read(b"PK\3\4" + data[4:], compression, 2000)


def test_another_share_than_the_plans_is_refused():
    data = encode(an_update(2000), Compression(codec="topk", share=0.06), chance()).data
    with pytest.raises(CodecInvalid):
        read(data, TOPK, 2000)


@ALL
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_flipped_byte_is_a_refusal_or_another_finite_vector(compression, place, value):
    data = bytearray(encode(an_update(1500), compression, chance()).data)
    data[place % len(data)] = value
    try:
        found = read(bytes(data), compression, 1500)
    except Refusal:
        return
    assert len(found) == 1500
    assert np.isfinite(found).all()


@ALL
@given(junk=st.binary(max_size=400))
def test_junk_is_refused(compression, junk):
    with pytest.raises(Refusal):
        read(junk, compression, 100)


def container(kind: int, values: int, sent: int, *chunks: bytes) -> bytes:
    return HEADER.pack(b"FPC1", kind, values, sent) + b"".join(chunks)


def plain(raw: bytes) -> bytes:
    return CHUNK_HEADER.pack(0, len(raw), len(raw)) + raw


def packed(raw: bytes, *, stated: int | None = None) -> bytes:
    frame = zstandard.ZstdCompressor().compress(raw)
    return CHUNK_HEADER.pack(1, len(raw) if stated is None else stated, len(frame)) + frame


@pytest.mark.parametrize("scale", [math.nan, math.inf, -1.0, 3e38])
def test_a_scale_that_makes_no_finite_numbers_is_refused(scale):
    raw = struct.pack("<f", scale) + bytes([127] * 4)
    with pytest.raises(NotFinite):
        read(container(2, 4, 4, plain(raw)), INT8, 4)


def test_minus_128_is_no_step():
    with pytest.raises(CodecInvalid, match="-127"):
        read(container(2, 1, 1, plain(struct.pack("<f", 1.0) + b"\x80")), INT8, 1)


def test_nan_in_bfloat16_is_refused():
    with pytest.raises(NotFinite):
        read(container(1, 1, 1, plain(b"\x7f\xc0")), BFLOAT16, 1)


def topk_chunk(values: int, counts: list[int], places: list[int], steps: bytes | None = None, scale: float = 1.0) -> bytes:
    scales = struct.pack("<f", scale) * -(-len(places) // BLOCK)
    return struct.pack(f"<{len(counts)}H", *counts) + bytes(places) + scales + (steps or bytes([1] * len(places)))


@pytest.mark.parametrize(
    ("counts", "places"),
    [([2, 0], [5, 5]), ([2, 0], [6, 5]), ([0, 2], [1, 200]), ([300, 0], [1, 2]), ([1, 0], [1, 2]), ([3, 0], [1, 2])],
    ids=["twice", "backwards", "beyond the end", "more than a block", "too few counted", "too many counted"],
)
def test_places_out_of_order_or_range_are_refused(counts, places):
    compression = Compression(codec="topk", share=2 / 300)
    with pytest.raises(CodecInvalid):
        read(container(3, 300, 2, plain(topk_chunk(300, counts, places))), compression, 300)


def test_as_many_values_as_the_plan_says_and_no_other_number():
    compression = Compression(codec="topk", share=2 / 300)
    assert np.count_nonzero(read(container(3, 300, 2, plain(topk_chunk(300, [1, 1], [3, 9]))), compression, 300)) == 2
    with pytest.raises(CodecInvalid, match="expected 2 values, got 1"):
        read(container(3, 300, 2, plain(topk_chunk(300, [1, 0], [3]))), compression, 300)


# ------------------------------------------------------------------------ bombs
def peak_of(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stated", [None, 4 + 1])
def test_a_frame_that_unpacks_to_more_than_its_chunk_is_never_unpacked(stated):
    bomb = packed(bytes(64 * 2**20), stated=stated)
    data = container(2, 1, 1, bomb)

    def attempt() -> None:
        with pytest.raises(CodecInvalid):
            read(data, INT8, 1)

    assert peak_of(attempt) < 2**20


def test_a_frame_that_states_no_size_is_refused():
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    frame = compressor.compress(bytes(1000))
    data = container(1, 500, 500, CHUNK_HEADER.pack(1, 1000, len(frame)) + frame)
    with pytest.raises(CodecInvalid):
        read(data, BFLOAT16, 500)


def test_a_frame_that_lies_about_its_size_is_refused():
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(1000)))
    longer = zstandard.ZstdCompressor().compress(bytes(1002))
    parameters = zstandard.get_frame_parameters(bytes(frame))
    assert parameters.content_size == 1000
    frame[: len(longer)] = longer[:7] + frame[7:]  # the header of another frame before this one's blocks
    data = container(1, 501, 501, CHUNK_HEADER.pack(1, 1002, len(frame)) + bytes(frame))
    with pytest.raises(Refusal):
        read(data, BFLOAT16, 501)


def test_bytes_after_a_frame_are_refused():
    frame = zstandard.ZstdCompressor().compress(bytes(1000)) + b"more"
    data = container(1, 500, 500, CHUNK_HEADER.pack(1, 1000, len(frame)) + frame)
    with pytest.raises(CodecInvalid):
        read(data, BFLOAT16, 500)


@pytest.mark.parametrize(("raw", "stored"), [(2**32 - 1, 10), (10, 2**32 - 1), (1001, 900), (999, 900)])
def test_lengths_that_the_codec_cannot_need_are_refused_before_reading(raw, stored):
    data = container(1, 500, 500, CHUNK_HEADER.pack(1, raw, stored) + bytes(900))
    with pytest.raises(CodecInvalid):
        read(data, BFLOAT16, 500)


def test_a_plain_chunk_has_the_length_that_it_states():
    with pytest.raises(CodecInvalid):
        read(container(1, 500, 500, CHUNK_HEADER.pack(0, 1000, 999) + bytes(1000)), BFLOAT16, 500)


def test_the_door_knows_the_largest_container():
    layout = Layout({"w": (1000,)})
    assert coded_bytes(INT8, layout) == (1, HEADER.size + CHUNK_HEADER.size + 1000 + 4 * 4)
    assert coded_bytes(TOPK, layout)[1] == HEADER.size + CHUNK_HEADER.size + topk_bytes_of(1000, 1000)


# ------------------------------------------------------------------------ what goes down
@given(vectors, st.integers(0, 2**32), st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e6]))
def test_a_difference_brings_back_every_bit(base, seed, size):
    with np.errstate(over="ignore"):
        new = base + (size * np.random.default_rng(seed).standard_normal(len(base))).astype(np.float32)
    assert apply_delta(io.BytesIO(delta_of(base, new)), base).tobytes() == new.tobytes()


def test_a_difference_over_several_chunks_and_signs_of_zero():
    base = an_update(2 * CHUNK + 5)
    new = -base
    new[:10] = [0.0, -0.0, np.float32(1e-45), np.float32(-1e-45), 3e38, -3e38, 1, -1, 2, -2]
    assert apply_delta(io.BytesIO(delta_of(base, new)), base).tobytes() == new.tobytes()


def test_small_steps_make_small_differences():
    base = np.random.default_rng(0).uniform(-0.05, 0.05, 200_000).astype(np.float32)
    some = base.copy()
    some[::20] += 1e-3
    assert len(delta_of(base, base)) < 100
    assert len(delta_of(base, some)) < 4 * len(base) / 8
    assert len(delta_of(base, base + an_update(len(base)))) < 4 * len(base) / 1.3


def test_a_difference_for_another_model_is_refused():
    base = an_update(1000)
    data = delta_of(base, base * 2)
    with pytest.raises(CodecInvalid):
        apply_delta(io.BytesIO(data), base[:-1])
    with pytest.raises(Truncated):
        apply_delta(io.BytesIO(data[:-1]), base)
    with pytest.raises(CodecInvalid):
        apply_delta(io.BytesIO(data + b"\0"), base)


def test_what_comes_out_of_a_difference_still_has_to_be_a_file_of_the_layout():
    """The digest is the check; a stranger's difference cannot smuggle NaN past the reader either."""
    layout, base = Layout({"w": (4,)}), np.ones(4, np.float32)
    found = apply_delta(io.BytesIO(delta_of(base, np.array([1, np.nan, 1, 1], np.float32))), base)
    with pytest.raises(NotFinite):
        unpack(pack(found, layout), layout)
    with pytest.raises(TensorsMismatch):
        pack(found[:3], layout)
