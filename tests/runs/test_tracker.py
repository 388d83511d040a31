"""metrics.jsonl is the truth, TensorBoard a view of it; neither stops a run."""

import json
import struct

import pytest
import torch
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter, masked_crc32c
from torch.utils.tensorboard import summary

from dltrain.engine.records import Record
from dltrain.runs import tensorboard
from dltrain.runs.tracker import Tracker


def record(step, loss=0.5, steps=100, **metrics):
    own = {"train/loss": loss, "train/lr": 0.1, "train/samples_per_s": 10.0}
    return Record(step, step / 100, {**own, **metrics}, torch.linspace(1, 0, steps), torch.full((steps,), 8))


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    loaded = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    loaded.Reload()
    return loaded


def points(folder, tag):
    return [(e.step, float(e.tensor_proto.float_val[0])) for e in events(folder).Tensors(tag)]


def tracker(folder, start=0, tensorboard=True, **more):
    return Tracker(folder, total_steps=1000, start=start, bar=True, events=tensorboard, **more)


def test_each_record_is_a_line_and_points(tmp_path):
    writer = tracker(tmp_path)
    writer.write(record(100, **{"val/accuracy": 0.75}))
    writer.write(record(200, loss=float("nan")))
    writer.close()
    first, second = lines(tmp_path)
    assert first == {
        "step": 100,
        "epoch": 1.0,
        "train/loss": 0.5,
        "train/lr": 0.1,
        "train/samples_per_s": 10.0,
        "val/accuracy": 0.75,
    }
    assert second["train/loss"] is None  # JSON has no NaN
    assert points(tmp_path, "val/accuracy") == [(100, 0.75)]
    curve = points(tmp_path, "train/loss_by_step")
    assert [step for step, _ in curve] == list(range(5, 205, 5))
    assert curve[0][1] == pytest.approx(torch.linspace(1, 0, 100)[:5].mean().item())


def test_points_of_reports_in_quick_succession_come_together_and_keep_their_times(tmp_path):
    writer = tracker(tmp_path)
    writer.write(record(100))  # the first ones at once
    assert points(tmp_path, "train/loss") == [(100, 0.5)]
    for step in (200, 300):
        writer.write(record(step))
    assert len(lines(tmp_path)) == 3  # the log itself waits for nothing
    writer.sync()
    assert [step for step, _ in points(tmp_path, "train/loss")] == [100, 200, 300]
    times = [point.wall_time for point in events(tmp_path).Tensors("train/loss")]
    assert times == sorted({*times})
    for step, shown in ((400, writer.tell), (500, None)):
        writer.write(record(step))
        if shown:
            shown(0.0, step)
            assert points(tmp_path, "train/loss")[-1] == (step, 0.5)
    writer.close()
    assert points(tmp_path, "train/loss")[-1] == (500, 0.5)


def test_going_on_drops_what_comes_again(tmp_path):
    writer = tracker(tmp_path)
    for step in (100, 200, 300):
        writer.write(record(step))
    writer.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 400, "epo')  # killed while writing
    writer = tracker(tmp_path, start=200)
    writer.write(record(300, loss=0.25))
    writer.close()
    assert [line["step"] for line in lines(tmp_path)] == [100, 200, 300]
    assert points(tmp_path, "train/loss") == [(100, 0.5), (200, 0.5), (300, 0.25)]
    assert [step for step, _ in points(tmp_path, "train/loss_by_step")] == list(range(5, 305, 5))


def test_going_on_between_two_reports_makes_no_point_twice(tmp_path):
    writer = tracker(tmp_path)
    for step in (100, 200):
        writer.write(record(step))
    writer.close()
    writer = tracker(tmp_path, start=130)  # the last checkpoint; killed after the report of step 200
    writer.write(record(200))
    writer.close()
    assert [step for step, _ in points(tmp_path, "train/loss_by_step")] == list(range(5, 205, 5))
    assert [step for step, _ in points(tmp_path, "train/loss")] == [100, 200]


def test_a_tensorboard_that_runs_meanwhile_drops_what_comes_again(tmp_path):
    """By its own reader in Python; the fast one does so by itself."""
    writer = tracker(tmp_path)
    for step in (100, 200, 300):
        writer.write(record(step))
    writer.close()
    running = plugin_event_accumulator.EventAccumulator(str(tmp_path), tensor_size_guidance={"scalars": 0})
    running.Reload()
    writer = tracker(tmp_path, start=230)
    writer.write(record(300))
    writer.close()
    running.Reload()
    assert [e.step for e in running.Tensors("train/loss")] == [100, 200, 300]
    assert [e.step for e in running.Tensors("train/loss_by_step")] == list(range(5, 305, 5))


def test_a_job_has_its_events_in_a_folder_of_its_name_and_goes_on_there(tmp_path):
    tracker(tmp_path, name="lr=0.1").write(record(100))
    writer = tracker(tmp_path, start=100, name="lr=0.1 and=more")  # as another release may call it
    writer.write(record(200))
    assert [path.name for path in tmp_path.glob("*=*")] == ["lr=0.1"]
    assert [step for step, _ in points(tmp_path / "lr=0.1", "train/loss")] == [100, 200]
    tensorboard.write_pictures(tmp_path, 200, {}, b"")
    assert not list(tmp_path.glob("events*"))
    assert list((tmp_path / "lr=0.1").glob("*.pictures"))


def test_a_job_that_was_begun_before_jobs_had_names_goes_on_where_it_was(tmp_path):
    tracker(tmp_path).write(record(100))
    tracker(tmp_path, start=100, name="lr=0.1").write(record(200))
    assert [step for step, _ in points(tmp_path, "train/loss")] == [100, 200]
    assert not list(tmp_path.glob("*=*"))


def test_a_folder_of_events_that_is_a_link_is_not_followed(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    tracker(other).write(record(100))
    before = [path.read_bytes() for path in other.glob("events*")]
    (run / "lr=0.1").symlink_to(other)
    writer = tracker(run, name="lr=0.1")
    writer.write(record(100))
    assert [path.read_bytes() for path in other.glob("events*")] == before
    assert [step for step, _ in points(run, "train/loss")] == [100]


def test_what_stood_at_a_stop_is_replaced_by_what_stands_at_the_end(tmp_path):
    for start, status in ((0, "stopped"), (100, "done")):
        writer = tracker(tmp_path, start=start)
        writer.write(record(start + 100))
        summary = {"status": status, "test": {"loss": 0.1}, "best": {"loss": 0.2}, "steps": start + 100}
        writer.hparams({"optimizer.lr": 0.1}, summary, {"result": status})
        writer.close()
    found = events(tmp_path)
    assert [e.tensor_proto.string_val[0] for e in found.Tensors("run/result")] == [b"    done"]
    start = plugin_data_pb2.HParamsPluginData.FromString(
        found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    )
    assert start.session_start_info.hparams["status"].string_value == "done"


def test_hparams_stand_in_the_runs_own_event_file_with_real_metrics(tmp_path):
    writer = tracker(tmp_path)
    writer.write(record(100))
    summary = {"status": "done", "test": {"accuracy": 0.9, "f1": float("nan")}, "best": {"loss": 0.2}, "steps": 100}
    writer.hparams({"optimizer.lr": 0.1, "model": "MLP"}, summary, {"command": "dltrain `a`\nb", "result": ""})
    writer.close()
    assert len(list(tmp_path.glob("**/events*"))) == 1
    found = events(tmp_path)
    contents = found.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert start.hparams["status"].string_value == "done"
    assert "_hparams_/experiment" not in contents  # it would hide the columns that only other runs have
    assert start.hparams["test/accuracy"].number_value == 0.9
    assert "test/f1" not in start.hparams  # which is no number
    assert "test/accuracy" not in found.Tags()["tensors"]  # a curve of one point tells nothing
    shown = found.Tensors("run/command")[0].tensor_proto.string_val[0].decode()
    assert shown == "    dltrain `a`\n    b"  # as it stands, whatever Markdown would make of it


def test_a_run_that_failed_early_is_in_the_hparams_tab_and_one_stopped_early_is_not(tmp_path):
    for status, files in (("failed", 1), ("stopped", 0)):
        folder = tmp_path / status
        folder.mkdir()
        writer = tracker(folder)
        writer.hparams({"optimizer.lr": -1}, {"status": status})
        writer.close()
        assert len(list(folder.glob("events*"))) == files
    contents = events(tmp_path / "failed").PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["status"].string_value == "failed"


def test_a_log_that_cannot_be_written_warns_once_and_goes_on(tmp_path, capsys):
    writer = tracker(tmp_path, tensorboard=False)
    (tmp_path / "metrics.jsonl").mkdir()
    writer.write(record(100))
    writer.write(record(200))
    writer.close()
    assert capsys.readouterr().err.count("training goes on, the log follows later") == 1


def test_going_on_beside_what_is_no_event_and_no_log(tmp_path):
    """Each event has the right checksum."""
    tracker(tmp_path).write(record(100))
    (file,) = tmp_path.glob("events.*")
    good = file.read_bytes()
    with (tmp_path / "events.out.tfevents.1.garbage").open("wb") as odd:
        RecordWriter(odd).write(b"\xff\xff\xff garbage")
    length = struct.pack("<Q", 1 << 62)
    file.write_bytes(good + length + struct.pack("<I", masked_crc32c(length)) + b"x")
    with (tmp_path / "metrics.jsonl").open("ab") as log:
        log.truncate(1 << 40)  # a hole takes no room on the disk
    tracker(tmp_path, start=100)
    assert [line["step"] for line in lines(tmp_path)] == [100]
    assert file.read_bytes() == good
    assert not (tmp_path / "events.out.tfevents.1.garbage").exists()


def test_checksums_are_tensorboards():
    texts = [(bytes(range(251)) * 20)[:n] for n in (*range(4, 300), 5000)]
    assert tensorboard._checksums(texts) == [masked_crc32c(text) for text in texts]


def test_events_are_those_of_torch():
    event = Event.FromString(tensorboard.scalar(7, "val/loss", 0.1))
    assert event.step == 7
    assert event.summary == summary.scalar("val/loss", 0.1, new_style=True)
    values = {"optimizer.lr": 0.1, "seed": 3, "trainer.compile": True, "model": "MLP"}
    _, *wanted = summary.hparams(values, {})
    for ours, theirs in zip(tensorboard.hparams(values), wanted, strict=True):
        one, other = Event.FromString(ours).summary.value[0], theirs.value[0]
        assert one.tag == other.tag
        assert one.metadata.plugin_data.plugin_name == other.metadata.plugin_data.plugin_name
        one, other = (
            plugin_data_pb2.HParamsPluginData.FromString(v.metadata.plugin_data.content) for v in (one, other)
        )
        assert one == other
