"""What a version looks at: each feature as the frozen specification prepares it, its bins, and a scorecard's points."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clientagent.wire.messages import CategoricalWoe, NumericInput, PreprocessingSpec, WoeInput
from clientagent.wire.messages.preprocessing import AnyCategorical, AnyNumeric, bin_words
from clientagent.wire.scorecard import MISSING, OTHER, Card, Line, Scorecard, bins_of, scorecard
from clientagent.wire.tensors import Array, unpack
from clientagent.wire.weights import layout_of
from rounds.models import ModelVersion
from rounds.storage import blobs


@dataclass(frozen=True)
class BinRow:
    """``share`` of the pooled training customers; counts are there where evidence was weighed, points on a scorecard."""

    bin: str
    share: float | None = None
    bad_share: float | None = None
    woe: float | None = None
    points: int | None = None


@dataclass(frozen=True)
class FeatureRow:
    """``method``: as in the plan. ``mean`` and ``scale`` where z-scores are made. ``card``: on a scorecard."""

    name: str
    kind: str
    method: str
    inputs: int
    bins: list[BinRow]
    rank_error: float | None = None
    iv: float | None = None
    mean: float | None = None
    scale: float | None = None
    card: Card | None = None


@dataclass(frozen=True)
class FeaturesPage:
    """``left_out``: features of the plan that became no input, because too few banks hold them or they never change."""

    version: ModelVersion
    rows: list[FeatureRow]
    left_out: list[str]
    card: Scorecard | None


def specification_of(version: ModelVersion) -> PreprocessingSpec:
    return PreprocessingSpec.model_validate(version.run.preprocessing)


def points_of(version: ModelVersion) -> Scorecard:
    """Raises ``PlanUnsupported`` for a model that is no scorecard."""
    return scorecard(version.run.plan.document, specification_of(version), _weights(version))


def features_page(version: ModelVersion) -> FeaturesPage:
    plan, spec = version.run.plan.document, specification_of(version)
    card = points_of(version) if plan.model.family == "scorecard" else None
    cards = {one.feature: one for one in card.cards} if card else {}
    rows = [_number(entry, cards.get(entry.name)) for entry in spec.numeric]
    rows += [_category(entry, cards.get(entry.name)) for entry in spec.categorical]
    if card:
        rows.sort(key=lambda row: -(row.iv or 0))
    known = {row.name for row in rows}
    return FeaturesPage(version, rows, [feature.name for feature in plan.features if feature.name not in known], card)


def _weights(version: ModelVersion) -> Array:
    layout = layout_of(version.run.plan.document, version.run.inputs or 0)
    return unpack(blobs.path_of(version.digest).read_bytes(), layout)


def _number(entry: AnyNumeric, card: Card | None) -> FeatureRow:
    profile = entry.profile
    bins: list[BinRow] = []
    if isinstance(entry, WoeInput):
        bins = _evidence(entry, card)
    elif profile is not None:
        words = [*bin_words(profile.edges), MISSING]
        bins = [BinRow(word, share) for word, share in zip(words, [*profile.shares, profile.missing], strict=True)]
    row = FeatureRow(entry.name, "numeric", entry.method, len(entry.input_names), bins, profile.rank_error if profile else None)
    if isinstance(entry, WoeInput):
        return replace(row, iv=entry.iv, card=card)
    return replace(row, mean=entry.mean, scale=entry.scale) if isinstance(entry, NumericInput) else row


def _category(entry: AnyCategorical, card: Card | None) -> FeatureRow:
    if isinstance(entry, CategoricalWoe):
        bins = _evidence(entry, card)
    else:
        words = [*entry.categories, OTHER, MISSING]
        shares: list[float] | list[None] = entry.shares or [None] * len(words)
        bins = [BinRow(word, share) for word, share in zip(words, shares, strict=True)]
    iv = entry.iv if isinstance(entry, CategoricalWoe) else None
    return FeatureRow(entry.name, "categorical", entry.method, len(entry.input_names), bins, iv=iv, card=card)


def _evidence(entry: WoeInput | CategoricalWoe, card: Card | None) -> list[BinRow]:
    told = list(bins_of(entry))
    total = sum(evidence.good + evidence.bad for _, evidence in told)
    lines: list[Line] | list[None] = card.lines if card else [None] * len(told)
    rows = []
    for (words, evidence), line in zip(told, lines, strict=True):
        customers = evidence.good + evidence.bad
        bad_share = evidence.bad / customers if customers else None
        rows.append(BinRow(words, customers / total if total else None, bad_share, evidence.woe, line.points if line else None))
    return rows

