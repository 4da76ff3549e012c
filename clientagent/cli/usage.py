"""A wrong command line, said in the person's language: typer itself says it in English only."""

from __future__ import annotations

from typing import cast

import typer

from clientagent.words import _, is_translated

UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What typer raises for a command line that it cannot read; the kinds below are told apart by name, for it exports only one."""


def call(app: typer.Typer) -> None:
    """Run a command. In English typer says by itself what is wrong; otherwise it is said here. Exits as typer does."""
    if not is_translated():
        app()
        return
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        _tell(error)
        raise SystemExit(2) from None
    except typer.Abort:
        typer.echo(_("Aborted!"), err=True)
        raise SystemExit(1) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _tell(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(str(error), err=True)
        return
    if context is not None:
        typer.echo(_("Usage: {line}", line=context.get_usage().partition(": ")[2]), err=True)
        typer.echo(_("For help: {command} --help", command=context.command_path) + "\n", err=True)
    typer.echo(_("Error: {what}", what=_what(error)), err=True)


def _what(error: Exception) -> str:
    """What was wrong, by the kind of error; of a value that cannot be read its own words come last, as they are."""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        names = ", ".join(sorted(getattr(error, "possibilities", None) or ()))
        said = _("there is no option {name}", name=getattr(error, "option_name", ""))
        return said + (_(" (possible: {names})", names=names) if names else "")
    parameter = getattr(error, "param", None)
    hint = getattr(error, "param_hint", None) or (parameter.get_error_hint() if parameter is not None else "")
    hint = hint if isinstance(hint, str) else " / ".join(hint)
    if kind == "MissingParameter":
        return _("{name} is missing", name=hint)
    if kind == "BadParameter" and hint:
        return _("{name} has no valid value: {message}", name=hint, message=getattr(error, "message", ""))
    return str(getattr(error, "message", error))
