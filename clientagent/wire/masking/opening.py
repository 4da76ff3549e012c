"""From masked vectors and shares to the sum: which masks remain in it, and their removal block by block.

Secrets that are rebuilt are held against what their bank committed to, so a wrong share never becomes a wrong sum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clientagent.wire.errors import ShareInvalid, StageClosed, Truncated
from clientagent.wire.masking import keys, sharing
from clientagent.wire.masking.collector import Collector, Stage
from clientagent.wire.masking.encoding import dequantise
from clientagent.wire.masking.ring import WORD, Integers, Ring, Words
from clientagent.wire.masking.streams import Stream, scratch
from clientagent.wire.secure_messages import Segment

Reader = Callable[[int, int], Words]
"""(start, count) to the words of one bank's masked vector."""


@dataclass(frozen=True)
class Mask:
    """A mask that is still in the sum of the survivors' vectors, and the sign with which to apply it there."""

    key: bytes
    sign: int


def remaining_masks(collector: Collector) -> list[Mask]:
    """The self masks of survivors and the pair masks towards those who left.

    Raises ``ShareInvalid`` naming the bank whose dealt shares do not rebuild what it committed to, ``StageClosed`` too early.
    """
    if collector.stage != Stage.DONE:
        raise StageClosed(expected="a cohort that is done", got=f"stage {collector.stage}")
    masks = [Mask(_self_key(collector, bank), -1) for bank in collector.survivors]
    for bank in collector.spoken(Stage.SHARES):
        if bank not in collector.survivors:
            masks += _pair_masks(collector, bank)
    return masks


def _self_key(collector: Collector, bank: str) -> bytes:
    rid = collector.cohort.rid
    shares = {holder: answer.self_shares[bank] for holder, answer in collector.answers.items()}
    seed = sharing.rebuild(shares, collector.cohort)
    if keys.commitment(seed, rid, bank) != collector.advertisements[bank].commitment:
        raise ShareInvalid(expected=f"shares of the seed that {bank} committed to", got="shares of something else")
    return keys.self_mask_key(seed, rid, bank)


def _pair_masks(collector: Collector, left: str) -> Iterator[Mask]:
    """A survivor below ``left`` added their mask, one above took it away: here it goes the other way."""
    rid, peers = collector.cohort.rid, collector.advertisements
    shares = {holder: answer.pair_shares[left] for holder, answer in collector.answers.items()}
    private = keys.mask_private(sharing.rebuild(shares, collector.cohort), rid, left)
    if keys.public_of(private) != peers[left].mask_key:
        raise ShareInvalid(expected=f"shares of the key that {left} advertised", got="shares of something else")
    for bank in collector.survivors:
        yield Mask(keys.pair_mask_key(private, rid, peers[left], peers[bank]), -1 if bank < left else +1)


@dataclass(frozen=True)
class SumBlock:
    """Summed integers of one segment from value ``first`` on."""

    segment: Segment
    first: int
    integers: Integers

    @property
    def values(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return dequantise(self.integers, self.segment)


def open_sum(ring: Ring, readers: Sequence[Reader], masks: Sequence[Mask]) -> Iterator[SumBlock]:
    """The exact sum of the survivors' encoded vectors, block by block in order; memory is one block, whatever the size.

    ``readers`` are the survivors' vectors, their digests checked before. Raises ``RingExceeded`` when some bank's vector was not
    one that the terms allow.
    """
    streams = [Stream(mask.key, mask.sign) for mask in masks]
    block = scratch()
    for piece in ring.pieces():
        total = np.zeros(piece.words, WORD)
        for read in readers:
            np.add(total, read(piece.start, piece.words), out=total)
        for stream in streams:
            stream.apply(total, block)
        yield SumBlock(piece.place.segment, piece.first, piece.place.integers_of(total, piece.values, len(readers)))


def file_reader(descriptor: int, offset: int = 0) -> Reader:
    """Words of an open file, by ``pread``. Raises ``Truncated`` for a file that is too short."""

    def read(start: int, count: int) -> Words:
        data = os.pread(descriptor, 4 * count, offset + 4 * start)
        if len(data) != 4 * count:
            raise Truncated(expected=f"{4 * count} bytes", got=f"{len(data)} bytes")
        return np.frombuffer(data, WORD)

    return read


def array_reader(vector: Words) -> Reader:
    return lambda start, count: vector[start : start + count]
