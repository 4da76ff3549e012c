"""What a bank believes of what the portal tells it: only what the other banks signed, and only if it fits all it heard before."""

from __future__ import annotations

from clientagent.wire.errors import CohortMismatch, ConsistencyBroken, UnmaskRefused
from clientagent.wire.masking.cohort import Cohort, require_distinct
from clientagent.wire.secure_messages import (
    CohortTerms,
    ConsistencySignature,
    KeyAdvertisement,
    KeyList,
    MaskedInput,
    SurvivorList,
    UnmaskRequest,
)
from clientagent.wire.signing import Signed


def require_same(offered: CohortTerms, own: CohortTerms) -> None:
    """Raises ``CohortMismatch`` naming the first field in which the portal's terms are not those that we computed."""
    for name in CohortTerms.model_fields:
        theirs, ours = getattr(offered, name), getattr(own, name)
        if theirs != ours:
            raise CohortMismatch(expected=f"{name} {ours}"[:300], got=f"{theirs}"[:300])


def keys_of_all(key_list: KeyList, cohort: Cohort, *, ours: Signed) -> dict[str, KeyAdvertisement]:
    """The keys of enough banks, each signed by its pinned identity, none used twice, ours as we made them."""
    cohort.require_own(key_list)
    peers = cohort.open_all(key_list.advertisements, KeyAdvertisement, ConsistencyBroken)
    if ours not in key_list.advertisements:
        raise ConsistencyBroken(expected="our own keys in the list", got="others, or none")
    require_distinct(peers.values())
    cohort.require_enough(peers)
    return dict(sorted(peers.items()))


def survivors_told(survivors: SurvivorList, cohort: Cohort, *, ours: MaskedInput) -> ConsistencySignature:
    """What we can sign: enough survivors, all dealers, all with the keys and dealers that we saw, our own vector among them."""
    cohort.require_own(survivors)
    inputs = cohort.open_all(survivors.inputs, MaskedInput, ConsistencyBroken)
    if strangers := set(inputs) - set(ours.dealers):
        raise ConsistencyBroken(expected="survivors among the dealers", got=", ".join(sorted(strangers)))
    for bank, said in inputs.items():
        if (said.keys_digest, said.dealers, said.words) != (ours.keys_digest, ours.dealers, ours.words):
            raise ConsistencyBroken(expected=f"the keys and dealers that we saw, from {bank}", got="others")
    if inputs.get(ours.institution) != ours:
        raise UnmaskRefused(expected="our masked vector among the survivors", got="another one, or none")
    cohort.require_enough(inputs)
    return ConsistencySignature(
        rid=cohort.rid, institution=ours.institution, keys_digest=ours.keys_digest, dealers=ours.dealers,
        inputs={bank: inputs[bank].digest for bank in sorted(inputs)},
    )


def check_request(request: UnmaskRequest, cohort: Cohort, told: ConsistencySignature | None) -> None:
    """One secret of each bank, by the survivors that we and enough others signed. Raises ``UnmaskRefused`` and the like."""
    cohort.require_own(request)
    if told is None:
        raise UnmaskRefused(expected="a survivor list that we signed", got="none yet")
    if both := set(request.self_of) & set(request.pair_of):
        raise UnmaskRefused(expected="one secret of each bank", got=f"both of {', '.join(sorted(both))}")
    dropped = sorted(set(told.dealers) - set(told.inputs))
    if sorted(request.self_of) != list(told.inputs) or sorted(request.pair_of) != dropped:
        raise UnmaskRefused(expected="the survivors that we signed, and the others that dropped", got="other sets")
    _check_consistency(request.consistency, cohort, told)


def _check_consistency(signed: list[Signed], cohort: Cohort, told: ConsistencySignature) -> None:
    """``threshold`` signatures on one list: no other list can have as many without a bank that signed both."""
    words = cohort.open_all(signed, ConsistencySignature, UnmaskRefused)
    for bank, word in words.items():
        if bank not in told.inputs or word != told.model_copy(update={"institution": bank}):
            raise ConsistencyBroken(expected=f"from {bank} the survivors that we were told", got="another list")
    if len(words) < cohort.terms.threshold:
        raise UnmaskRefused(expected=f"{cohort.terms.threshold} banks' signatures", got=f"{len(words)}")
