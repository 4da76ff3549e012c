"""Updates made smaller: how a flat vector becomes fewer bytes, and how these become a flat vector again, in flat memory.

``none`` is the plain file of ``wire.tensors``. The others are lossy containers; ``delta`` is a lossless one for what goes down.
"""

from clientagent.wire.codecs.container import CHUNK, largest_bytes
from clientagent.wire.codecs.delta import apply_delta, delta_chunks, delta_of
from clientagent.wire.codecs.updates import Encoded, coded_bytes, decode, decode_file, encode

__all__ = [
    "CHUNK", "Encoded", "apply_delta", "coded_bytes", "decode", "decode_file", "delta_chunks", "delta_of", "encode",
    "largest_bytes",
]
