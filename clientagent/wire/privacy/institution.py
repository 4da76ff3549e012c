"""Differential privacy for a whole bank: its update is clipped, and the sum of updates gets noise of a stated distribution.

Plain mode: the portal adds a Gaussian (it sees single updates, so the promise is towards whoever sees the models). Under secure
aggregation each bank adds a discrete Gaussian share in the ring, sized so that the honest survivors' shares alone make the stated
noise; then nobody ever holds a sum without it (Kairouz, Liu & Steinke 2021, "The distributed discrete Gaussian mechanism"). Each
opened sum is a release of its own there, so noise is solved for a few more of them than the plan has rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.combinations import require_combinable
from clientagent.wire.errors import NotFinite, PlanInvalid, PrivacyUnsound
from clientagent.wire.messages.privacy import PrivacyEvent
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.accounting import ACCOUNTANT, NoiseCache, epsilon_of, noise_for
from clientagent.wire.privacy.discrete import Integers, discrete_gaussian
from clientagent.wire.privacy.events import Spending, together
from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.privacy.terms import updates_of

CLIP_DIGITS = 9
"""Significant digits of an adaptive clip: fewer than a processor's exponential may differ in."""
ADAPTIVE_FROM = 50
"""Banks from which on an adaptive clip is affordable: with fewer, the noise on the share of clipped banks eats the budget."""
FIRST_ADAPTIVE_CLIP = 0.1
COUNT = "count"
"""The child of a round's noise that the count of banks within the clip gets its noise from."""
NEGLIGIBLE = 1e-9
BLOCK = 1 << 18
REPEATED = 10
"""Under secure aggregation one round in so many, rounded up, may be summed a second time over other banks, with fresh noise."""
FLOAT32 = 1 - 1e-6
"""An update is clipped to a little less than the bound, so that float32's rounding does not carry it beyond."""
SAFETY = 1 - 1e-9
"""Norms are float64; a clipped one is kept below the bound by more than its rounding."""


@dataclass(frozen=True)
class InstitutionTerms:
    """``noise_multiplier`` is of the least noise in a *sum*, relative to ``clip``; ``updates`` a bank may send in the run."""

    epsilon: float
    delta: float
    clip: float
    adaptive: bool
    updates: int
    banks: int
    mechanism: Literal["gaussian", "discrete_gaussian"]
    noise_multiplier: float

    @property
    def update_noise(self) -> float:
        """What the updates' sum itself gets: more where a count of banks shares the release with it."""
        return noise_beside_count(self.noise_multiplier, self.banks) if self.adaptive else self.noise_multiplier

    def event(self, release: str, base_digest: str, clip: float | None = None) -> PrivacyEvent:
        return PrivacyEvent(
            release=release, mechanism=self.mechanism, unit="institution", noise_multiplier=self.noise_multiplier,
            clip=clip or self.clip, delta=self.delta, base_digest=base_digest, accountant=ACCOUNTANT,
        )

    def epsilon_after(self, updates: int) -> float:
        return epsilon_of(together([self.event("0" * 64, "0" * 64)], updates), self.delta) if updates else 0.0

    @property
    def spending(self) -> Spending:
        """All that a run may take of one bank."""
        return together([self.event("0" * 64, "0" * 64)], self.updates)


def institution_terms(plan: Plan, *, cache: NoiseCache | None = None) -> InstitutionTerms:
    """Raises ``PlanInvalid``, ``BudgetExceeded``, and ``PrivacyUnsound`` for an adaptive clip that its banks cannot pay for."""
    bank = plan.privacy.institution_dp
    if bank is None:
        raise PlanInvalid(expected="privacy.institution_dp", got="none")
    require_combinable(plan)
    adaptive = bank.clip == "adaptive"
    kind: Literal["gaussian", "discrete_gaussian"] = "discrete_gaussian" if plan.privacy.secure_aggregation else "gaussian"
    updates = updates_of(plan) + (repeats_of(plan) if plan.privacy.secure_aggregation else 0)
    noise = noise_for(bank.epsilon, bank.delta, steps=updates, kind=kind, cache=cache)
    clip = FIRST_ADAPTIVE_CLIP if adaptive else float(bank.clip)
    if adaptive:
        noise_beside_count(noise, len(plan.participants))
    return InstitutionTerms(bank.epsilon, bank.delta, clip, adaptive, updates, len(plan.participants), kind, noise)


def adapts(plan: Plan) -> bool:
    """Whether the plan's clip is the server's state and not a number of the plan."""
    return plan.privacy.institution_dp is not None and plan.privacy.institution_dp.clip == "adaptive"


def base_clip(plan: Plan, *, told: float | None, base_number: int) -> float | None:
    """The norm that an update from a version is cut to: the plan's, or where it adapts what is ``told`` of that version.

    None without institution_dp. Raises ``PrivacyUnsound`` for a clip that no counts of banks can have led to.
    """
    bank = plan.privacy.institution_dp
    if bank is None:
        return None
    if bank.clip != "adaptive":
        return float(bank.clip)
    low, high = reachable_clips(base_number)
    if told is None or not low <= told <= high:
        raise PrivacyUnsound(
            expected=f"an adaptive clip of version {base_number} between {low:.4g} and {high:.4g}",
            got="none" if told is None else f"{told:g}",
        )
    return told


def repeats_of(plan: Plan) -> int:
    """Sums beyond one for each round that a run may open: an attempt that failed after a vector had left is charged, and so is the next."""
    return math.ceil(plan.schedule.rounds / REPEATED)


# ------------------------------------------------------------------ at the bank
@dataclass(frozen=True)
class ClippedUpdate:
    """``norm`` before; ``within`` says that nothing was cut, the bit that an adaptive clip counts."""

    update: Floats
    norm: float
    within: bool


def clip_update(update: NDArray[np.floating], clip: float) -> ClippedUpdate:
    """An update (parameters,) cut to the L2 norm ``clip``; one without any length stays as it is. Raises ``NotFinite``."""
    wide = update.astype(np.float64)
    largest = float(np.max(np.abs(wide), initial=0.0))
    if not math.isfinite(largest):
        raise NotFinite(expected="a finite update", got=str(largest))
    if largest == 0:
        return ClippedUpdate(wide, 0.0, True)
    scaled = wide / largest
    norm = largest * float(np.sqrt(np.sum(scaled * scaled)))
    if norm <= clip * SAFETY:
        return ClippedUpdate(wide, norm, norm <= clip)
    return ClippedUpdate(scaled * (clip * SAFETY * largest / norm), norm, norm <= clip)


def clip_for_rounding(clip: float, scale: float, parameters: int) -> float:
    """The clip after which rounding to integers of ``scale`` to the unit cannot carry a norm beyond ``clip``.

    Rounding moves each coordinate by half an integer at most, so the norm by sqrt(parameters) / (2 scale).
    """
    room = math.sqrt(parameters) / (2 * scale)
    if room >= clip / 2:
        raise PrivacyUnsound(expected=f"a scale fine enough for {parameters} parameters", got=f"{scale:g}")
    return clip - room


def share_sigma(noise: float, honest: int) -> float:
    """Sigma of one bank's share, if ``honest`` shares are to make a sum's ``noise``: see ``honest_banks``."""
    if honest < 1:
        raise PrivacyUnsound(expected="an honest bank beside this one", got="none")
    return noise / math.sqrt(honest)


def require_smooth(sigma: float, *, parties: int, parameters: int) -> None:
    """``sigma`` in integers. Raises ``PrivacyUnsound`` where a sum of such shares would differ noticeably from one discrete Gaussian."""
    if sum_distance(sigma, max(parties, 2)) * parameters > NEGLIGIBLE:
        raise PrivacyUnsound(expected="a finer scale: the shares' sum is too coarse", got=f"sigma {sigma:.3g}")


def honest_banks(needed: int, colluding: int = 0) -> int:
    """Banks whose noise can be relied on: the fewest that a sum is opened for, less the one that looks and those in league."""
    return needed - 1 - colluding


def sum_distance(sigma: float, parties: int) -> float:
    """tau of Kairouz et al. 2021, theorem 1: how far the sum of discrete Gaussians is from one, a coordinate."""
    return 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, parties))


def noise_share(sigma: float, parameters: int, stream: Stream) -> Integers:
    """This bank's share (parameters,), to be added to its integers before they are masked."""
    return discrete_gaussian(sigma, parameters, stream)


# ----------------------------------------------------------------- at the portal
def noise_blocks(parameters: int, deviation: float, stream: Stream) -> Iterator[NDArray[np.float32]]:
    """Gaussian noise (parameters,) for a sum of clipped updates, float32, a block at a time."""
    for start in range(0, parameters, BLOCK):
        yield (stream.gaussian(min(BLOCK, parameters - start)) * deviation).astype("<f4")


def noise_of_sum(parameters: int, terms: InstitutionTerms, stream: Stream, clip: float | None = None) -> Floats:
    """Gaussian noise (parameters,) for a sum of clipped updates of equal weight, in plain mode."""
    return stream.gaussian(parameters) * (terms.update_noise * (clip or terms.clip))


@dataclass(frozen=True)
class AdaptiveClip:
    """Andrew et al. 2021 ("Differentially private learning with adaptive clipping"), algorithm 1: the clip follows a quantile.

    Each round counts, with noise, the banks whose update was *within* the clip; the clip falls where they are more than
    ``target`` of all and rises where they are fewer.
    """

    clip: float = FIRST_ADAPTIVE_CLIP
    target: float = 0.5
    rate: float = 0.2

    def after(self, within_share: float) -> AdaptiveClip:
        clip = self.clip * math.exp(-self.rate * (min(max(within_share, 0.0), 1.0) - self.target))
        return AdaptiveClip(float(f"{clip:.{CLIP_DIGITS}g}"), self.target, self.rate)


def reachable_clips(versions: int) -> tuple[float, float]:
    """Between which an adaptive clip lies after so many versions, whatever was counted."""
    first = AdaptiveClip()
    falls, rises = math.exp(-first.rate * (1 - first.target) * versions), math.exp(first.rate * first.target * versions)
    rounding = 1 + 10.0 ** (1 - CLIP_DIGITS) * (versions + 1)
    return first.clip * falls / rounding, first.clip * rises * rounding


def count_sigma(banks: int) -> float:
    """Noise of the count of banks within the clip, as in the paper's section 3.1: a twentieth of the banks."""
    return banks / 20


def noise_beside_count(noise_multiplier: float, banks: int) -> float:
    """The larger noise multiplier for the updates that leaves room for the count (theorem 1). Raises ``PrivacyUnsound``."""
    if banks < ADAPTIVE_FROM or noise_multiplier >= 2 * count_sigma(banks):
        raise PrivacyUnsound(
            expected=f"at least {ADAPTIVE_FROM} banks, and a noise multiplier below {2 * count_sigma(banks):g}",
            got=f"{banks} banks, noise {noise_multiplier:.3g}", action="Give privacy.institution_dp.clip a number.",
        )
    return float((noise_multiplier**-2 - (2 * count_sigma(banks)) ** -2) ** -0.5)


def noisy_share_within(within: int, banks: int, stream: Stream, *, deviation: float) -> float:
    """The share of a round's banks within the clip, counted with noise of ``deviation`` banks.

    The count is of halves (b - 1/2), so its sensitivity is 1/2: a bank that is replaced by nothing takes no more with it.
    """
    return (within - banks / 2 + float(stream.gaussian(1)[0]) * deviation) / banks + 0.5
