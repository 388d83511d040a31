"""`python -m dltrain` is the command `dltrain`, which imports nothing from the folder that one is in."""

import os
import sys

if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        del sys.path[0]  # Python's own -m looks there first: a random.py of a user's would be a library's, too
    from dltrain.commands.cli import main

    main()
