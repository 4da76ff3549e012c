"""``python -m clientagent`` is ``fedagent``, for where the console script is not on the PATH."""

from clientagent.cli import main

main()
