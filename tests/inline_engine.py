"""Jobs of a sweep in this process, one after another: where a test is not about the processes that train them.

Whole commands, as `python -m dltrain -m ...`, have their own engine.
"""

from dltrain.config.composer import Composer
from dltrain.sweeps import job, process
from dltrain.sweeps.engines import Ended


class Inline:
    room = None

    def __init__(self):
        self.ended = []

    def brief(self, orders):
        self.orders, self.composer = orders, Composer(orders.snapshot, quick=orders.quick)

    def check(self, jobs):
        return job.check(self.orders, jobs, self.composer)

    def start(self, number, overrides, *, gpu=None, until=None):
        told, code = process.run(self.orders, number, [*overrides], self.composer, until)
        if told.get("reason") == "SIGINT":
            raise KeyboardInterrupt
        self.ended.append(Ended(number, told, code))

    def wait(self, seconds):
        found, self.ended = self.ended, []
        return found

    def signal(self, number, job=None):
        pass

    def close(self):
        pass
