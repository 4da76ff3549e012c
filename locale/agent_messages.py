"""Prints the agent's texts that a person reads as a gettext template: ``python locale/agent_messages.py > fedagent.pot``.

xgettext alone would miss most of them: they are docstrings of commands (``@spoken``), and everything that refusals are made of, at the
bank and at the portal: either shows the other's. An f-string becomes a template whose places are named after what stands in them
(``clientagent.wire.phrases`` recognises what it was filled in to).
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
AGENT = ROOT / "clientagent"
PORTAL = ("rounds", "institutions", "fedportal")
UNSEEN = ("rehearsal/", "build/", "migrations/", "management/")
"""What no operator, administrator or auditor reads."""
OF_REFUSALS = ("expected", "got", "action", "reason", "unfit", "detail")
"""Keywords, and names of variables, that hold a part of a refusal."""
POSITIONAL = {"Verdict": (2,), "Finding": (1, 2), "Unreadable": (0, 1), "ValueError": (0,)}
"""Calls whose arguments at these places are read by a person."""
SAY = ("cli/", "wire/leakage")
"""Where ``_`` is for the command line's words; elsewhere it marks sentences of the portal's pages."""
OF_TYPER = (
    "Arguments", "Options", "Commands", "required", "default: {default}", "env var: {var}",
    "Missing command.", "No such command {name!r}.", "Aborted!",
)  # fmt: skip
"""What typer asks gettext for on a help page."""
ADVICE = ("advice", "_ADVICE", "_STANDING", "UNTRUSTED")
"""Names of what to do."""
OUTCOMES = ("ok", "warning", "failed", "skipped")


def texts() -> list[str]:
    """All texts in the order of their files, each once."""
    found = list(OF_TYPER)
    for path in [*sorted(AGENT.rglob("*.py")), *sorted(path for room in PORTAL for path in (ROOT / room).rglob("*.py"))]:
        place = path.relative_to(AGENT if path.is_relative_to(AGENT) else ROOT).as_posix()
        if not any(unseen in place for unseen in UNSEEN):
            speaks = path.is_relative_to(AGENT) and place.startswith(SAY)
            found += [text for node in ast.walk(ast.parse(path.read_text())) for text in _of(node, speaks=speaks) if text]
    return list(dict.fromkeys(found))


def _is_worth(text: str) -> bool:
    """Whether there is something to translate beside the places, and not a name alone."""
    letters = sum(letter.isalpha() for letter in re.sub(r"\{\w+\}", "", text))
    return letters >= 3 if " " in text else letters == len(text) > 1


def _of(node: ast.AST, *, speaks: bool) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _of_call(node, speaks=speaks)
    if isinstance(node, ast.FunctionDef) and any(isinstance(one, ast.Name) and one.id == "spoken" for one in node.decorator_list):
        yield inspect.cleandoc(ast.get_docstring(node) or "")
    if isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id in ADVICE:
            parts = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            yield from (text for part in parts for text in _literal(part))
        if isinstance(target, ast.Name) and target.id in OF_REFUSALS:
            yield from _composed(node.value)


def _of_call(node: ast.Call, *, speaks: bool) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if speaks and name in ("_", "mark") and node.args:
        yield from _literal(node.args[0])
    if name == "phrase" and node.args:
        yield from _composed(node.args[0])
    if name == "_Row":  # of what goes together in a plan
        yield from (_braced(text) for argument in node.args[2:3] if isinstance(argument, ast.Call) for text in _literal(argument.args[0]))
    if name == "Hop":
        yield from (text for argument in node.args for text in _composed(argument) if text not in OUTCOMES)
    for place in POSITIONAL.get(name, ()):
        yield from (_ruled(text) for argument in node.args[place : place + 1] for text in _composed(argument))
    for keyword in node.keywords:
        if keyword.arg in OF_REFUSALS:
            yield from _composed(keyword.value)


def _literal(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _composed(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may come to, with places where it fills something in."""
    if isinstance(node, ast.IfExp):
        yield from (text for part in (node.body, node.orelse) for text in _composed(part))
    elif isinstance(node, ast.BoolOp):
        yield from (text for part in node.values for text in _composed(part))
    elif isinstance(node, ast.JoinedStr):
        yield from filter(_is_worth, [_template(node)])
        yield from (text for part in node.values if isinstance(part, ast.FormattedValue) for text in _composed(part.value))
    else:
        yield from filter(_is_worth, _literal(node))


def _template(node: ast.JoinedStr) -> str:
    names: Counter[str] = Counter()
    text = ""
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            name = _name(part.value)
            names[name] += 1
            text += "{" + name + (str(names[name]) if names[name] > 1 else "") + "}"
        else:
            text += "".join(_literal(part))
    return text


def _name(node: ast.AST) -> str:
    """What a place is called: the last word of what stands there."""
    while not isinstance(node, ast.Name | ast.Attribute):
        inner = next((one for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)), None)
        if inner is None:
            return "value"
        node = inner
    return node.id if isinstance(node, ast.Name) else node.attr


def _ruled(text: str) -> str:
    """Without the field that a rule of the plan's schema names first: it is shown beside the rest."""
    field, colon, rest = text.partition(": ")
    return rest if colon and re.fullmatch(r"[a-z_.]+", field) else text


def _braced(text: str) -> str:
    """A text with places of the older kind, ``%(name)s``, with braces."""
    return re.sub(r"%\((\w+)\)s", r"{\1}", text).replace("%%", "%")


def template() -> str:
    head = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    return "\n".join([head, *(f'msgid {json.dumps(text, ensure_ascii=False)}\nmsgstr ""\n' for text in texts())])


if __name__ == "__main__":
    sys.stdout.write(template())
