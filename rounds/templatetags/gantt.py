"""Spans of time as bars: an SVG whose widths are attributes, because the policy forbids inline styles."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from rounds.selectors.timeline import Span

register = template.Library()
WIDTH = 1000


@register.simple_tag
def gantt(spans: Sequence[Span], total_s: float) -> SafeString:
    """One line of bars from 0 to ``total_s`` seconds; hovering one names its stage and length."""
    scale = WIDTH / total_s if total_s > 0 else 0
    bars = format_html_join(
        "",
        '<rect class="gantt-{}" x="{}" width="{}" height="14"><title>{}</title></rect>',
        ((span.stage, round(span.start_s * scale, 1), round(max(span.seconds * scale, 2), 1), said(span)) for span in spans),
    )
    words = ", ".join(said(span) for span in spans)
    drawing = '<svg class="gantt" viewBox="0 0 {} 14" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    return format_html(drawing, WIDTH, words, bars)


@register.filter
def said(span: Span) -> str:
    return _("%(stage)s from %(start).2f s, %(length).2f s") % {
        "stage": span.title, "start": span.start_s, "length": span.seconds,
    } + (" …" if span.is_open else "")
