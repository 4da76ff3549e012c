"""``{% listed "grid.banks" "rounds/run/bank.html" rows columns=columns %}``: the items of a list that pushes may change one by one.

The element around it carries ``data-list`` with the same name.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString

from rounds import pieces

register = template.Library()


@register.simple_tag(takes_context=True)
def listed(context: Context, name: str, template_name: str, items: Iterable[Any], **beside: Hashable) -> SafeString:
    return pieces.listed(context.get("lists"), name, template_name, items, **beside)
