"""What the form's fields say, as a document. What cannot be read stays text, so that its problem names it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from django.http import QueryDict

from rounds.forms.schema import FieldSpec, all_fields, all_switches
from rounds.models import Project

Json = dict[str, Any]
MOST_FEATURES = 2000


def document_from_post(post: QueryDict, project: Project) -> Json:
    """The document that the form's fields say. What cannot be read as a number stays text, so that its problem names it."""
    document: Json = {"project": project.slug, "participants": post.getlist("participants"), "features": list(_features(post))}
    switches = {path for path, _section in all_switches()}
    off = {path for path in switches if not post.get(f"on:{path}")}
    for path in sorted(switches):
        _put(document, path, None if path in off else {})
    for spec in all_fields():
        parent = spec.path.rpartition(".")[0]
        if parent in off:
            continue
        value = _read(spec, post)
        if value is not _ABSENT:
            _put(document, spec.path, value)
    return document


_ABSENT = object()


def _read(spec: FieldSpec, post: QueryDict) -> Any:
    if spec.kind == "banks":
        return post.getlist(spec.path)
    text = post.get(spec.path, "").strip()
    if spec.kind == "ranges":
        return _ranges(text)
    if spec.kind == "tensors":
        return list(_tensors(text))
    if not text:
        return _ABSENT if spec.path != "label.name" and spec.kind != "numbers" else ("" if spec.kind != "numbers" else [])
    if spec.kind in ("integer", "number", "either"):
        return number_or_text(text)
    if spec.kind == "value":
        return number_or_text(text)
    if spec.kind == "numbers":
        return [number_or_text(part.strip()) for part in text.replace("[", "").replace("]", "").split(",") if part.strip()]
    return text


def _ranges(text: str) -> Json:
    """Lines such as ``income: 0, 100``. A line that says anything else keeps its text, so that its problem names it."""
    ranges: Json = {}
    for line in filter(str.strip, text.splitlines()):
        name, _colon, pair = line.rpartition(":")
        ranges[name.strip() or line.strip()] = [number_or_text(end.strip()) for end in pair.split(",")]
    return ranges


def _tensors(text: str) -> Iterator[Json]:
    """Lines such as ``wide.weight: 1 x inputs, uniform``. A line that says anything else keeps its text, for its problem to name."""
    for line in filter(str.strip, text.splitlines()):
        name, _colon, rest = line.partition(":")
        shape, _comma, start = rest.partition(",")
        tensor: Json = {"name": name.strip(), "shape": [number_or_text(width.strip()) for width in shape.split("x") if width.strip()]}
        yield {**tensor, "start": start.strip()} if start.strip() else tensor


def number_or_text(text: str) -> int | float | str:
    """A number where the text is one, in the notation of YAML and of forms."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _features(post: QueryDict) -> Iterator[Json]:
    names, kinds, categories = post.getlist("feature-name"), post.getlist("feature-kind"), post.getlist("feature-categories")
    for name, kind, listed in list(zip(names, kinds, categories, strict=False))[:MOST_FEATURES]:
        if not name.strip():
            continue
        feature: Json = {"name": name.strip(), "kind": kind}
        if listed.strip():
            feature["categories"] = [number_or_text(part.strip()) for part in listed.split(",") if part.strip()]
        yield feature


def _put(document: Json, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for part in parents:
        document = document.setdefault(part, {})
    document[name] = value
