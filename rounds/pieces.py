"""A part of a page as a frame with lists in it, so that a push need only carry the items that changed.

Items are drawn once for everybody: what an item shows is its value and the language, so equal values are never rendered twice.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from django.template.loader import render_to_string
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, override

Items = dict[str, str]
"""Element id to HTML, in the order of the page."""


class Item(Hashable, Protocol):
    """A frozen value; ``element`` is the id of the element that shows it."""

    @property
    def element(self) -> str: ...


@dataclass(frozen=True)
class Part:
    """``frame`` is HTML with a mark where each of the ``lists`` stands."""

    frame: str
    lists: dict[str, Items] = field(default_factory=dict)

    @cached_property
    def html(self) -> SafeString:
        text = self.frame
        for name, items in self.lists.items():
            text = text.replace(_mark(name), "\n".join(items.values()))
        return mark_safe(text)

    def __str__(self) -> str:
        return self.html

    def __html__(self) -> str:
        return self.html

    def since(self, before: Part) -> dict[str, dict[str, Any]] | None:
        """The lists that changed: {name: {"items": new and changed ones, "order": ids where that changed}}.

        None where the frame itself is another one, and the whole part must be sent.
        """
        if self.frame != before.frame or self.lists.keys() != before.lists.keys():
            return None
        return {name: _changes(items, before.lists[name]) for name, items in self.lists.items() if items != before.lists[name]}


def render_part(template: str, context: dict[str, Any]) -> Part:
    lists: dict[str, Items] = {}
    return Part(lean(render_to_string(template, context | {"lists": lists})), lists)


def listed(lists: dict[str, Items] | None, name: str, template: str, items: Iterable[Item], **beside: Hashable) -> SafeString:
    """The items, where a part's frame holds them: in ``lists`` while a part is rendered, else as they are.

    ``template`` sees each as ``item``, and ``beside`` as its names say.
    """
    language, more = get_language() or "en", tuple(sorted(beside.items()))
    drawn = {item.element: _drawn(language, template, item, more) for item in items}
    if lists is None:
        return mark_safe("\n".join(drawn.values()))
    lists[name] = drawn
    return mark_safe(_mark(name))


def lean(html: str) -> str:
    """Without the templates' indentation, which would be sent eight times a second."""
    return re.sub(r"\s*\n\s*", "\n", html).strip()


@lru_cache(maxsize=4096)
def _drawn(language: str, template: str, item: Item, beside: tuple[tuple[str, Hashable], ...]) -> str:
    with override(language):
        return lean(render_to_string(template, {"item": item, **dict(beside)}))


def _mark(name: str) -> str:
    return f"\0{name}\0"


def _changes(items: Items, before: Items) -> dict[str, Any]:
    changes: dict[str, Any] = {"items": {key: html for key, html in items.items() if before.get(key) != html}}
    if list(items) != list(before):
        changes["order"] = list(items)
    return changes
