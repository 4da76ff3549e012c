"""What explains a round's duration: spans from its opening to its publishing, and what each bank did in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext_lazy as _

from rounds.clock import now
from rounds.models import Participation, Round


@dataclass(frozen=True)
class Span:
    """``slug`` is empty for the round as a whole. ``stage`` is a word of ``STAGES``; seconds count from the round's opening."""

    slug: str
    stage: str
    start_s: float
    end_s: float
    is_open: bool = False

    @property
    def title(self) -> str:
        return str(STAGES[self.stage])

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


STAGES = {
    "collecting": _("collecting"), "aggregating": _("aggregating"), "waiting": _("not begun"), "fetching": _("fetching"),
    "training": _("training"), "masking": _("in the cohort"), "uploading": _("uploading"),
}
"""The first two are the round's own, the others a bank's."""


def timeline(round_: Round, *, moment: datetime | None = None) -> list[Span]:
    """The round's own spans, which add up to its duration, then each bank's in the order of their names."""
    moment = moment or now()
    spans = _between(round_, "", [("collecting", round_.opened_at), ("aggregating", round_.closed_at)], _end(round_), moment)
    for part in round_.participations.select_related("institution").order_by("institution__slug", "slot"):
        spans += _of(round_, part, moment)
    return spans


def slowest(spans: list[Span]) -> Span | None:
    """The bank's span that ended last: what the round's closing waited for."""
    of_banks = [span for span in spans if span.slug]
    return max(of_banks, key=lambda span: (span.end_s, span.seconds), default=None)


def _end(round_: Round) -> datetime | None:
    return round_.published_at or (round_.closed_at if round_.state == "abandoned" else None)


def _of(round_: Round, part: Participation, moment: datetime) -> list[Span]:
    """An agent that skips a stage leaves no time for it: the stage before goes on until the next that it named."""
    starts = [
        ("waiting", round_.opened_at), ("fetching", part.pulled_at), ("training", part.training_at),
        ("masking", part.ready_at), ("uploading", part.uploading_at),
    ]
    return _between(round_, part.institution.slug, starts, part.received_at or round_.closed_at, moment)


def _between(
    round_: Round, slug: str, starts: list[tuple[str, datetime | None]], end: datetime | None, moment: datetime
) -> list[Span]:
    known = [(stage, at) for stage, at in starts if at is not None and at >= round_.opened_at and (end is None or at <= end)]
    ends = [at for (__, at) in known[1:]] + [end or moment]
    last = len(known) - 1
    return [
        Span(slug, stage, _since(round_, at), max(_since(round_, until), _since(round_, at)), is_open=end is None and i == last)
        for i, ((stage, at), until) in enumerate(zip(known, ends, strict=True))
    ]


def _since(round_: Round, at: datetime) -> float:
    return (at - round_.opened_at).total_seconds()
