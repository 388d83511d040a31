"""How far a sweep is: by its ledger, by the folders of its jobs, by both."""

import json
import socket
import time

from dltrain.insight import listing
from dltrain.runs import jobs, reading, run_folder


def job(sweep, number, status, seconds=10.0):
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"status": status, "seconds": seconds}))
    return folder


def ledger(sweep, *states, total=None):
    (sweep / "sweep.json").write_text(json.dumps({"jobs": total}))
    (sweep / "jobs.jsonl").write_text("".join(json.dumps({"job": n, "state": s}) + "\n" for n, s in states))


def far(sweep):
    return jobs.read(sweep, [reading.read(path, found) for path, found in reading.walk(sweep)])


def test_a_line_holds_what_a_sweep_writes_and_no_more(tmp_path):
    told = [{"job": 0, "state": "done", "overrides": ["seed=0"], "value": 0.5}, {"job": 1, "state": "failed"}]
    odd = [{**told[1], "overrides": found} for found in ([[]], ["a=1"] * 5_000)]
    odd += [
        {**told[1], "x": [[]], "y": {"z": 1}},
        {**told[1], "rung": "1", "attempts": -(10**9)},
        {**told[0], "reason": "x" * 3_000_000},
    ]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told + odd))
    assert [*jobs.lines(tmp_path)] == [*told, *[told[1]] * 4]


def test_of_an_older_sweep_the_folders_are_counted(tmp_path):
    (tmp_path / "sweep.json").write_text('{"overrides": []}')
    assert str(far(tmp_path)) == "0 jobs ended"
    for number, status in enumerate(("done", "done", "failed", "running")):
        job(tmp_path, number, status)
    assert str(far(tmp_path)) == "3 jobs ended (2 done, 1 failed), 1 killed"


def test_a_ledger_says_k_of_n_and_how_long(tmp_path):
    ledger(
        *(
            tmp_path,
            (0, "queued"),
            (0, "running"),
            (0, "done"),
            (1, "running"),
            (2, "pruned"),
            (3, "running"),
            (4, "queued"),
        ),
        total=300,
    )
    job(tmp_path, 0, "done")
    job(tmp_path, 3, "done", seconds=20.0)  # the ledger's keeper was killed before it could say so
    folder = job(tmp_path, 1, "running", seconds=0.0)
    word = {"step": 1, "total": 5, "rate": 1.0, "time": time.time(), "host": socket.gethostname()}
    (folder / "progress.json").write_text(json.dumps(word))
    with run_folder.Lock(folder):
        found = far(tmp_path)
        assert listing.sweeps([reading.read(folder, tmp_path)]) == [f"sweep {tmp_path.name}: {found}"]
    assert listing.sweeps([reading.read(folder, tmp_path)]) == []
    with run_folder.Lock(tmp_path):  # between two jobs
        assert len(listing.sweeps([reading.read(folder, tmp_path)])) == 1
    assert found.total == 300
    assert found.ended == 3
    assert found.left == (300 - 4) * 15.0 + 4.0
    assert str(found) == "3 of 300 jobs ended (2 done, 1 pruned), 1 running, about 1 h 14 min left"
    assert str(far(tmp_path)) == "3 of 300 jobs ended (2 done, 1 pruned), 1 killed"


def test_what_is_left_to_do_and_what_was_removed(tmp_path):
    ledger(tmp_path, (0, "done"), (1, "failed"), (2, "pruned"), (3, "diverged"), total=4)
    line = {"job": 1, "state": "failed", "reason": "killed by SIGSEGV"}
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    folder = job(tmp_path, 0, "done")
    assert jobs.gone(tmp_path, [reading.read(folder, tmp_path)]) == [
        "[1] failed: killed by SIGSEGV",
        "[2] pruned",
        "[3] diverged",
    ]
    assert not far(tmp_path).unfinished
    job(tmp_path, 1, "killed")
    (job(tmp_path, 2, "") / "summary.json").write_text('{"status": "stopped", "reason": "pruning"}')
    assert (len(jobs.gone(tmp_path, [])), not far(tmp_path).unfinished) == (3, True)
    assert str(far(tmp_path)) == "4 of 4 jobs ended (1 done, 1 pruned, 1 diverged, 1 failed)"
    (folder / "summary.json").unlink()
    folder.rmdir()
    assert (far(tmp_path).unfinished, str(far(tmp_path)).split(" (")[0]) == (True, "3 of 4 jobs ended")
    with (tmp_path / "jobs.jsonl").open("a") as file:  # it is to go on with
        file.write(json.dumps({"job": 2, "state": "queued", "rung": 1}) + "\n")
    assert far(tmp_path).states["queued"] == 2


def test_what_a_stranger_wrote_is_counted_as_far_as_it_goes(tmp_path):
    lines = [
        "[" * 5000,
        "{}",
        '{"job": -1, "state": "done"}',
        '{"job": "x", "state": "done"}',
        '{"job": 1e9}',
        "\x1b[2J",
    ]
    lines += ['{"job": 3, "state": ["done"]}', '{"job": 4, "state": "\\u001b[2J"}', '{"job": 5, "state": "failed"}']
    for total in ("-3", "1e300", '"x"', "[]", "true", "0"):
        (tmp_path / "sweep.json").write_text(f'{{"jobs": {total}}}')
        (tmp_path / "jobs.jsonl").write_text("\n".join([*lines, '{"job": 6, "sta']))
        assert str(far(tmp_path)) == "1 job ended (1 failed)"
    (tmp_path / "jobs.jsonl").unlink()
    (tmp_path / "jobs.jsonl").mkdir()
    (tmp_path / "sweep.json").write_text('{"jobs": 1}')
    assert str(far(tmp_path)) == "0 of 1 job ended"


def test_what_is_said_of_a_job_that_is_gone_is_one_line_of_a_sensible_length(tmp_path):
    line = {"job": 0, "state": "failed", "reason": "x\nerror: forged\n" + "y" * 100_000}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(line) + "\n")
    (said,) = jobs.gone(tmp_path, [])
    assert said.startswith("[0] failed: x error: forged y")
    assert len(said) <= 500
