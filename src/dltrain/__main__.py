"""`python -m dltrain` is the command `dltrain`."""

from dltrain.commands.cli import main

main()
