"""The options that commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clientagent.words import _

HomeOption = Annotated[Path, typer.Option("--home", metavar="DIR", envvar="FEDAGENT_HOME", help=_("The agent's directory."))]
JsonOption = Annotated[bool, typer.Option("--json", help=_("Print the result as JSON."))]
DEFAULT_HOME = Path("~/.fedagent")
