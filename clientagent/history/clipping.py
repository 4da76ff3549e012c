"""The privacy of banks as a run's history tells it: what updates were cut to, which noise each sum got, how an adaptive clip moved."""

from __future__ import annotations

from typing import Any, NoReturn

from clientagent.wire.errors import LedgerBroken
from clientagent.wire.messages import AggregationManifest, UpdateManifest
from clientagent.wire.plan import Plan


class ClippingStory:
    """The clips of one run's versions. Methods raise ``LedgerBroken``."""

    def __init__(self, plan: Plan) -> None:
        bank = plan.privacy.institution_dp if plan.privacy.secure_aggregation is None else None  # under masks it is in the banks' shares
        self._is_private, self._adapts = bank is not None, bank is not None and bank.clip == "adaptive"
        self._clips: dict[int, float | None] = {}
        self._fixed = None if bank is None or bank.clip == "adaptive" else float(bank.clip)
        self._following: dict[int, float | None] = {}

    def accepted(self, manifest: UpdateManifest) -> None:
        """A bank says whether its update was within the clip where the clip adapts, and nowhere else."""
        _same(f"a word of {manifest.institution} on the clip", self._adapts, manifest.within_clip is not None)

    def aggregated(self, aggregation: AggregationManifest) -> None:
        """The sum of a round got noise for the clip of its base; where that adapts, what was counted moves it."""
        noise = aggregation.noise
        _same("noise in the sum, as the plan says", self._is_private, noise is not None)
        if noise is None:
            return
        _same("the clip that the noise is for", self._clip_of(aggregation.base_number), noise.clip)
        counted = noise.within_share is not None and noise.count_deviation is not None
        _same("a count of banks within the clip, with noise", self._adapts, counted)
        self._following[aggregation.round] = _next(noise.clip, noise.within_share)

    def published(self, number: int, body: dict[str, Any]) -> None:
        """A version's clip follows from the count of the round that made it."""
        clip = body.get("clip")
        if not self._adapts:
            _same("no clip of a version, as the plan has one", None, clip)
            return
        expected = _first() if number == 0 else self._following.get(body["round"])
        _same(f"the clip of version {number}", expected, clip)
        self._clips[number] = clip

    def _clip_of(self, base_number: int) -> float | None:
        return self._clips.get(base_number) if self._adapts else self._fixed


def _first() -> float:
    from clientagent.wire.privacy.institution import FIRST_ADAPTIVE_CLIP  # numpy loads here

    return FIRST_ADAPTIVE_CLIP


def _next(clip: float, share: float | None) -> float | None:
    from clientagent.wire.privacy.institution import AdaptiveClip

    return None if share is None else AdaptiveClip(clip).after(share).clip


def _same(what: str, expected: Any, got: Any) -> None:
    if expected != got:
        _fail(f"{what}: {expected}", f"{got}")


def _fail(expected: str, got: str) -> NoReturn:
    raise LedgerBroken(expected=expected, got=got)
