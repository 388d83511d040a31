"""What a person sees of a sweep while it lasts."""

from collections import Counter

from dltrain.sweeps import told
from dltrain.sweeps.told import Told


class Line:
    """A line that moves, as it was last."""

    text = ""

    def set_description_str(self, text, refresh):
        self.text = text

    def clear(self):
        pass

    close = clear


def test_the_best_so_far_is_none_that_diverged(monkeypatch):
    line = Line()
    monkeypatch.setattr(told, "_line", lambda: line)
    monkeypatch.setattr(told.shutil, "get_terminal_size", lambda: told.shutil.os.terminal_size((200, 20)))
    seen = Told(3, Counter(), moving=True, lines=False)
    for number, (state, value) in enumerate([("done", 0.9), ("diverged", 0.99), ("failed", 0.98), ("pruned", 0.8)]):
        seen.ended(number, [], {"state": state, "monitor": "val/accuracy", "value": value, "loss": 1.0})
    seen.close(Counter(done=1, diverged=1, failed=1, pruned=1))
    assert line.text.endswith("best accuracy 90.00% [0]")
