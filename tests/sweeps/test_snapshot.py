"""The YAML files of a sweep as its folder keeps them."""

from dltrain.config.choices import CONFIGS
from dltrain.runs import storage
from dltrain.sweeps import snapshot


class Watched:
    """What is written, and which files were waited for."""

    def __init__(self, disk):
        self._disk, self._open, self.written, self.lasting = disk, {}, set(), set()

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def open(self, path, *rest):
        handle = self._disk.open(path, *rest)
        self._open[handle] = path
        return handle

    def write(self, handle, content):
        self.written.add(self._open[handle])
        return self._disk.write(handle, content)

    def fsync(self, handle):
        self.lasting.add(self._open[handle])
        self._disk.fsync(handle)


def test_every_file_and_its_name_is_on_the_disk_before_the_record_of_a_sweep_is(tmp_path, monkeypatch):
    own = tmp_path / "own"
    (own / "model" / "small").mkdir(parents=True)
    (own / "model" / "small" / "net.yaml").write_text("# A net.\n_target_: dltrain.models.Linear\n")
    monkeypatch.setattr(storage, "disk", disk := Watched(storage.disk))
    snapshot.take(tmp_path, str(own))
    kept = tmp_path / "configs"
    files = {path for path in kept.rglob("*") if path.is_file()}
    assert kept / "own" / "model" / "small" / "net.yaml" in files
    assert (kept / "packaged" / "train.yaml").read_bytes() == (CONFIGS / "train.yaml").read_bytes()
    assert disk.written == files
    assert {*kept.rglob("*"), kept} <= disk.lasting
    assert snapshot.changed(tmp_path, str(own)) == []
