"""What a round starts from: the base version, computed or fetched, and the server's vectors beside it; each held to its digest."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

from clientagent.orders import Terms
from clientagent.portal import Portal
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.codecs import apply_delta
from clientagent.wire.errors import BaseUnavailable, CodecInvalid, NotFound, Truncated
from clientagent.wire.messages import WorkOrder
from clientagent.wire.strategies import Vectors, server_layout
from clientagent.wire.tensors import Array, pack, unpack
from clientagent.wire.weights import initial_weights

log = logging.getLogger("fedagent.work")


@dataclass(frozen=True)
class _Held:
    run: str
    number: int
    digest: str
    flat: Array


class Bases:
    """The newest version that this process has seen, and the way to the next."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._held: _Held | None = None

    def weights(self, terms: Terms, order: WorkOrder) -> Array:
        """The base as a flat vector: version 0 is computed here, any other fetched. Raises ``DigestMismatch``."""
        if self._held is None or self._held.digest != order.base_digest:
            self._held = _Held(order.run, order.base_number, order.base_digest, self._make(terms, order))
        return self._held.flat

    def server_vectors(self, terms: Terms, order: WorkOrder) -> Vectors:
        """What the portal sends beside the base for the plan's strategy; empty while it is zero."""
        layout = server_layout(terms.plan.strategy.name, terms.layout.parameters)
        if layout is None or order.state_digest is None:
            return {}
        data = self._portal.state(order.run, order.base_number, size=layout.file_bytes, digest=order.state_digest)
        return layout.unflatten(unpack(data, layout))

    def _make(self, terms: Terms, order: WorkOrder) -> Array:
        if order.base_number == 0:
            return initial_weights(terms.plan, terms.manifest.inputs)
        if terms.plan.compression.codec != "none" and (found := self._by_difference(terms, order)) is not None:
            return found
        data = self._portal.model(order.run, order.base_number, size=order.base_bytes, digest=order.base_digest)
        return unpack(data, terms.layout)

    def _by_difference(self, terms: Terms, order: WorkOrder) -> Array | None:
        """The base from a version that is here already; None where the file itself must be fetched."""
        held = self._held
        if held is None or held.run != order.run or held.number >= order.base_number:
            if order.base_number != 1:
                return None
            held = _Held(order.run, 0, terms.manifest.initial_digest, initial_weights(terms.plan, terms.manifest.inputs))
        try:
            data = self._portal.delta(order.run, order.base_number, since=held.number, most=order.base_bytes)
            flat = apply_delta(io.BytesIO(data), held.flat)
        except (BaseUnavailable, NotFound):
            return None
        except (CodecInvalid, Truncated) as error:
            log.warning("version %d is fetched whole: %s", order.base_number, error.sentence)
            return None
        if sha256_hex(pack(flat, terms.layout)) != order.base_digest:
            log.warning("version %d is fetched whole: its difference to version %d gave another one", order.base_number, held.number)
            return None
        return flat
