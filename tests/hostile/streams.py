"""Standard input, output and error of a case: files, pipes, full disks, and terminals of any size."""

import fcntl
import os
import pty
import random
import struct
import termios
import time

from hostile.case import Case

KINDS = ["ppp"] * 6 + ["fpp", "ppf", "pfp", "pff", "xpp", "pxp", "ppx", "pxx", "xxx", "pgp", "ppg", "pgg"]
TERMINALS = ["ttt"] * 4 + ["ptt", "ptp", "ppt", "tpt", "ttp"]
SIZES = [(0, 0), (1, 1), (24, 10), (24, 80), (3, 500), (65_535, 65_535), (0, 20), (50, 2)]


def draw_terminal(rng: random.Random, case: Case) -> None:
    """A terminal in place of files, and what is typed there; half the time with the progress bar that it brings."""
    case.streams, case.size = rng.choice(TERMINALS), rng.choice(SIZES)
    case.answer = rng.choice(["n\n", "y\n", "\x04", "\n", "yes\x1b[2J\n", "é\u202e\n", "\udcff\n", "y" * 300 + "\n"])
    if rng.random() < 0.2:  # what asks
        case.argv, case.streams = rng.choice([["rm", "abcd"], ["rm", "last"], ["clean"], ["rm", "abcd", "zzz"]]), "ttt"
    if rng.random() < 0.5:
        case.argv = [word for word in case.argv if word != "trainer.progress=false"]
    case.done.append(f"streams {case.streams}, a terminal of {case.size}, {case.answer!r} typed")


class Streams:
    """The three as `case.streams` has them, from here on: a file (p), full (f), closed (x), with nobody who reads (g),
    or a terminal (t), whose output goes to the file.
    """

    def __init__(self, case: Case, path: str | os.PathLike) -> None:
        self.reader = 0
        said = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null, full = os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
        terminal = self._terminal(case, said) if "t" in case.streams else null
        for number, kind in enumerate(case.streams):
            if kind == "x":
                os.close(number)
            elif kind == "g":
                reads, writes = os.pipe()
                os.close(reads)
                os.dup2(writes, number)
            else:
                os.dup2({"f": full, "t": terminal}.get(kind, null if number == 0 else said), number)
        if self.reader:
            os.close(terminal)

    def _terminal(self, case: Case, said: int) -> int:
        """The end of a terminal that a command gets; a process of its own reads the other one."""
        ours, theirs = pty.openpty()
        settings = termios.tcgetattr(theirs)
        settings[1] &= ~termios.OPOST  # else each line ends in a sign of the terminal's own
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *case.size, 0, 0))
        self.reader = os.fork()
        if self.reader == 0:
            os.close(theirs)
            os.write(ours, os.fsencode(case.answer) * 3)
            try:
                while content := os.read(ours, 1 << 16):
                    os.write(said, content)
            finally:  # nobody has the other end any more
                os._exit(0)
        os.close(ours)
        return theirs

    def end(self) -> None:
        """All of it is in the file."""
        if not self.reader:
            return
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        for _ in range(100):  # a worker that is left may have the other end, too
            if os.waitpid(self.reader, os.WNOHANG)[0]:
                break
            time.sleep(0.02)
