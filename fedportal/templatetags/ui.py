"""The small pieces that every page is made of: icons, states, instants, sizes, fingerprints, empty panels.

States are always colour and icon and word. No piece writes an inline style or script, so the strict CSP holds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from clientagent.wire.signing import short
from fedportal.measures import NARROW_SPACE, bytes_text, duration_text
from fedportal.navigation import account_entries, initials, navigation_entries
from institutions.saying import said
from institutions.words import LOOKS as INSTITUTION_LOOKS
from institutions.words import Look
from rounds.figures import palette
from rounds.models import Run
from rounds.selectors import scope
from rounds.selectors.evaluation import Holder
from rounds.selectors.grid import presence_of
from rounds.selectors.scope import Audience
from rounds.words import LOOKS

register = template.Library()
register.filter("said", said)


@register.simple_tag
def icon(name: str, extra: str = "", label: str = "") -> SafeString:
    """An icon of the sprite. Without a label it is decoration beside a word, and screen readers skip it."""
    described = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    classes = f"icon {extra}".strip()
    drawing = '<svg class="{}" {}><use href="{}#{}"></use></svg>'
    return format_html(drawing, classes, SafeString(described), static("vendor/icons.svg"), name)


@register.simple_tag
def state(value: object, kind: str = "") -> SafeString:
    """A state as a badge. ``kind`` (run, round, phase, seat, decision, agent, key, institution) tells equal words apart."""
    look = look_of(str(value), kind)
    return format_html('<span class="badge state bg-{}-lt">{}{}</span>', look.tone, icon(look.icon), look.word)


@register.simple_tag
def presence(seen: dt.datetime | None) -> SafeString:
    """Whether an agent is there, from when it was last heard."""
    return state(presence_of(seen, timezone.now()), "presence")


@register.simple_tag
def state_icon(value: object, kind: str = "") -> SafeString:
    """A state where there is no room for its word: the word is the icon's name for screen readers and on hover."""
    look = look_of(str(value), kind)
    drawing = icon(look.icon, label=str(look.word))
    return format_html('<span class="state-icon text-{}" title="{}">{}</span>', look.tone, look.word, drawing)


@register.simple_tag
def state_text(value: object, kind: str = "") -> str:
    """Only a state's word, inside a sentence that has the colour elsewhere."""
    return str(look_of(str(value), kind).word)


def look_of(value: str, kind: str = "") -> Look:
    tables = LOOKS | INSTITUTION_LOOKS
    for table in [tables[kind]] if kind else tables.values():
        if value in table:
            return table[value]
    return Look("secondary", "circle-dot", value)


@register.simple_tag
def instant(moment: dt.datetime | str | None, style: str = "short") -> SafeString | str:
    """A point in time: the browser shows it in the reader's zone, hovering shows UTC. style: short, long, clock, ago."""
    if not moment:
        return dash()
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    utc = moment.astimezone(dt.UTC)
    iso = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" data-instant="{}" title="{}">{}</time>', iso, style, text, text)


@register.simple_tag
def dash() -> SafeString:
    """Nothing to show, said to screen readers too."""
    return format_html('<span class="text-secondary" aria-label="{}">–</span>', _("none"))


Figure = float | Literal[""] | None
"""What a template hands over: a number, none, or "" for what it did not find."""


@register.simple_tag(name="bytes")
def bytes_(count: Figure) -> SafeString | str:
    """A size in decimal units: 950 B, 12.4 kB, 3.1 MB."""
    return dash() if count is None or count == "" else bytes_text(count)


@register.simple_tag
def number(value: Figure, digits: int = 0) -> SafeString | str:
    """A number with the language's separators; a dash for none."""
    return dash() if value is None or value == "" else number_format(round(value, digits), digits, force_grouping=True)


@register.simple_tag
def signed(value: float, digits: int = 4) -> str:
    """A change, always with its sign."""
    sign = "+" if round(value, digits) >= 0 else "\N{MINUS SIGN}"
    return sign + number_format(abs(round(value, digits)), digits)


@register.simple_tag
def signed_points(value: float) -> str:
    """A change of a share, in percentage points."""
    return _("%(n)s points") % {"n": signed(100 * value, 1)}


@register.simple_tag
def percent(value: Figure, digits: int = 0) -> SafeString | str:
    if value is None or value == "":
        return dash()
    return f"{number_format(round(100 * value, digits), digits)}{NARROW_SPACE}%"


@register.filter
def as_percent(value: float | None) -> str:
    """A share inside a sentence, with as many digits as it takes to be told from nothing."""
    if value is None:
        return "–"
    digits = 0 if value in (0, 1) else 1 if value >= 0.01 else 2 if value >= 0.001 else 3
    return f"{number_format(round(100 * value, digits), digits)}{NARROW_SPACE}%"


@register.filter
def as_input_percent(value: float) -> str:
    """A share as the value of an input of percent, in no language's notation."""
    return f"{100 * value:.4g}"


@register.filter
def exact_figures(holder: Holder) -> list[tuple[str, dict[str, float], int]]:
    """The figures of one holder that have a bound, by name."""
    f = holder.figures
    rows = [("AUC", f["auc"]), ("Gini", f["gini"]), ("KS", f["ks"]), (_("Average precision"), f["average_precision"])]
    rows += [(_("Brier score"), f["brier"])]
    rows += [(_("Bad found at %(n)s good flagged") % {"n": as_percent(row["rate"])}, row) for row in f["recall_at_fpr"]]
    budget = f["recall_at_budget"]
    rows += [(_("Bad found at %(n)s looked at") % {"n": as_percent(budget["budget"])}, budget)]
    return [(name, figure, 4) for name, figure in rows if figure and "value" in figure]


@register.simple_tag
def duration(seconds: float | dt.timedelta | None) -> SafeString | str:
    """An elapsed time in at most two units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return dash()
    return duration_text(seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds)


@register.simple_tag
def fingerprint(value: str | None) -> SafeString:
    """A key's fingerprint as people compare it, in groups of four, with the whole value to copy."""
    if not value:
        return dash()
    groups = short(value)
    return format_html('<code class="fingerprint" title="{}">{}</code>{}', value, groups, copy_button(value))


@register.simple_tag
def digest(value: str | None, length: int = 12) -> SafeString:
    """The beginning of a SHA-256, with the whole value to copy."""
    if not value:
        return dash()
    return format_html('<code class="digest" title="{}">{}</code>{}', value, value[:length], copy_button(value))


@register.simple_tag
def copy_button(value: str) -> SafeString:
    return format_html(
        '<button class="btn-copy" type="button" data-copy="{}" aria-label="{}">{}{}</button>',
        value,
        _("Copy"),
        icon("copy", "copy-before"),
        icon("check", "copy-after"),
    )


@register.inclusion_tag("components/sort.html", takes_context=True)
def sort(context: Context, order: Any, name: str, label: str, extra: str = "") -> dict[str, str]:
    """A table's head that orders by this column, and the other way round when it already does."""
    request = context["request"]
    query = request.GET.copy()
    query.pop("page", None)
    query["order"] = f"-{name}" if order.current == name else name
    direction = {name: "ascending", f"-{name}": "descending"}.get(order.current, "")
    return {"label": label, "url": f"?{query.urlencode()}", "direction": direction, "extra": extra}


@register.inclusion_tag("components/empty.html")
def empty(title: str, text: str = "", symbol: str = "inbox", url: str = "", action: str = "") -> dict[str, str]:
    """An empty panel: why it is empty, and the next step as a button where there is one."""
    return {"title": title, "text": text, "symbol": symbol, "url": url, "action": action}


@register.inclusion_tag("components/command.html")
def command(text: str) -> dict[str, str]:
    """A line to type in a terminal, to copy."""
    return {"text": text}


@register.filter
def banks(count: int) -> str:
    return ngettext("%(count)d bank", "%(count)d banks", count) % {"count": count}


@register.filter
def bank_place(place: int) -> int:
    """Which colour of the palette a bank has."""
    return place % len(palette.BANKS)


@register.filter
def at(items: Sequence[Any], place: int) -> Any:
    return items[place] if place < len(items) else ""


@register.filter
def hundredths(share: float) -> int:
    """A share as an attribute of <progress>, in no language's notation."""
    return round(100 * share)


@register.filter
def slugify_path(path: str) -> str:
    """A plan's dotted field as an id of the page."""
    return "plan-" + path.replace(".", "-")


@register.simple_tag
def trans_schema(sentence: str) -> str:
    """A sentence of the plan's schema in the reader's language; the schema itself knows no Django."""
    return _(sentence) if sentence else ""


@register.filter
def reason_for(run: Run, audience: Audience) -> str:
    return scope.reason_for(run, audience)


@register.filter
def lookup(mapping: dict[Any, Any], key: Any) -> Any:
    return mapping.get(key)


@register.simple_tag(takes_context=True)
def navigation(context: Context) -> list[dict[str, Any]]:
    """What the reader's role may use, with the entry that the page belongs to marked."""
    request = context.get("request")
    return navigation_entries(str(context.get("role") or ""), context.get("my_institution"), request.path if request else "/")


@register.simple_tag(takes_context=True)
def account_links(context: Context) -> dict[str, Any]:
    user = context["user"]
    name = user.name or user.email
    return {"name": name, "initials": initials(name), "role": role_line(context), "entries": account_entries()}


def role_line(context: Context) -> str:
    role, institution = str(context.get("role") or ""), context.get("my_institution")
    word = {"administrator": _("Administrator"), "operator": _("Operator"), "auditor": _("Auditor")}.get(role, "")
    return f"{word} · {institution.name}" if institution else word


@register.simple_tag
def shell_words() -> dict[str, str]:
    """The few words that the browser says by itself."""
    return {
        "copied": _("Copied"),
        "seconds": _("%(n)s s") % {"n": "{1}"},
        "minutes": _("%(m)s min %(s)s s") % {"m": "{1}", "s": "{2}"},
        "hours": _("%(h)s h %(m)s min") % {"h": "{1}", "m": "{2}"},
        "days": _("%(d)s d %(h)s h") % {"d": "{1}", "h": "{2}"},
    }
