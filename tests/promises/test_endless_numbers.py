"""Numbers that no machine computes with, typed: one line, exit code 2, and no work before it."""

import pytest


@pytest.mark.parametrize(
    "words",
    [
        *("trainer.accumulate=1000000000000", "trainer.report_every=1e308", "trainer.eval_every=1e308"),
        *("regularisation.clip_value=1e308", "regularisation.l2=1e308", "data.classes=1000000000000"),
        *("optimizer=adadelta optimizer.lr=1e308", "optimizer=rmsprop optimizer.alpha=1e308"),
        *("optimizer=adagrad optimizer.weight_decay=1e308", "optimizer=lbfgs optimizer.history_size=-1"),
        *("optimizer=lbfgs optimizer.history_size=1000000000000", "optimizer=muon optimizer.ns_steps=1000000000000"),
        f"seed={'9' * 5000}",
        "data=digits regularisation=elastic regularisation.augmentation.elastic.sigma=1000000000",
    ],
)
def test_numbers_that_no_machine_computes_with_are_mistakes(dltrain, words):
    code, out, err = dltrain("data=blobs", *words.split())
    assert (code, len(err.splitlines()) <= 2) == (2, True), out + err


def test_words_of_commands_that_are_no_numbers(dltrain):
    code, _, err = dltrain("data=blobs", "trainer.epochs=1", "trainer.tensorboard=false")
    assert code == 0, err
    for words in (
        *(["dream", "last", "--class", "\u00b2"], ["dream", "last", "--class", "9" * 5000]),
        *(["dream", "last", "--class", "0", "--seed", str(2**64)], ["resume", "last", f"seed={'9' * 5000}"]),
        *(["export", "last", "--format", "safetensors", "-o", "."], ["export", "last", "--format", "pt2", "-o", "/"]),
    ):
        code, out, err = dltrain(*words)
        assert (code, "--debug shows" in err) == (2, False), (words, out + err)
