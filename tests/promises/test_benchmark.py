"""The benchmark's machinery on its smallest workload: it runs, compares losses, and writes. No time is judged."""

import importlib
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def speed(monkeypatch):
    """The package beside the script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from speed import conduct, contender, workloads

    yield conduct, contender, workloads
    for name in [name for name in sys.modules if name.partition(".")[0] in ("speed", "benchmark", "benchmark_growth")]:
        del sys.modules[name]


@pytest.fixture
def benchmark(speed, tmp_path, monkeypatch, capsys):
    """Does what the script does in an empty folder; gives what it ends with, as sys.exit was told, and what it said."""
    import benchmark

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["scripts/benchmark.py", *arguments])
        with pytest.raises(SystemExit) as end:
            benchmark.main()
        return end.value.code, *capsys.readouterr()

    return run


def test_the_smallest_workload_gives_a_table_numbers_and_a_picture(benchmark, tmp_path):
    code, out, err = benchmark(
        "--quick",
        "--rounds",
        "1",
        "--workloads",
        "W3",
        "--only",
        "in memory",
        "dltrain, whole",
        "--out",
        "out",
        "--name",
        "own",
    )
    assert code == 0, out + err
    written = json.loads((tmp_path / "out" / "speed" / "own.json").read_text())
    results = written["workloads"]["W3"]["results"]
    assert [r["name"] for r in results] == ["in memory, fused Adam", "dltrain, whole run"]
    for result in results:
        assert result["trouble"] is None
        assert not result["wrong_loss"]
        assert result["loss"] < 0.6  # log 2 at the start
        assert len(result["microseconds"]) == 1
    assert written["machine"]["packages"]["torch"]
    table = (tmp_path / "out" / "speed" / "own.md").read_text()
    assert "| **dltrain, whole run** |" in table
    assert (tmp_path / "out" / "speed" / "own.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "speed.md").read_text().startswith("# Speed")
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_the_index_has_each_kind_of_processor(tmp_path, speed):
    conduct, _, workloads = speed
    from speed import report

    times = {"dltrain": 100.0, "JAX, scan over the epoch": 200.0, "Ignite, quiet": 300.0, "Keras on JAX": 1.0}
    shown = [(workloads.WORKLOADS["W1"], [conduct.Result(name, "peer", [t]) for name, t in times.items()])]
    for name, family in (("AMD EPYC", 25), ("AMD EPYC", 26), ("Intel(R) Xeon(R)", 6)):
        facts = report.machine() | {"processor": name, "family": family, "model": 17, "command": ""}
        report.write(tmp_path / "speed", report.kind(facts), facts, [], shown)
    page = report.index(tmp_path).read_text()
    assert "[AMD EPYC of family 26, model 17](speed/amd-epyc-family-26-model-17.md)" in page
    assert page.count("| MLP 784-512-256-10, batch 128 | 100 | 0.50 | 3.00 (Ignite) |") == 3
    assert (tmp_path / "speed" / "intel-xeon-family-6-model-17.md").is_file()


def test_the_table_tells_the_floor_with_and_without_onednn(speed):
    conduct, _, workloads = speed
    from speed import floor, report

    for names in ((floor.PRODUCTS, floor.BYTES), (floor.PRODUCTS, floor.BYTES, floor.ONEDNN)):
        results = [conduct.Result(name, "floor", [100.0 + i]) for i, name in enumerate(names)]
        table = report.table(workloads.WORKLOADS["W1"], results)
        assert "201.0 µs a step" in table
        assert ("would lose -2.0 µs" in table) == (len(names) == 3)


def test_a_loss_unlike_the_others_is_marked(speed):
    conduct, contender, workloads = speed
    results = [conduct.Result(str(loss), "peer", [1.0], loss) for loss in (0.50, 0.51, 0.6, float("nan"))]
    entries = [contender.Entry(r.name, "", "") for r in results]
    conduct.check_losses(results, entries, workloads.WORKLOADS["W3"])
    assert [r.wrong_loss for r in results] == [False, False, True, True]


def test_a_contender_that_fails_is_named_and_the_others_go_on(speed, tmp_path, monkeypatch):
    conduct, contender, workloads = speed
    monkeypatch.setattr(conduct, "_SECONDS", 0.0)
    workload = workloads.quick(workloads.WORKLOADS["W3"])
    workloads.prepare(workload, tmp_path)
    broken = contender.Entry("broken", "no_such_loops", "train")
    good = contender.Entry("good", "handwritten", "in_memory")
    bad, fine = conduct.race(workload, [broken, good], tmp_path, rounds=1, say=lambda text: None)
    assert "no_such_loops" in bad.trouble
    assert fine.trouble is None
    assert fine.median > 0


def test_what_is_not_installed_is_left_out_and_named(benchmark, speed):
    _, contender, _ = speed
    assert contender.Entry("x", "", "", needs=("torch", "no_such_package")).missing == ["no_such_package"]
    if not contender.Entry("x", "", "", needs=("jax", "optax")).missing:
        pytest.skip("jax is installed, so nothing is missing")
    said, out, _ = benchmark("--only", "JAX", "--workloads", "W3")
    assert "JAX, jitted step is left out: jax" in out
    assert said == "nothing was left to run"


def test_a_smallest_run_is_timed_as_a_process(benchmark, tmp_path):
    code, out, err = benchmark(
        "--rounds", "1", "--workloads", "startup", "--only", "dltrain", "--out", ".", "--name", "own"
    )
    assert code == 0, out + err
    (result,) = json.loads((tmp_path / "speed" / "own.json").read_text())["workloads"]["startup"]["results"]
    assert result["microseconds"][0] > 1e5
    assert (tmp_path / "speed" / "own.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_gpu_it_says_so(benchmark):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    said, _, _ = benchmark("--device", "cuda")
    assert said.startswith("torch finds no CUDA device here")


def test_growth_reads_its_times_from_a_run(tmp_path, speed):
    import benchmark_growth as growth

    long, longer = growth.points(10_000)[:2]
    assert (long.size, longer.size) == (1_000, 10_000)
    (tmp_path / "run").mkdir()
    growth.run(long, tmp_path / "run")
    assert long.microseconds[0] > 0
    assert 100 < long.peak_mib[0] < 4_000
    longer.microseconds, longer.peak_mib = [1.5 * long.microseconds[0]], long.peak_mib
    assert growth.judge([long, longer]) == (pytest.approx(0.5), 0)
    assert "flat within 50.0%, memory within 0.0%" in growth.table([long, longer])


@pytest.mark.parametrize("arguments", [["--workloads", "W9"], ["--only", "nobody"]])
def test_wrong_words_are_answered_with_the_right_ones(arguments, benchmark):
    said, _, err = benchmark(*arguments)
    assert ("W1, W2, W3, L1" if "W9" in arguments else "tutorial loop") in f"{said} {err}"


def test_every_hand_written_loop_learns_the_same(speed, tmp_path):
    """Same batches in the same order: one full batch, so that nothing is left to chance."""
    _, _, workloads = speed
    from dataclasses import replace

    from speed import handwritten, manual

    for name in ("W2", "W3"):
        small = replace(workloads.WORKLOADS[name], rows=64, val_rows=8, batch=64, epochs=5)
        workloads.prepare(small, tmp_path)
        task = workloads.read(tmp_path, tmp_path)
        losses = []
        for setup in (handwritten.tutorial, handwritten.in_memory, handwritten.flat_buffers, manual.manual):
            contender = setup(task)
            contender.reset()
            contender.train()
            losses.append(workloads.loss(task, contender.weights()))
        assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def peers() -> list:
    sys.path.insert(0, str(SCRIPTS))
    try:
        from speed.entries import FLOOR, PEERS
    finally:
        sys.path.remove(str(SCRIPTS))
    return [*PEERS, *FLOOR]


@pytest.fixture(scope="module")
def raced(tmp_path_factory) -> dict:
    """What every framework that is installed did with the smallest workload, and a loop by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        from speed import conduct, contender, worker, workloads

        patch.setattr(conduct, "_SECONDS", 0.0)
        folder = tmp_path_factory.mktemp("race")
        workload = workloads.quick(workloads.WORKLOADS["W3"])
        workloads.prepare(workload, folder)
        installed = [e for e in peers() if not e.missing]
        own = [e for e in installed if {*e.needs} - {"sklearn"}]  # frameworks want a process each
        results = {r.name: r for r in conduct.race(workload, own, folder, rounds=1, say=lambda text: None)}
        for entry in [
            contender.Entry("reference", "handwritten", "in_memory"),
            *(e for e in installed if e not in own),
        ]:
            task = workloads.read(folder, folder)
            setup = getattr(importlib.import_module(f"speed.{entry.module}"), entry.function)
            answer = worker._round(setup(task, **entry.options), task, seconds=0)
            results[entry.name] = conduct.Result(entry.name, entry.kind)
            conduct._note(results[entry.name], answer, workload)
    return results


@pytest.mark.parametrize("entry", peers(), ids=lambda entry: entry.name)
def test_every_framework_that_is_installed_learns_the_same(entry, raced):
    if entry.missing:
        pytest.skip(f"{', '.join(entry.missing)} is not installed")
    result = raced[entry.name]
    assert result.trouble is None
    assert result.median > 0
    if result.loss is None:  # another rule, or no training at all: only timed
        assert entry.name.startswith(("floor", "scikit-learn Perceptron"))
    else:
        assert result.loss == pytest.approx(raced["reference"].loss, rel=0.05)


def test_the_floor_counts_operations_and_bytes(speed):
    _, _, workloads = speed
    from speed import floor

    w1, w3 = workloads.WORKLOADS["W1"], workloads.WORKLOADS["W3"]
    layers = (784 * 512, 512 * 256, 256 * 10)
    assert floor.operations(w1) == 2 * 128 * (3 * sum(layers) - layers[0])
    assert floor.traffic(w1) == 7 * 4 * (sum(layers) + 512 + 256 + 10) + 2 * 4 * 128 * 784
    assert floor.operations(w3) == 2 * 1 * 2 * 2
