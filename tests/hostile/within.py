"""`python -P -m hostile.within FACTS WORDS`: the command line as a process of its own that is watched from its start.

FACTS is a file of JSON: the folder of the case, what it may do, the data of the sound runs, and the log of the watch.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    facts = json.loads(Path(sys.argv[1]).read_text())
    from hostile import case, watch

    tried = case.Case(Path(facts["root"]), **facts["may"])
    watch.Watch(tried, Path(facts["warm"]), Path(facts["log"]), listens=True)
    sys.argv[1:2] = []
    from dltrain.commands import cli

    cli.main([os.fsdecode(os.fsencode(word)) for word in sys.argv[1:]])


if __name__ == "__main__":
    main()
