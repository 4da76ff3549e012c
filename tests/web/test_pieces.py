"""Parts of a page: what a push carries is enough to make the new page from the old one, and no more than that."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rounds.pieces import Items, Part

items = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.sampled_from(["<i>1</i>", "<i>2</i>", "<i>3</i>"]), max_size=8)


def applied(shown: Items, changes: dict) -> Items:
    """What a browser makes of it (static/app/live.js)."""
    known = shown | changes["items"]
    return {element: known[element] for element in changes.get("order", shown)}


@given(items, items)
def test_the_changes_of_a_list_make_the_new_one_of_the_old(before: Items, after: Items) -> None:
    old, new = (Part("<ol>\0x.y\0</ol>", {"x.y": items}) for items in (before, after))
    changes = new.since(old)
    assert changes is not None
    shown = applied(before, changes["x.y"]) if changes else before
    assert list(shown.items()) == list(after.items())
    assert not changes or all(before.get(element) != html for element, html in changes["x.y"]["items"].items())


def test_another_frame_is_sent_whole() -> None:
    part = Part("<ol>\0x.y\0</ol>", {"x.y": {"a": "<li>1</li>", "b": "<li>2</li>"}})
    assert str(part) == "<ol><li>1</li>\n<li>2</li></ol>"
    assert replace(part, frame="<ul>\0x.y\0</ul>").since(part) is None
    assert replace(part, lists={}).since(part) is None
    assert part.since(part) == {}
