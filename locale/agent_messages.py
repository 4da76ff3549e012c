"""Prints the agent's texts that a person reads as a gettext template: ``python locale/agent_messages.py > fedagent.pot``.

xgettext alone would miss most of them: they are docstrings of commands (``@spoken``), advice of refusals and what to do in them.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

AGENT = Path(__file__).parents[1] / "clientagent"
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
    for path in sorted(AGENT.rglob("*.py")):
        place = path.relative_to(AGENT).as_posix()
        if not place.startswith(("rehearsal/", "build/")):
            speaks = place.startswith(SAY)
            found += [text for node in ast.walk(ast.parse(path.read_text())) for text in _of(node, speaks=speaks) if text]
    return list(dict.fromkeys(found))


def _of(node: ast.AST, *, speaks: bool) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if speaks and name in ("_", "mark") and node.args:
            yield from _literal(node.args[0])
        if name == "Hop":
            yield from (text for argument in node.args for text in _literal(argument) if text not in OUTCOMES)
        for keyword in node.keywords:
            if keyword.arg == "action":
                yield from _literal(keyword.value)
    if isinstance(node, ast.FunctionDef) and any(isinstance(one, ast.Name) and one.id == "spoken" for one in node.decorator_list):
        yield inspect.cleandoc(ast.get_docstring(node) or "")
    if isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id in ADVICE:
            parts = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            yield from (text for part in parts for text in _literal(part))


def _literal(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def template() -> str:
    head = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    return "\n".join([head, *(f'msgid {json.dumps(text, ensure_ascii=False)}\nmsgstr ""\n' for text in texts())])


if __name__ == "__main__":
    sys.stdout.write(template())
