"""Nets, losses, optimizers, seams, batches and what users do between steps, all drawn: the direct step gives the bits
of the plain one, or gives way and says why. With DLTRAIN_SOAK=1 the counts are those of scripts/soak.sh.
"""

import os
import random
import warnings
from collections import Counter

import drawn_hands
import drawn_nets
import pytest
import torch
from drawn_hands_rare import HANDS, SEEN_AT_REPORTS
from outcomes import plain
from torch import nn

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine import products
from dltrain.engine.trainer import Trainer, seed_everything

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
STEPS, PARTS = 8, 10  # of a case; of the count, each a test
CASES = 20_000 if SOAK else 150


@pytest.fixture(autouse=True)
def alone():
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a step gives way is said in tests of its own
        yield
    drawn_hands.clean()


class Case:
    """What is drawn by a seed, driven by `step`: `found` is what was computed, or raised, at each moment."""

    def __init__(self, seed, step):
        n = random.Random(seed)
        seed_everything(seed)
        self.strange = n.choice([0.0, 0.0, 0.0, 0.1, 0.4])
        self.kind = n.choice(["classes", "classes", "classes", "one", "numbers"])
        self.dtype = torch.float64 if n.random() < 0.1 else torch.float32
        model = drawn_nets.net(n, strange=self.strange, out=1 if self.kind == "one" else 3).to(self.dtype)
        loss = n.choice(drawn_nets.LOSSES[self.kind])().to(self.dtype)
        optimizer = drawn_nets.optimizer(n, model, strange=self.strange)
        seams = drawn_nets.seams(n, model, optimizer, kind=self.kind)
        self.trainer = Trainer(model, loss, optimizer, step=step, **seams)
        self.found, self.took, self.hands = [], Counter(), []
        by_fit = n.random() < 0.3
        known = [name for name in HANDS if by_fit or name not in SEEN_AT_REPORTS]
        self.at = {i: n.choice(known) for i in n.sample(range(1, STEPS), n.choice([0, 1, 1, 2, 3]))}
        self.numbers = {i: n.random() for i in range(2 * STEPS)}
        try:
            self.fit() if by_fit else self.steps()
        finally:
            drawn_hands.clean()

    def steps(self):
        for i in range(STEPS):
            self.tried(self.hand, i)
            self.tried(self.step, i)
            self.look()

    def step(self, i):
        n = random.Random(self.numbers[STEPS + i])
        empty = type(self.trainer.loss) is not nn.MultiMarginLoss  # whose mean of nothing is whatever memory held
        given = {"kind": self.kind, "dtype": self.dtype, "strange": self.strange, "empty": empty}
        return self.trainer.step(drawn_nets.batches(n, **given))

    def fit(self):
        """A report at every second step, the hand in the loop's body."""
        n = random.Random(self.numbers[STEPS])
        x, y, _ = drawn_nets.batch(n, 45, kind=self.kind, dtype=self.dtype)
        rows = n.choice([16, 8, 7, 1])
        loader = make_loader(Tensors(x, y), batch_size=rows, shuffle=True, seed=0)
        reports = self.begun(loader)
        for i in range(STEPS):
            record = self.tried(next, reports, None)
            self.look()
            if record is None:
                break
            self.found.append(plain(record.losses))
            before = self.trainer
            self.tried(self.hand, i)
            if self.trainer is not before:
                reports = self.begun(loader)

    def begun(self, loader):
        return self.trainer.fit(loader, steps=2 * STEPS, report_every=2, eval_every=4, validate=self.validate)

    def validate(self, model):
        model.eval()
        return {"loss": float(sum(p.detach().double().sum() for p in model.parameters()))}

    def hand(self, i):
        if (name := self.at.get(i)) is not None:
            self.hands.append(name)
            made = HANDS[name](self.trainer, random.Random(self.numbers[i]))
            self.trainer = made if isinstance(made, Trainer) else self.trainer

    def tried(self, act, *given):
        """What it returns; or None, and what it raises: a hand may not suit this net, or make of it what can't be."""
        try:
            done = act(*given)
        except Exception as error:
            self.found.append(type(error).__name__)
            return None
        if isinstance(done, torch.Tensor):
            self.found.append(plain(done))
        return done

    def look(self):
        t = self.trainer
        held, averages = [t.optimizer.state.get(p) for p in t.parameters], t.ema and t.ema.state_dict()
        # What gives way adds to zeros, which makes 0 of -0.
        gradients = [None if p.grad is None else p.grad + 0 for p in t.parameters]
        self.found.append(
            plain([t.steps, dict(t.model.state_dict()), held, averages, gradients, torch.get_rng_state()])
        )
        self.took[t.step_kind] += 1
        assert t.step_kind != "plain" or t.why_plain


@pytest.mark.skipif(products.why_not() is not None, reason="oneDNN's products need AVX-512")
@pytest.mark.parametrize("kernels", ["onednn", "mixed"])
def test_the_same_where_all_products_are_onednns(monkeypatch, kernels):
    monkeypatch.setattr(products, "LARGE", 0)
    monkeypatch.setattr(products, "NARROW", 0)
    monkeypatch.setattr(products, "MULTIPLICATIONS", {kernels: 0})
    monkeypatch.setattr(products, "_used", kernels)
    for seed in range(1_000_000, 1_000_000 + CASES // PARTS // 2):
        whole, quick = Case(seed, "plain"), Case(seed, "auto")
        assert whole.found == quick.found, (seed, quick.hands)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_direct_step_gives_the_plain_ones_bits_whatever_users_do(part):
    took, bad = Counter(), {}
    for seed in range(part, CASES, PARTS):
        whole, quick = Case(seed, "plain"), Case(seed, "auto")
        took.update(quick.took)
        if whole.found != quick.found:
            bad[seed] = quick.hands
    print(f"\n{CASES // PARTS} drawn cases: {took['direct']} direct steps, {took['plain']} plain; {len(bad)} differ")
    assert not bad
    assert took["direct"] > took["plain"] / 4  # else it would be the plain step against itself
