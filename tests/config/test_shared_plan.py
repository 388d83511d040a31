"""What a plan says to several processes: what they share, and what they can't."""

from types import SimpleNamespace

import pytest
from quick_compose import quick as compose

from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError

NORMED = "model.norm=batch"


def plan(*overrides, size=2):
    """Of one of so many processes."""
    ranks = SimpleNamespace(rank=0, world_size=size) if size > 1 else None
    return make_plan(compose(["data=iris", *overrides]), ranks=ranks)


def test_batchnorm_is_each_ones_own_unless_it_is_shared():
    assert any("trainer.sync_batchnorm=true: by those of all" in note for note in plan(NORMED).notes)
    shared = plan(NORMED, "trainer.sync_batchnorm=true")
    assert (shared.step, shared.why_plain) == ("plain", "trainer.sync_batchnorm=true")
    assert not any("BatchNorm" in note for note in shared.notes)


@pytest.mark.parametrize(
    ("overrides", "size", "why"),
    [([NORMED], 1, "one process has all rows"), ([], 2, "the net has no BatchNorm")],
)
def test_what_is_asked_for_in_vain_is_told(overrides, size, why):
    found = plan("trainer.sync_batchnorm=true", *overrides, size=size)
    assert f"trainer.sync_batchnorm is not used: {why}" in found.notes
    assert found.step == "direct"


@pytest.mark.parametrize(
    ("overrides", "size", "message"),
    [
        (["data.batch_size=33"], 2, "the last of 4 batches has fewer than 4 samples for 2 processes (102 by 33)"),
        (["data.batch_size=3"], 2, "every batch has fewer than 4 samples for 2 processes (102 by 3)"),
        (["data.batch_size=101", "trainer.sync_batchnorm=true"], 2, "the last of 2 batches has one sample"),
    ],
)
def test_parts_of_one_sample_have_no_variance(overrides, size, message):
    with pytest.raises(ConfigError, match=r"data\.batch_size") as error:
        plan(NORMED, *overrides, size=size)
    assert message in str(error.value)
    if "trainer.sync_batchnorm=true" not in overrides:
        assert str(error.value).count("or trainer.sync_batchnorm=true") == 1
    plan(*overrides, size=size)


def test_parts_of_one_sample_are_no_fault_where_all_are_normalised_together():
    for size in ("33", "3"):
        plan(NORMED, f"data.batch_size={size}", "trainer.sync_batchnorm=true")


def test_fewer_rows_than_processes_are_refused():
    with pytest.raises(ConfigError, match=r"data\.batch_size: 3 processes share each batch: give 3 rows or more"):
        plan("data.batch_size=2", size=3)
    with pytest.raises(ConfigError, match="data: 103 processes share each batch, and the train part has 102 rows"):
        plan(size=103)


def test_a_batchnorm_of_another_kind_is_refused(tmp_path, monkeypatch):
    (tmp_path / "own_norm.py").write_text(
        "from torch import nn\n\n\nclass Own(nn.BatchNorm1d):\n    pass\n\n\n"
        "def net(in_features: int, out_features: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.Linear(in_features, 4), Own(4), nn.Linear(4, out_features))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["data=iris", "model=module", "model._target_=own_norm.net", "trainer.sync_batchnorm=true"]
    with pytest.raises(
        ConfigError, match=r"trainer\.sync_batchnorm: Own normalises in a way of its own; leave it false"
    ):
        make_plan(compose(words), ["own_norm"], ranks=SimpleNamespace(rank=0, world_size=2))


@pytest.mark.parametrize(
    ("overrides", "size", "note"),
    [
        ([], 2, "2 processes share each batch: 8 of 16 rows each"),
        ([], 3, "3 processes share each batch: at most 6 of 16 rows each"),
        (["data.batch_size=1000"], 2, "2 processes share each batch: 51 of 102 rows each"),
    ],
)
def test_rows_of_a_process_are_of_a_batch_that_there_is(overrides, size, note):
    assert note in plan(*overrides, size=size).notes


def test_what_each_process_draws_for_itself_is_told():
    drawn = "each process draws for its own rows, and not what one process would"
    assert f"dropout and input_noise: {drawn}" in plan("model.dropout=0.2", "regularisation=input_noise").notes
    assert f"dropout: {drawn}" in plan("model.dropout=0.2").notes
    assert not any(drawn in note for note in [*plan().notes, *plan("model.dropout=0.2", size=1).notes])


def test_a_loss_that_is_a_sum_is_refused_as_processes_take_means():
    words = ["data=sine", "loss=module", "loss._target_=torch.nn.MSELoss", "+loss.reduction=sum"]
    with pytest.raises(
        ConfigError, match=r"loss\.reduction: several processes take the mean of their losses; use mean"
    ):
        plan(*words)
    plan(*words, size=1)
