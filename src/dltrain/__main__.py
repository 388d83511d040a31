"""`python -m dltrain` is the command `dltrain`."""

from dltrain.commands.cli import main

if __name__ == "__main__":
    main()
