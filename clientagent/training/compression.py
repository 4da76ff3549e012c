"""What leaves the bank under the plan's codec, and with top-k what stays behind for the next time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clientagent.wire.codecs import encode
from clientagent.wire.plan import Compression
from clientagent.wire.tensors import Array, Layout, pack


@dataclass(frozen=True)
class Compressed:
    """``data`` leaves, ``sent`` (parameters,) is what the portal reads in it, ``residual`` what was left out (None: nothing)."""

    data: bytes
    sent: Array
    residual: Array | None


def compress(
    flat: Array, layout: Layout, compression: Compression, *, residual: Array | None, random: np.random.Generator
) -> Compressed:
    """Encode an update (parameters,) of this layout. Raises ``NotFinite``.

    Top-k sends the largest of update plus ``residual`` and keeps the rest (error feedback, Stich et al. 2018, algorithm 1);
    int8 rounds without bias and bfloat16 hardly at all, so both keep nothing.
    """
    if compression.codec == "none":
        return Compressed(pack(flat, layout), flat, None)
    if compression.codec != "topk":
        encoded = encode(flat, compression, random)
        return Compressed(encoded.data, encoded.sent, None)
    wanted = flat if residual is None else flat + residual
    encoded = encode(wanted, compression, random)
    return Compressed(encoded.data, encoded.sent, wanted - encoded.sent)
