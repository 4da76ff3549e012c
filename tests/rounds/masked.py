"""Scripted banks under secure aggregation: each holds a ``Party`` and answers what ``work`` hands it, over real signed requests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from django.http import HttpResponse

from clientagent.wire import messages
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.cohort_orders import CohortNotice, UpdateReady
from clientagent.wire.masking import (
    Cohort,
    Party,
    Rotation,
    clip_of,
    count_segments,
    evaluation_integers,
    is_rotated,
    noised,
    quantise,
)
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.secure_messages import CohortTerms
from clientagent.wire.signing import Signed
from clientagent.wire.tensors import Array
from rounds import models
from tests.rounds.scripted import API, SPLIT, Federation, ScriptedBank

ENVIRONMENT = messages.Environment(agent_version="1", python="3.11", numpy="2")


@dataclass
class MaskedBank(ScriptedBank):
    party: Party | None = None
    plain: Array | None = None
    ready: UpdateReady | None = None
    counts: messages.EvaluationCounts | None = None
    only_counts: bool = False
    said: dict[str, Signed] = field(default_factory=dict)

    def train(self, run: models.Run, *, seed: int = 0) -> HttpResponse:
        """Take the order that waits and say that an update from ``seed``, or counts alone, are ready."""
        run.refresh_from_db()
        order = self.work()
        assert order is not None
        self.only_counts = order["kind"] == "evaluate"
        self.plain, self.party = 0.1 * self.difference(run, seed), None
        self.counts = messages.EvaluationCounts(
            number=order["base_number"], version_digest=order["base_digest"], validation=SPLIT, holdout=SPLIT
        )
        self.ready = UpdateReady(
            **{name: order[name] for name in ("run", "manifest_digest", "round", "attempt", "base_number", "base_digest")},
            institution=self.slug, agent_id=str(self.bank.agent.pk), rows=self.rows, steps=3, training_s=0.1, plain_bytes=1000,
            environment=ENVIRONMENT,
        )
        return self.post("ready", self.ready)

    def notice(self) -> CohortNotice | None:
        """What the cohort asks of this bank now."""
        document = self.work()
        return CohortNotice.model_validate(document) if document and document["type"] == "cohort_notice" else None

    def answer(self) -> HttpResponse | None:
        """Answer the notice that waits; None when there is none."""
        notice = self.notice()
        return self.speak(notice) if notice else None

    def speak(self, notice: CohortNotice) -> HttpResponse:
        word = self.word(notice)
        if notice.stage == "masked":
            return self.send_masked(word)
        return self.bank.post(f"{API}/cohorts/{notice.rid}/messages", canonical(word))

    def word(self, notice: CohortNotice) -> Signed:
        key, content = self.bank.key, notice.content
        match notice.stage:
            case "keys":
                assert isinstance(content, CohortTerms)
                self.party = Party.join(content, own=content, institution=self.slug, identity=key)
                said = self.party.advertisement
            case "shares":
                self.party = self.party.share(content, identity=key)
                said = self.party.shares
            case "masked":
                self.party, self.words = self.party.receive(content).mask(self.vector(), identity=key)
                said = self.party.masked
            case "consistency":
                self.party = self.party.confirm(content, identity=key)
                said = self.party.consistency
            case "unmask":
                self.party = self.party.unmask(content, identity=key, previous=[])
                said = self.party.answer
        self.said[notice.stage] = said
        return said

    @property
    def cohort(self) -> Cohort:
        return self.party.cohort

    def integers(self) -> np.ndarray[Any, Any]:
        """What this bank adds to the sum."""
        segment, plain = self.cohort.ring.places[0].segment, self.plain
        if (clip := clip_of(self.plan)) is not None:
            stream = Stream(sha256(f"{self.slug} {self.cohort.rid}".encode()).digest())
            return noised(plain, segment, clip=clip, factor=self.cohort.factor_of(self.slug), stream=stream).integers
        if is_rotated(segment):
            plain = Rotation(self.cohort.rid).forward(plain)
        return quantise(plain, segment, factor=self.cohort.factor_of(self.slug)).integers

    def vector(self) -> np.ndarray[Any, Any]:
        segments = self.cohort.terms.segments
        parts = {} if self.only_counts else {segments[0].name: self.integers()}
        if count_segments(segments):
            parts |= evaluation_integers(self.counts, self.plan.evaluation.bins, segments)
        return self.cohort.ring.encode(parts)

    def masked_update(self, word: Signed, **changes: Any) -> tuple[Signed, bytes]:
        ready, data = self.ready, self.words.tobytes()
        manifest = messages.UpdateManifest(**{
            **{name: getattr(ready, name) for name in ("run", "manifest_digest", "round", "attempt", "base_number", "base_digest")},
            "institution": self.slug, "agent_id": ready.agent_id, "update_digest": sha256_hex(data), "update_bytes": len(data),
            "codec": self.plan.compression.codec, "plain_bytes": ready.plain_bytes, "rows": self.rows, "norm": None, "steps": 3,
            "train_loss": None, "training_s": 0.1, "masked": word,
            "environment": ENVIRONMENT, **changes,
        })
        return self.sign(manifest), data

    def send_masked(self, word: Signed) -> HttpResponse:
        return self.send(*self.masked_update(word))


def masked(federation: Federation) -> Federation:
    """The same federation with banks that can be masked."""
    federation.banks = [MaskedBank(bank.bank, bank.plan, bank.rows) for bank in federation.banks]
    return federation


def talk(federation: Federation, *, silent: Collection[str] = (), until: str | None = None) -> None:
    """Let every bank but the ``silent`` ones answer until nobody is asked any more, or the cohort is in stage ``until``."""
    while federation.advance().state == "running":
        cohort = models.Cohort.objects.order_by("pk").last()
        if until is not None and cohort is not None and cohort.stage == until:
            return
        answers = [bank.answer() for bank in federation.banks if bank.slug not in silent]
        assert all(answer.status_code in (200, 204) for answer in answers if answer), [a.content for a in answers if a]
        if not any(answers):
            return


def ready(federation: Federation, *, seed: int = 0, silent: Collection[str] = ()) -> None:
    for i, bank in enumerate(federation.banks):
        if bank.slug not in silent:
            answer = bank.train(federation.run, seed=seed + i)
            assert answer.status_code == 200, answer.content


def finish_masked(federation: Federation) -> models.Run:
    """All rounds with all banks, the closing evaluation among them."""
    while federation.run.state == "running":
        ready(federation, seed=7 * federation.run.versions.count())
        talk(federation)
    return federation.run
