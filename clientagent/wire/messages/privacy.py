"""What bank and portal say about privacy: what protects a release, what it cost, and where the bank's privacy ledger stands.

Nothing here tells more than noise covers: neither losses nor the share of clipped records nor norms before the noise. Epsilon is
no part of an event: it is computed from all events together, and the epsilons of single events do not add up to it.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints

from clientagent.wire.messages.basis import Count, Digest, Id, Instant, Message, is_none
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document, Signed

Kind = Literal["dp_sgd", "gaussian", "discrete_gaussian"]
Unit = Literal["record", "institution"]


class Mechanism(NamedTuple):
    """What an accountant needs to know; events that are equal in it are counted together before they are composed."""

    kind: Kind
    noise_multiplier: float
    sampling_rate: float


class PrivacyEvent(Message):
    """``steps`` runs of one mechanism whose noise has ``noise_multiplier`` times the sensitivity ``clip``.

    ``adjacency`` zero_out: neighbours differ in one unit whose contribution is replaced by nothing. ``delta`` is what the plan
    allows for the whole run; ``failure`` is spent of it by what no noise covers (a category's name that passed its threshold).
    """

    release: Digest
    mechanism: Kind
    unit: Unit
    adjacency: Literal["zero_out"] = "zero_out"
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)]
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    steps: Annotated[int, Field(ge=1, le=10**9)] = 1
    clip: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1e-2)]
    failure: Annotated[float, Field(ge=0, lt=1e-2)] = 0.0
    base_digest: Digest | None = None
    accountant: str

    @property
    def what(self) -> Mechanism:
        return Mechanism(self.mechanism, self.noise_multiplier, self.sampling_rate)


Subject = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""What a ledger is about: the bank's own name of a dataset lineage, or a project."""
PROJECT = "project:"
"""What a bank's name of a ledger begins with that is about the bank as a whole in a project; no lineage may begin so."""
Epsilon = Annotated[float, Field(ge=0)]


class SpentRelease(Message):
    """A release that reached the portal, whatever became of it."""

    run: Id
    event: PrivacyEvent


class PrivacyPosition(Message):
    """GET privacy?subject=...: what the portal has seen of one ledger, for its bank. ``ended``: runs that spend no more."""

    countersigned: Signed | None
    locked: bool
    epoch: Count
    releases: list[SpentRelease]
    ended: list[Id]


class PrivacyHead(Document):
    """An agent's signed word for where its privacy ledger stands. ``epoch`` counts reconciliations."""

    type: Literal["privacy_head"] = "privacy_head"
    institution: Slug
    unit: Unit
    subject: Subject
    seq: Count
    hash: Digest
    epoch: Count = 0
    at_utc: Instant


class PrivacyHeadUpdate(Message):
    """A head, and the content digests of the entries since ``since_seq``: enough to check that it extends what is known."""

    head: Signed
    since_seq: Count
    links: list[Digest] = Field(max_length=100_000)


class PrivacyCountersignature(Document):
    """The portal's word that it has seen a head, and the last head it ever will accept something behind of.

    ``budget``: what the consortium allows each bank as a whole in this project, over all its plans; only of a bank as a whole.
    """

    type: Literal["privacy_countersignature"] = "privacy_countersignature"
    institution: Slug
    unit: Unit
    subject: Subject
    seq: Count
    hash: Digest
    epoch: Count = 0
    budget: Epsilon | None = Field(None, exclude_if=is_none)
    at_utc: Instant


class BankPrivacy(Document):
    """POST privacy/ledgers: where a bank's ledger of what it as a whole has lost in a project stands, before a run spends from it.

    ``epsilon`` and ``promised`` as in the bank's books at ``delta``: what is spent or reserved, and with all open runs. ``budget``: the
    bank's own bound (max_institution_epsilon); None where it set none.
    """

    type: Literal["bank_privacy"] = "bank_privacy"
    institution: Slug
    run: Id
    project: Slug
    epsilon: Epsilon
    promised: Epsilon
    delta: Annotated[float, Field(gt=0, lt=1)]
    budget: Epsilon | None = None
    head: PrivacyHeadUpdate


class PrivacyStatement(Message):
    """What protects one release, and what was spent: for the run at the plan's delta, for the subject over all its projects.

    ``budget`` is the bank's own bound for the subject; None where it set none.
    """

    event: PrivacyEvent
    run_epsilon_before: Epsilon
    run_epsilon: Epsilon
    run_epsilon_allowed: Epsilon
    subject: Subject
    subject_epsilon: Epsilon
    subject_delta: Annotated[float, Field(gt=0, lt=1)]
    budget: Epsilon | None = None
    head: PrivacyHeadUpdate
