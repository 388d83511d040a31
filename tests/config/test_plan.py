"""The plan: what it works out, what it refuses, and that looking costs and changes nothing."""

import functools
import inspect
import random
import re
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import torch
from quick_compose import quick as compose

from dltrain.config import build, trials
from dltrain.config import plan as plans
from dltrain.config.checks import Known
from dltrain.config.compose import stored
from dltrain.config.plan import CHECKS, REMARKS, Plan, make_plan, outline
from dltrain.config.policy import Part
from dltrain.config.settings import rows_of_a_step
from dltrain.data.sources.own import dataset
from dltrain.errors import ConfigError, DataError
from dltrain.insight.doctor import remedies
from dltrain.parts.models import MLP


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan(*overrides, allow=(), config_dir=None):
    return make_plan(compose(overrides, config_dir), allow)


def lines(*overrides, allow=(), config_dir=None):
    """The mistakes of a configuration, one a line."""
    with pytest.raises(ConfigError) as caught:
        plan(*overrides, allow=allow, config_dir=config_dir)
    return str(caught.value).splitlines()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's and makes it importable; its name is new each time."""
    names = []

    def write(code):
        name = f"users_module_{len(names)}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        monkeypatch.syspath_prepend(tmp_path)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


# -- what it works out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ([], "optimizer.lr"),
        (["scheduler=constant"], "optimizer.lr"),
        (["scheduler.max_lr=0.1"], "scheduler.max_lr"),
        (["scheduler.max_lr=0.003"], "scheduler.max_lr"),  # optimizer.lr has that value, too
        (["scheduler.max_lr=${optimizer.lr}"], "optimizer.lr"),
        (["experiment=peak"], "scheduler.max_lr"),
        (
            ["scheduler=torch", "scheduler._target_=torch.optim.lr_scheduler.CyclicLR", "+scheduler.base_lr=0.001"]
            + ["+scheduler.max_lr=0.01", "optimizer=sgd"],
            "scheduler.max_lr",
        ),
    ],
)
def test_the_key_that_decides_the_highest_rate(tmp_path, words, key):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "peak.yaml").write_text("# @package _global_\nscheduler: {max_lr: 0.003}\n")
    made = make_plan(compose(["data=iris", f"runs_dir={tmp_path}", *words], str(tmp_path)))
    assert made.rate_key == key
    assert remedies.rate(made, 0.5) == f"{key}=0.5"


def test_steps_and_sizes_of_the_default_run():
    made = plan()
    assert len(made.data.train) == 1221
    assert (made.steps_per_epoch, made.total_steps) == (39, 1170)
    assert (made.sizes["in_features"], made.sizes["num_classes"]) == (64, 10)
    assert (made.monitor, made.mode) == ("val/accuracy", "max")
    assert made.rows[-1].parameters == 64 * 128 + 128 + 128 * 10 + 10
    assert made.name == "digits-mlp"


@pytest.mark.parametrize(
    ("overrides", "per_epoch", "total"),
    [
        (["data.batch_size=full", "trainer.epochs=7"], 1, 7),
        (["trainer.accumulate=3", "trainer.epochs=2"], 13, 26),
        (["trainer.limit_train_batches=5", "trainer.epochs=0.5"], 5, 2),
        (["trainer.max_steps=11"], 39, 11),
        (["trainer.fast_dev_run=true"], 2, 2),
        (["trainer.overfit_batches=2", "trainer.epochs=10"], 2, 20),
    ],
)
def test_durations_become_steps(overrides, per_epoch, total):
    made = plan(*overrides)
    assert (made.steps_per_epoch, made.total_steps) == (per_epoch, total)


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 8), (145, 8), (3_674, 8), (4_096, 16), (7_604, 16), (36_677, 128), (10**7, 512)]
)
def test_batches_are_as_large_as_256_steps_of_an_epoch_allow(rows, size):
    assert rows_of_a_step("auto", rows) == size


def test_a_table_of_the_user_has_batches_by_its_rows(tmp_path):
    lines = "".join(f"{i % 97},{i % 5},{i % 3}\n" for i in range(6_200))
    (tmp_path / "t.csv").write_text("a,b,y\n" + lines)
    made = plan("data=table", "data.path=t.csv", "data.target=y")
    assert (len(made.data.train), made.batch_size, made.steps_per_epoch) == (4_216, 16, 264)
    assert "batch_size: auto" in made.text
    few = plan("data=table", "data.path=t.csv", "data.target=y", "trainer.overfit_batches=2")
    assert (len(few.data.train), few.batch_size) == (32, 16)


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["model.activation=sign"], "gradient of zero"),
        (["scheduler.max_lr=0.1"], "optimizer.lr=0.003 is not used"),
        (["trainer.max_steps=5", "trainer.epochs=3"], "trainer.epochs is not used"),
        (["trainer.max_steps=5", "++trainer.epochs=3"], "trainer.epochs is not used"),
        (["data.workers=2"], "data.workers is not used"),
        (["optimizer=lbfgs", "regularisation.clip_norm=1"], "for the slope of the loss: regularisation.clip_norm=null"),
        (["data.batch_size=full", "trainer.accumulate=2"], "trainer.accumulate is not used"),
    ],
)
def test_settings_without_effect_are_named(overrides, note):
    assert any(note in text for text in plan(*overrides).notes)


def test_a_default_plan_has_nothing_to_say():
    assert plan().notes == []


def torchs(name, *knobs, interval="step"):
    """A scheduler of torch's in a run of 10 epochs of 39 steps."""
    target = f"scheduler._target_=torch.optim.lr_scheduler.{name}"
    return ["scheduler=torch", target, f"scheduler.interval={interval}", *(f"+scheduler.{k}" for k in knobs), *TEN]


TEN = ["trainer.epochs=10"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            torchs("OneCycleLR", "max_lr=0.1", "total_steps=300"),
            "scheduler.total_steps: 300: the run takes 390 steps; write 390",
        ),
        (
            torchs("OneCycleLR", "max_lr=0.1", "total_steps=8", interval="epoch"),
            "scheduler.total_steps: 8: the run takes 10 epochs; write 10",
        ),
        (
            torchs("OneCycleLR", "max_lr=0.1", "epochs=9", "steps_per_epoch=39"),
            "total_steps=351: the run takes 390 steps; write 390",
        ),
        (torchs("StepLR", "step_size=0"), "scheduler: it fails at step 1 of 390: ZeroDivisionError"),
        (torchs("CosineAnnealingLR", "T_max=0", interval="epoch"), "scheduler: it fails at epoch 1 of 10: "),
    ],
)
def test_a_scheduler_that_would_fail_on_the_way(overrides, message):
    assert message in "\n".join(lines(*overrides))


def test_a_users_scheduler_that_would_fail_on_the_way(module):
    name = module("""
        class Short(torch.optim.lr_scheduler.LRScheduler):
            def get_lr(self):
                if self.last_epoch > 77:
                    raise IndexError("no rate 78")
                return [group["lr"] for group in self.optimizer.param_groups]
    """)
    knobs = ["scheduler=torch", f"scheduler._target_={name}.Short", "scheduler.interval=step"]
    assert "it fails at step 78 of 390: IndexError: no rate 78" in lines(*knobs, *TEN, allow=[name])[0]
    assert plan(*knobs, "trainer.epochs=2", allow=[name]).total_steps == 78


def test_a_loss_with_parameters_is_refused(module):
    name = module("""
        class Weighted(nn.CrossEntropyLoss):
            def __init__(self, learned: bool = True):
                super().__init__()
                self.temperature = nn.Parameter(torch.ones(()), requires_grad=learned)
    """)
    knobs = ["loss=module", f"loss._target_={name}.Weighted"]
    assert lines(*knobs, allow=[name])[0].startswith("loss: Weighted has parameters that would not be trained (tempera")
    assert plan(*knobs, "+loss.learned=false", allow=[name]).step == "plain"


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (
            torchs("OneCycleLR", "max_lr=0.1", "total_steps=390", interval="epoch"),
            "scheduler.total_steps=390, and the run takes 10 epochs; write 10, or scheduler.interval=step",
        ),
        (torchs("OneCycleLR", "max_lr=0.1", "total_steps=500"), "total_steps=500, and the run takes 390 steps"),
        (torchs("CosineAnnealingLR", "T_max=20", interval="epoch"), "scheduler.T_max=20, and the run takes 10 epochs"),
        (torchs("CosineAnnealingLR", "T_max=10"), "T_max=10, and the run takes 390 steps"),
        (torchs("LinearLR", "total_iters=500"), "total_iters=500, and the run takes 390 steps"),
        (torchs("StepLR", "step_size=30", interval="epoch"), "StepLR changes nothing in the 10 epochs of this run"),
        (torchs("MultiStepLR", "milestones=[50]", interval="epoch"), "MultiStepLR changes nothing in the 10 epochs"),
        (["scheduler=plateau", "scheduler.patience=20", *TEN], "ReduceLROnPlateau changes nothing in the 10 epochs"),
        (["scheduler=multistep", "trainer.epochs=9"], "multistep changes nothing in the 351 steps of this run"),
        (["scheduler=step", "scheduler.step_size=30", *TEN], "step changes nothing in the 390 steps of this run"),
        (
            ["scheduler=plateau", "scheduler.monitor=val/accuracy", "scheduler.mode=min"],
            "scheduler.mode=min: of val/accuracy the larger is better; mode=auto knows it",
        ),
    ],
)
def test_a_schedule_that_does_not_suit_the_run_is_named(overrides, note):
    assert any(note in text for text in plan(*overrides).notes)


@pytest.mark.parametrize(
    "overrides",
    [
        torchs("OneCycleLR", "max_lr=0.003", "total_steps=390"),
        torchs("OneCycleLR", "max_lr=0.003", "total_steps=10", interval="epoch"),
        torchs("CosineAnnealingLR", "T_max=10", interval="epoch"),
        torchs("CosineAnnealingLR", "T_max=389"),
        torchs("CosineAnnealingWarmRestarts", "T_0=5", interval="epoch"),
        torchs("LinearLR", "start_factor=0.1", "total_iters=5", interval="epoch"),
        torchs("StepLR", "step_size=3", interval="epoch"),
        torchs("ConstantLR"),
        *([f"scheduler={name}"] for name in ("cosine", "exponential", "linear", "plateau", "step", "warmup_cosine")),
        ["scheduler=constant"],
        ["scheduler=multistep", "trainer.fast_dev_run=true"],
    ],
)
def test_a_schedule_that_suits_the_run_needs_no_word(overrides):
    assert plan(*overrides).notes == []


def test_planning_is_quick_and_quiet_and_writes_nothing(tmp_path):
    plan()  # imports
    start = time.process_time()
    with warnings.catch_warnings(action="error"):
        plan("scheduler=plateau", "optimizer=lbfgs", "data.batch_size=full")
    assert time.process_time() - start < 3
    assert list(tmp_path.iterdir()) == []


def test_a_users_random_data_follow_the_seed(module):
    name = module(
        """
        import random, numpy
        from torch.utils.data import Dataset
        class Rows(Dataset):
            def __init__(self):
                self.x = torch.randn(40, 3) + random.random() + float(numpy.random.rand())
            def __len__(self): return 40
            def __getitem__(self, i): return self.x[i], i % 2
        """
    )
    typed = ["data=dataset", f"data.dataset._target_={name}.Rows", "data.in_memory=true"]
    first = plan(*typed, "seed=1", allow=[name]).data.train.x
    random.seed(), np.random.seed(None), torch.seed()
    assert torch.equal(plan(*typed, "seed=1", allow=[name]).data.train.x, first)
    assert not torch.equal(plan(*typed, "seed=2", allow=[name]).data.train.x, first)


PICTURES = """
import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

class Pictures(Dataset):
    def __init__(self, kind="unit", flip=False):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=generator)
        self.kind, self.flip = kind, flip
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        x = self.x[i]
        x = {"bytes": x, "floats": x.float(), "unit": x / 255, "normalised": x / 127.5 - 1}[self.kind]
        return (v2.RandomHorizontalFlip()(x) if self.flip else x), i % 3

class Narrow(torch.nn.Module):
    def forward(self, x): return x[..., :5]

class Broken(torch.nn.Module):
    def forward(self, x): raise KeyError("sun")

class Dark(torch.nn.Module):
    def forward(self, x):
        assert x.dtype in (torch.uint8, torch.float32)
        return x // 2 if x.dtype == torch.uint8 else x * torch.rand(())
"""


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment", "auto_augment"])
def test_policies_over_a_users_pictures_see_bytes_or_are_refused_before_the_start(module, policy):
    name = module(PICTURES)
    for kind in ("bytes", "unit"):
        for held in (True, False):
            typed = rows(name, f"+data.dataset.kind={kind}", f"regularisation={policy}", f"data.in_memory={held}")
            typed[1] = f"data.dataset._target_={name}.Pictures"
            made = plan(*typed, allow=[name])
            train, _ = build.make_loaders(made)
            x = torch.cat([batch.x for batch in train.epoch()])
            top = 255 if kind == "bytes" else 1
            assert 0 <= x.min() < 0.1 * top
            assert 0.9 * top < x.max() <= top
            flat = (x.flatten(1).amax(1) == x.flatten(1).amin(1)).sum()
            assert flat <= 2
    for kind in ("floats", "normalised"):
        typed[2] = f"+data.dataset.kind={kind}"
        (line,) = lines(*typed, allow=[name])
        assert line.startswith("regularisation")
        assert "from 0 to 1" in line


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("kind", ["bytes", "unit"])
def test_a_transform_for_the_train_part_changes_it_alone_and_anew_each_epoch(module, held, kind):
    name = module(PICTURES)
    typed = ["data=dataset", f"data.dataset._target_={name}.Pictures", f"+data.dataset.kind={kind}"]
    typed += [
        f"data.in_memory={held}",
        "data.train_transform={_target_: torchvision.transforms.v2.RandomHorizontalFlip}",
    ]
    made = plan(*typed, "data.batch_size=7", allow=[name])
    plain = plan(*typed[:-1], "data.batch_size=7", allow=[name])
    train, splits = build.make_loaders(made)
    before, still = build.make_loaders(plain)
    epochs = [
        torch.cat([b.x for b in train.epoch(n)])[torch.cat([b.index for b in train.epoch(n)]).argsort()]
        for n in (1, 2, 1)
    ]
    as_they_are = torch.cat([b.x for b in before.epoch(1)])[torch.cat([b.index for b in before.epoch(1)]).argsort()]
    assert torch.equal(epochs[0], epochs[2])
    changed = (epochs[0] != as_they_are).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.8
    assert torch.equal(epochs[0][changed], as_they_are[changed].flip(-1))
    assert not torch.equal(epochs[0], epochs[1])
    for part in ("train", "val", "test"):
        for one, two in zip(splits[part].epoch(), still[part].epoch(), strict=True):
            assert torch.equal(one.x, two.x)
    assert made.fingerprint == plain.fingerprint
    assert not [note for note in made.notes if "differs" in note]


@pytest.mark.parametrize(
    ("transform", "message"),
    [("Narrow", r"data\.train_transform: makes \[3, 8, 5\] of \[3, 8, 8\]"), ("Broken", "KeyError: 'sun'")],
)
def test_a_transform_that_does_not_fit_is_told_before_the_start(module, transform, message):
    name = module(PICTURES)
    typed = ["data=dataset", f"data.dataset._target_={name}.Pictures"]
    (line,) = lines(*typed, f"data.train_transform={{_target_: {name}.{transform}}}", allow=[name])
    assert line.startswith("data.train_transform")
    assert re.search(message, line)


def test_random_pictures_in_validation_are_said_without_drawing_from_the_run(module):
    name = module(PICTURES)
    typed = ["data=dataset", f"data.dataset._target_={name}.Pictures"]

    def drawn():
        return torch.get_rng_state().tolist(), np.random.get_state()[1:3], random.getstate()

    made = plan(*typed, "+data.dataset.flip=true", allow=[name])
    (note,) = [note for note in made.notes if "differs" in note]
    assert "data.train_transform" in note
    before = drawn()
    again = plan(*typed, allow=[name])  # which draws nothing to see it
    np.testing.assert_equal(drawn(), before)
    np.random.rand(), random.random(), torch.rand(1)
    before = drawn()
    dataset(made.data.train.source)
    np.testing.assert_equal(drawn(), before)
    assert not [note for note in again.notes if "differs" in note]
    plain = [f"data.{part}_dataset={{_target_: {name}.Pictures}}" for part in ("val", "test")]
    made = plan(*typed, "+data.dataset.flip=true", *plain, "data.val=0", "data.test=0", allow=[name])
    assert not [note for note in made.notes if "differs" in note]
    made = plan(*typed, plain[0].replace("}", ", flip: true}"), "data.val=0", allow=[name])
    assert "data.val_dataset" in next(note for note in made.notes if "differs" in note)


# -- mistakes --------------------------------------------------------------------------------------------------


def test_all_mistakes_come_together():
    found = lines(
        "trainer.epoch=3",
        "trainer.epochs=abc",
        "trainer.accumulate=0",
        "trainer.rank_timeout=1e7",
        "optimizer.lr=nan",
        "loss=mse",
        "+model.foo=1",
        "regularisation.ema=2",
        "scheduler.pct_start=a",
        "+optimzer.x=1",
    )
    assert [line.split(":")[0] for line in found] == [
        "`trainer.epoch=3`",
        "optimzer",
        "trainer.accumulate",
        "trainer.rank_timeout",
        "trainer.epochs",
        "regularisation.ema",
        "model.foo",
        "optimizer.lr",
        "scheduler.pct_start",
        "loss",
    ]


def test_ranges_that_only_constructors_know_come_together_too():
    found = lines("trainer.epochs=0", "model.dropout=1.5", "scheduler.pct_start=3", "optimizer.eps=-1")
    assert [line.split(":")[0] for line in found] == ["trainer.epochs", "optimizer.eps", "model.dropout"]
    found = lines("trainer.epochs=0", "model.dropout=1.5", "scheduler.pct_start=3")
    assert [line.split(":")[0] for line in found] == ["trainer.epochs", "model.dropout", "scheduler.pct_start"]


def test_a_value_that_is_copied_is_told_once():
    assert lines("optimizer.lr=nan") == ["optimizer.lr: nan is not a finite number (override optimizer.lr=nan)"]
    assert lines("optimizer.lr=???") == [
        "optimizer.lr: give a value: optimizer.lr=..., a number (override optimizer.lr=???)"
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed: -1 must be from 0 to 4294967295"),
        ("seed=08", "seed: want a whole number, got the text '08'; write 8"),
        ("name=..", "name: '..' can't name a folder"),
        ("runs_dir=", "runs_dir: name a folder, such as runs"),
        ("trainer.monitor=val/acc", "there is no metric `val/acc`; did you mean `val/accuracy`?"),
        ("trainer.device=gpu", "there is no device `gpu`; use auto, cpu, cuda, mps or xpu, or cuda:N"),
        ("trainer.device=meta", "there is no device `meta`"),
        ("data.batch_size=0", "want a whole number above zero, full or auto; got 0"),
        ("data.batch_size=2.5", "want a whole number above zero, full or auto; got 2.5"),
        ("data.workers=100000", "100,000: 1,024 are the most"),
        ("trainer.threads=100000", "100,000: 1,024 are the most"),
        ("data.workers=-1", "want a whole number, 0 or more, or auto; got -1"),
        ("optimizer.betas=[0.9,2]", "optimizer.betas: Invalid beta parameter at index 1: 2"),
        ("optimizer.lr=-1", "optimizer.lr: Invalid learning rate: -1"),
        ("scheduler.anneal=cosine", "want one of cos, linear, got the text 'cosine'; did you mean `cos`?"),
        ("model.dropout=1.5", "model.dropout: 1.5 must be at least 0 and below 1"),
        ("loss.label_smoothing=2", "loss.label_smoothing: 2 must be at least 0 and below 1"),
        ("seed=${seed}", "seed: ${seed} can't be resolved: it leads to itself"),
        ("model.widths=[1,${nope}]", "model.widths[1]: ${nope} can't be resolved: Interpolation key 'nope' not found"),
        ("model._target_=${nope}", "model._target_: ${nope} can't be resolved"),
        ("~model.widths", "model.widths: MLP needs it (a list of whole numbers): add +model.widths=..."),
        ("+regularisation.l3=1", "regularisation has no `l3`"),
        ("+regularisation.augmentation.afine=1", "augmentation has no `afine`; did you mean `affine`?"),
        ("regularisation.augmentation.affine={degree: 3}", "affine has no `degree`; did you mean `degrees`?"),
        ("regularisation.augmentation.affine={degrees: a}", "want a number, got the text 'a'"),
        ("regularisation.augmentation.affine=3", "want keys and values, or null; got 3"),
        ("regularisation.augmentation.policy={name: x}", "there is no policy `x`; there are auto_augment"),
        ("regularisation.early_stopping={patienc: 3}", "early_stopping has no `patienc`; did you mean `patience`?"),
        ("regularisation.early_stopping={patience: 0}", "early_stopping.patience: 0: write a number of evaluations"),
        ("regularisation.early_stopping={monitor: val/los}", "no metric `val/los`; did you mean `val/loss`?"),
        ("regularisation.mixup=0", "regularisation.mixup: 0: write alpha > 0"),
        ("regularisation.clip_norm=0", "regularisation.clip_norm: 0: write a number > 0, or null for no limit"),
        ("+trainer.epochz=1", "trainer has no `epochz`; did you mean `epochs`?"),
    ],
)
def test_a_wrong_value_is_explained(override, message):
    (line,) = lines(override)
    assert message in line
    assert f"(override {override})" in line


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=diabetes", "loss=cross_entropy"], "loss: cross_entropy does not fit the task regression of this data"),
        (["regularisation=mixup", "loss=perceptron"], "loss=perceptron needs class indices, not the soft targets"),
        (["regularisation=affine", "data=iris"], "needs images [C, H, W], and this data has inputs of shape [4]"),
        (["regularisation=cutmix", "data=iris"], "regularisation.cutmix: it needs images"),
        (["regularisation=dropout", "model=linear"], "Linear has no `dropout`; it has init (configs/regularisation/d"),
        (["~optimizer"], "optimizer: choose one: optimizer=NAME"),
        (["data.dataset={_target_: x.Y}", "data=dataset"], "data.dataset._target_: `x.Y` is not allowed here"),
        (["data.dataset={n: 3}", "data=dataset"], "`data.dataset={n: 3}`: it brings new keys: write +data.dataset="),
        (["model.norm=batch", "data.batch_size=1"], "every batch has one sample; batch normalisation needs two"),
        (["model.norm=batch", "data=iris", "data.batch_size=101"], "the last of 2 batches has one sample (102 samples"),
        (["optimizer=lbfgs", "trainer.precision=fp16"], "trainer.precision: lbfgs takes many gradients a step"),
        (
            ["loss=module", "loss._target_=torch.nn.L1Loss"],
            "it is given logits [B, 10] and int64 targets [B], and says",
        ),
        (
            ["loss=module", "loss._target_=torch.nn.CrossEntropyLoss", "+loss.reduction=none"],
            "it must return one number for the batch, and it returned shape [2]",
        ),
        (["model=module", "model._target_=torch.nn.Linear", "+model.in_features=8"], "model: it returns [B, 1, 8, 10]"),
        (
            ["model=module", "model._target_=torch.nn.Conv2d"],
            "model.out_channels: Conv2d needs it (a whole number): add +model.out",
        ),
        (["model=torchvision", "model.name=resnet81"], "model.name: resnet81 is unknown; did you mean resnet18"),
        (["scheduler=torch", "scheduler._target_=torch.optim.lr_scheduler.StepLR"], "add +scheduler.step_size=..."),
        (["scheduler=plateau", "scheduler.monitor=val/rmse"], "scheduler.monitor: there is no metric `val/rmse`"),
        (["scheduler=plateau", "scheduler.interval=step"], "give interval=epoch"),
        (["scheduler=plateau", "scheduler.mode=maximum"], "scheduler.mode: want one of min, max, got the text"),
        (["scheduler=exponential", "scheduler.gamma=-1"], "scheduler.gamma: -1: it must be above zero"),
    ],
)
def test_what_does_not_fit_together_is_explained(overrides, message):
    assert message in "\n".join(lines(*overrides))


def test_a_run_folder_in_whose_way_a_file_stands(tmp_path):
    (tmp_path / "runs").write_text("")
    assert lines() == [f"runs_dir: {tmp_path / 'runs'} is a file; name a folder (configs/train.yaml)"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "digits-mlp").write_text("")
    assert "other/digits-mlp is a file" in lines("runs_dir=other")[0]


def test_cuda_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert lines("trainer.device=cuda") == [
        "trainer.device: torch finds no CUDA device on this machine; use trainer.device=cpu or auto "
        "(override trainer.device=cuda)"
    ]
    assert plan("trainer.device=auto").device.type == "cpu"


def test_mistakes_come_before_a_download(monkeypatch):
    def refuse(*_args, **_knobs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert len(lines("data=mnist", "trainer.epochs=0")) == 1


def test_a_data_error_stands_beside_other_mistakes(tmp_path):
    with pytest.raises(DataError, match=r"no such file"):
        plan("data=table", "data.path=x.csv", "data.target=y")
    found = lines("data=table", "data.path=x.csv", "data.target=y", "trainer.epochs=0")
    assert found[0].startswith("trainer.epochs: 0 must be above zero")
    assert found[1] == "data: x.csv: no such file"
    found = lines("data=iris", "data.val=1000", "trainer.epochs=0")
    assert found[1].startswith("data: data.val=1000 leaves no training rows of the 120")


# -- a user's own code -----------------------------------------------------------------------------------------

NETS = """
class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 8):
        super().__init__()
        if hidden < 2:
            raise ValueError("hidden is too small for me")
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, hidden), nn.Linear(hidden, num_classes))
    def forward(self, x):
        return self.layers(x)

class Bug(Net):
    def forward(self, x):
        return {}["nope"]

class LooksAtValues(Net):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__(in_features, num_classes)
        self.scale = torch.ones(3).sum().item()
    def forward(self, x):
        return self.layers(x) * (self.scale if x.sum().item() < 1 else 2.0)

class Pair(Net):
    def forward(self, x):
        return self.layers(x), x

class Frozen(Net):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__(in_features, num_classes)
        self.requires_grad_(False)

class NeedsDepth(nn.Module):
    def __init__(self, in_features: int, depth: int): ...

class Coded(nn.Module):
    def __init__(self, in_features: int, out_features: int, codes: list[list[int]]):
        super().__init__()
        self.front = dltrain.codes.Embeddings(in_features, codes, size=3)
        self.last = nn.Linear(self.front.width, out_features)
    def forward(self, x):
        return self.last(self.front(x))

def build(in_features: int, out_features: int):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, out_features))

def wrong():
    return 3
"""


def own(name, cls, *more):
    return ["model=module", f"model._target_={name}.{cls}", *more]


@pytest.mark.parametrize(("cls", "hidden"), [("Net", []), ("Net", ["+model.hidden=4"]), ("build", [])])
def test_a_users_model_gets_the_sizes_that_it_names(module, cls, hidden):
    name = module(NETS)
    made = plan(*own(name, cls, *hidden), allow=[name])
    assert made.rows[-1].output_shape == (10,)


@pytest.fixture
def zones(tmp_path):
    """Typed words for a table with a column of 70 zones, which is a code, and two of numbers."""
    lines = [f"{i % 11},z{i % 70},{i * i % 17},{i % 5}" for i in range(700)]
    (tmp_path / "zones.csv").write_text("\n".join(["a,zone,b,y", *lines]) + "\n")
    return [
        "data=table",
        "data.path=zones.csv",
        "data.target=y",
        "data.task=regression",
        "data.min_count=1",
        "data.one_hot=20",
    ]


def test_a_users_model_gets_zeros_and_ones_or_the_codes_that_it_names(module, zones):
    name = module("import dltrain\n" + NETS)
    hot, coded = (plan(*zones, *own(name, cls), allow=[name]) for cls in ("build", "Coded"))
    for made in (hot, coded):
        assert made.data.in_shape == (3,)
        assert made.sizes["codes"] == [[1, 71]]
        assert build.make_model(made)(made.data.test.x).shape == (len(made.data.test), 1)
    assert [(row.type, row.output_shape) for row in hot.rows[:1]] == [("Expand", (72,))]
    assert [(row.type, row.output_shape) for row in coded.rows[:1]] == [("Embeddings", (5,))]
    assert (hot.step, coded.why_plain) == ("direct", "the direct step does not know Coded")
    assert hot.rows[-1].parameters == 72 + 1
    linear = plan(*zones, "model=linear")
    assert [row.type for row in linear.rows] == ["Expand", "Flatten", "Linear", "OneHot"]
    known = plan(*zones, "data.one_hot=null", "model=linear")
    x = build.make_model(linear).expand(linear.data.train.x)
    assert torch.equal(x, known.data.train.x)


@pytest.mark.parametrize("choice", ["mixup", "input_noise"])
def test_codes_are_not_changed_as_if_they_were_amounts(zones, choice):
    (line,) = lines(*zones, f"regularisation={choice}")
    assert f"regularisation.{choice}" in line
    assert "1 column of codes of categories, which are no amounts; data.one_hot=null makes zeros and ones" in line
    assert plan(*zones, f"regularisation={choice}", "data.one_hot=null").data.in_shape == (72,)


def test_a_model_that_looks_at_values_is_tried_for_real(module):
    name = module(NETS)
    state = torch.get_rng_state()
    made = plan(*own(name, "LooksAtValues"), allow=[name])
    assert made.rows[-1].output_shape == (10,)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("cls", "more", "message"),
    [
        ("Net", ["+model.hidden=1"], r"model.hidden: hidden is too small for me (at {name}.py:8)"),
        ("Net", ["+model.hiden=3"], r"model.hiden: Net has no `hiden`; did you mean `hidden`?"),
        ("Net", ["+model.hidden=a"], r"model.hidden: want a whole number, got the text 'a'"),
        ("Bug", [], r"model: inputs of shape [B, 1, 8, 8] don't pass: KeyError: 'nope' (at {name}.py:15)"),
        ("Pair", [], r"model: it must return one tensor [B, outputs], and it returns something else"),
        ("Frozen", [], r"model: it has no parameters to train"),
        ("NeedsDepth", [], r"model.depth: NeedsDepth needs it (a whole number): add +model.depth=..."),
        ("wrong", [], r"model: TypeError: it made a int, not an nn.Module"),
    ],
)
def test_a_users_mistake_is_told_with_its_place(module, cls, more, message):
    name = module(NETS)
    (line,) = lines(*own(name, cls, *more), allow=[name])
    assert line.startswith(message.format(name=name))


def test_a_users_module_needs_to_be_allowed(module):
    name = module(NETS)
    (line,) = lines(*own(name, "Net"))
    assert f"add --allow {name} to the command (override model._target_={name}.Net)" in line
    assert name not in sys.modules


ROWS = """
from torch.utils.data import Dataset
class Rows(Dataset):
    def __init__(self, n: int = 60, first: int = 0, bug: bool = False):
        self.x, self.first, self.bug, self.classes = torch.randn(n, 5), first, bug, ["a", "b"]
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        if self.bug: raise KeyError("row")
        return self.x[i], self.first + i % 2

from dltrain.data import Data, Tensors
def make(top: int = 2, value: float = 0.0) -> Data:
    part = Tensors(torch.full((20, 3), value) * 100, torch.arange(20) % top)
    return Data(part, part, part, "binary", (3,), ("a", "b"))
"""


def rows(name, *more):
    return ["data=dataset", f"data.dataset._target_={name}.Rows", *more]


def test_a_users_dataset_works(module):
    name = module(ROWS)
    made = plan(*rows(name, "+data.dataset.n=30"), allow=[name])
    assert (len(made.data.train), made.data.task, made.data.in_shape) == (24, "binary", (5,))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["+data.dataset.m=1"], r"data.dataset.m: Rows has no `m`; it has n, first, bug"),
        (["+data.dataset.bug=true"], r"data: KeyError: 'row' \(at {name}.py:10\)"),
        (["+data.dataset.first=3"], r"dataset\[\d+\]: label [34] is out of range: class indices are 0 to 1"),
        (["data.val_dataset=5"], r"data.val_dataset: want .*got 5"),
    ],
)
def test_mistakes_around_a_users_dataset(module, more, message):
    name = module(ROWS)
    with pytest.raises((ConfigError, DataError), match=message.format(name=name)):
        plan(*rows(name, *more), allow=[name])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ("top: 3", r"train\[2\]: label 2 is out of range; 2 classes count from 0"),
        ("value: .nan", r"data.value: nan is not a finite number"),
        ("value: 1.0e38", r"the train part has 60 NaN or infinite input values"),
    ],
)
def test_data_that_a_user_makes_is_looked_at(module, tmp_path, knobs, message):
    name = module(ROWS)
    (tmp_path / "mine" / "data").mkdir(parents=True)
    text = f"# Mine.\n_target_: {name}.make\n{knobs}\nbatch_size: 4\n"
    (tmp_path / "mine" / "data" / "made.yaml").write_text(text)
    with pytest.raises((ConfigError, DataError), match=message):
        plan("data=made", allow=[name], config_dir="mine")


# -- `_target_` below lists and dicts, and in stored runs ------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+model.a={_target_: os.system, command: touch pwned}", "model.a._target_"),
        ("+model.a=[1,{_target_: os.system, command: touch pwned}]", "model.a[1]._target_"),
        ("+model.a={b: [{_target_: builtins.eval}]}", "model.a.b[0]._target_"),
        ("+data.dataset={_target_: torch.load}", "data.dataset._target_"),
        ("+optimizer.a={_target_: torch.nn.Linear}", "optimizer.a._target_"),
    ],
)
def test_nested_targets_pass_the_same_policy(tmp_path, override, key):
    assert any(line.startswith(f"{key}: `") and "is not allowed here" in line for line in lines(override))
    assert not (tmp_path / "pwned").exists()


def test_nested_targets_of_torchvision_are_built():
    made = plan(
        "data=dataset",
        "+data.dataset={_target_: torchvision.datasets.FakeData, size: 40, image_size: [3, 8, 8], num_classes: 2,"
        " transform: {_target_: torchvision.transforms.Compose, transforms: [{_target_: torchvision.transforms."
        "ToTensor}]}}",
        "data.classes=2",
    )
    assert made.data.in_shape == (3, 8, 8)


def test_a_stored_configuration_passes_the_same_checks(tmp_path):
    (tmp_path / "config.yaml").write_text("model:\n  _target_: os.system\n  command: touch pwned\nseed: x\n")
    with pytest.raises(ConfigError) as caught:
        make_plan(stored(tmp_path))
    text = str(caught.value)
    assert "model._target_: `os.system` is not allowed here" in text
    assert "seed: want a whole number, got the text 'x'" in text
    assert text.count(str(tmp_path / "config.yaml")) == len(text.splitlines())
    assert not (tmp_path / "pwned").exists()


def test_a_plan_of_a_stored_configuration_is_the_same(tmp_path):
    first = plan("data=iris", "regularisation=[dropout,early_stopping]")
    from omegaconf import OmegaConf

    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(first.config)))
    again = make_plan(stored(tmp_path))
    assert again.config == first.config
    assert torch.equal(again.data.train.x, first.data.train.x)


def test_training_after_a_plan_starts_from_the_seed_alone():
    def first_weights():
        from dltrain.engine.trainer import seed_everything

        made = plan("seed=3")
        seed_everything(made.seed)
        return build.make_model(made).layers.linear1.weight

    torch.manual_seed(1)
    first = first_weights()
    torch.manual_seed(2)
    assert torch.equal(first_weights(), first)


def test_of_the_same_key_twice_the_last_counts_and_the_plan_says_so():
    made = plan("seed=1", "optimizer=sgd", "optimizer=adam", "seed=2")
    assert made.seed == 2
    assert made.parts["optimizer"].function is torch.optim.Adam
    assert "seed=1 is not used: seed=2 stands after it" in made.notes
    assert "optimizer=sgd is not used: optimizer=adam stands after it" in made.notes


@pytest.mark.parametrize(("widths", "device"), [([64], "cpu"), ([20_000, 20_000], "meta")])
def test_a_small_model_is_tried_for_real_and_a_large_one_without_memory(widths, device):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    sizes = {"in_features": 64, "out_features": 10, "in_shape": (1, 8, 8), "codes": []}
    model, rows, error = trials.model(Part(MLP, {"widths": widths}), sizes, "meta")
    assert error is None
    assert next(model.parameters()).device.type == device
    assert rows[-1].output_shape == (10,)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_key_switches_on_beside_the_choice_is_told():
    both = ["data=iris", "regularisation=none", "regularisation.l2=3e-3"]
    made = make_plan(compose(both))
    assert made.regularisation.l2 == 3e-3
    assert "regularisation=none and regularisation.l2=3e-3: l2 is on, too" in made.notes

    def composed(typed):
        found = compose(["data=iris", *typed])
        assert not found.mistakes
        return found

    policy = "regularisation.augmentation.policy.learned_on=svhn"
    for typed in (
        ["regularisation=l2", "regularisation.l2=3e-3"],
        ["regularisation.l2=3e-3"],
        ["regularisation=none"],
        ["regularisation=[l1, l2]", "regularisation.l2=3e-3"],
        ["regularisation=none", "regularisation.l2=0e0"],
        ["data=digits", "regularisation=affine", "regularisation.augmentation.affine.degrees=30"],
        ["data=digits", "regularisation=[l2,auto_augment]", policy],
        ["data=digits", "regularisation=early_stopping", "regularisation.early_stopping.patience=3"],
    ):
        assert not composed(typed).switched_beside(), typed
    for typed, name in (
        (["regularisation=[l2,dropout]", "regularisation.l1=1"], "l1"),
        (["regularisation=['l2']", "+regularisation.ema=0.9"], "ema"),
        (
            ["regularisation=none", "regularisation.augmentation.crop_flip={padding: 1, flip: false}"],
            "augmentation.crop_flip",
        ),
    ):
        (note,) = composed(typed).switched_beside()
        assert note == f"{typed[0]} and {typed[1].lstrip('+')}: {name} is on, too"


def test_a_function_that_makes_no_data_is_told(module, tmp_path):
    name = module("from dltrain.data import Data\ndef make() -> Data:\n    return [1, 2]\n")
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "made.yaml").write_text(f"# Mine.\n_target_: {name}.make\nbatch_size: 4\n")
    (line,) = lines("data=made", allow=[name], config_dir="mine")
    assert line.startswith("data: TypeError: it returned a list, not a dltrain.data.Data")


# -- the list of checks ----------------------------------------------------------------------------------------


def types_of(function):
    """The parameters of a check, or the fields of a plan, and their types as they are written."""
    return {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}


def test_a_fact_has_one_type_wherever_it_is_named():
    """A check is called with facts by their names, which a type checker can't follow."""
    known = {name: hint.__forward_arg__ for name, hint in Known.__annotations__.items()}
    for function in (*CHECKS, *REMARKS, Plan):
        for name, hint in types_of(function).items():
            assert hint.removesuffix(" | None") == known[name].removesuffix(" | None"), (function.__name__, name)


def test_every_check_runs_where_nothing_is_wrong(monkeypatch):
    ran = []

    def noted(check):
        @functools.wraps(check)
        def call(**needs):
            ran.append(check)
            return check(**needs)

        return call

    monkeypatch.setattr(plans, "CHECKS", tuple(map(noted, CHECKS)))
    plan("data=iris")
    assert ran == [*CHECKS]


@pytest.mark.parametrize("sign", ["", "++"])
def test_a_device_that_is_typed_gives_way_to_no_other(monkeypatch, sign):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch finds no CUDA device"):
        outline(compose([f"{sign}trainer.device=cuda"]), slots=())
