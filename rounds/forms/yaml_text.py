"""A plan as YAML: what a person pastes becomes a document, and a plan is written for reading."""

from __future__ import annotations

from typing import Any

import yaml
from django.utils.translation import gettext as _

from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan

Json = dict[str, Any]
MOST_YAML_BYTES = 400_000


class _NoAliases(yaml.SafeLoader):
    """Plain data only: an alias could make a short text a huge document."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not part of a plan")
        return super().compose_node(parent, index)


def document_from_yaml(text: str) -> Json:
    """Raises ``PlanInvalid`` for anything but one mapping."""
    if len(text.encode()) > MOST_YAML_BYTES:
        raise PlanInvalid(
            expected=f"at most {MOST_YAML_BYTES} bytes of YAML", got=f"{len(text.encode())}", action=_("Paste only the plan.")
        )
    try:
        document = yaml.load(text, Loader=_NoAliases)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = _("line %(n)d") % {"n": mark.line + 1} if mark else _("the text")
        raise PlanInvalid(
            expected="YAML",
            got=getattr(error, "problem", "") or str(error)[:200],
            action=_("Correct %(where)s.") % {"where": where},
        ) from error
    if not isinstance(document, dict):
        raise PlanInvalid(
            expected=_("fields such as 'project: …'"),
            got=type(document).__name__,
            action=_("Paste a plan as draft_plan writes it."),
        )
    return {str(key): value for key, value in document.items()}


def yaml_of(plan: Plan) -> str:
    """The plan for reading: features one a line, what was left out left out, but every protection named."""
    document = plan.model_dump(mode="json")
    features = [{key: value for key, value in feature.items() if value is not None} for feature in document.pop("features")]
    for name, part in document.items():
        if isinstance(part, dict) and name != "privacy":
            document[name] = {key: value for key, value in part.items() if value is not None}
    head = {"project": document.pop("project"), "purpose": document.pop("purpose"), "label": document.pop("label")}
    lines = "".join(f"- {_flow(feature)}\n" for feature in features)
    return f"{_block(head)}features:\n{lines}{_block(document)}"


class _Readable(yaml.SafeDumper):
    """Objects in lines of their own, lists of values in one."""


_Readable.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True))


def _flow(value: Json) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10_000).strip()


def _block(value: Json) -> str:
    return yaml.dump(value, Dumper=_Readable, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
