"""The disk fails, fills up, and loses its power or its process at every single operation; nothing acknowledged is lost.

`storage.disk` is replaced by one that counts the operations and lets a test come in at any of them.
"""

import errno
import itertools
import math
import os
import resource
import shutil
import signal
import subprocess
import traceback
import warnings
from contextlib import suppress

import pytest
import torch

from dltrain.errors import CheckpointError, StorageError
from dltrain.runs import checkpoint, storage

OPERATIONS = {"open", "write", "fsync", "mkdir", "replace", "unlink", "rmdir", "close", "lseek"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES)
SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
MOST = 4 if SOAK else 3  # pending changes of a folder of which any set is tried
LEFTOVERS = (".tmp-", ".del-", ".old-")
# What a run saves, in this order; the place in the list, from 1, is the serial that marks the content.
SAVES = [("step", 1), ("best", 1), ("step", 2), ("step", 2), ("best", 2), ("step", 3)]


class Disk:
    """`os`, where each operation goes through `around(number, name, call, args)`; the first has number 1."""

    def __init__(self, around=None):
        self.count = 0
        self.around = around or (lambda number, name, call, args: call(*args))

    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in OPERATIONS:
            return call
        if name == "fsync":  # no power is cut here: waiting for the real disk would only make the tests slow
            call = os.fstat  # fails as fsync does for a number that is no open file

        def counted(*args):
            self.count += 1
            return self.around(self.count, name, call, args)

        return counted


def name_of(serial):
    kind, step = SAVES[serial - 1]
    return f"{kind}-{step:08d}"


def save(folder, serial, size=4):
    kind, step = SAVES[serial - 1]
    state = {"serial": serial, "steps": step, "moment": torch.full((3,), float(-serial))}
    checkpoint.save(folder, step=step, model={"weight": torch.full((size,), float(serial))}, state=state, kind=kind)


def prune(folder):
    checkpoint.prune(folder, keep=[*checkpoint.find(folder)[-2:], *checkpoint.find(folder, "best")[-1:]])


def save_and_prune(folder, serial, acknowledge=lambda serial: None):
    save(folder, serial)
    acknowledge(serial)
    if SAVES[serial - 1][0] == "step":
        prune(folder)


def owed(acknowledged):
    """The checkpoints that must be there after so many saves have returned, by name, with the serial of each."""
    names = {}
    for serial, (kind, _) in enumerate(SAVES[:acknowledged], 1):
        names[name_of(serial)] = serial
        if kind == "step":  # the others are being pruned, or are gone
            kept = [*sorted(n for n in names if "step" in n)[-2:], *sorted(n for n in names if "best" in n)[-1:]]
            names = {n: names[n] for n in kept}
    return names


def serial_of(path, model, state):
    """The serial of a checkpoint, all of whose parts must be of the same save."""
    serial = state["serial"]
    assert path.name == name_of(serial)
    assert state["steps"] == SAVES[serial - 1][1]
    assert torch.all(model["weight"] == serial)
    assert torch.all(state["moment"] == -serial)
    return serial


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(LEFTOVERS)] if folder.is_dir() else []


def look(folder):
    """What a process that starts anew finds: the serial of the latest, and of each whole checkpoint by name."""
    storage.clean(folder)
    assert leftovers(folder) == []
    whole = {}
    for path in [*checkpoint.find(folder), *checkpoint.find(folder, "best")]:
        with suppress(CheckpointError):  # it is missed by the caller if it was owed
            whole[path.name] = serial_of(path, *checkpoint.load(path))
    found = checkpoint.latest(folder)  # raises if there are some and none is whole
    return serial_of(*found) if found else 0, whole


def assert_nothing_lost(found, acknowledged):
    latest, whole = found
    names = owed(acknowledged)
    assert all(serial <= whole.get(name, 0) <= acknowledged + 1 for name, serial in names.items()), (found, names)
    newest = max((serial for name, serial in names.items() if "step" in name), default=0)
    assert newest <= latest <= acknowledged + 1, (found, names)


def in_child(work):
    """What `work(tell)` told from a forked process, a byte each, and how that process ended."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads: the child takes none of their locks
        pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)  # a child that hangs must not hang the tests
            work(lambda byte: os.write(writer, bytes([byte])))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = list(pipe.read())
    return told, os.waitpid(pid, 0)[1]


# -- a process that is killed ------------------------------------------------------------------------------------


def kills(work):
    """Every moment to die in `work()`: before each operation, amid each write, and after the last: after any other is
    before the next.
    """
    names = []

    def note(number, name, call, args):
        names.append(name)
        return call(*args)

    storage.disk = Disk(note)
    work()
    for number, name in enumerate(names, 1):
        yield number, "before"
        if name == "write":
            yield number, "amid"
    yield len(names), "after"


def in_turn(moments, turn):
    """A third of the moments of work that is done several times, another third at each turn; in a soak all."""
    return moments if SOAK else moments[turn % 3 :: 3]


def killing(at, when):
    def around(number, name, call, args):
        if number == at:
            try:
                if when == "amid":
                    os.write(args[0], args[1][: len(args[1]) // 2])
                elif when == "after":
                    call(*args)
            finally:  # an operation may fail, as the removal of what isn't there
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)

    return Disk(around)


def killed(work, at, when):
    """What `work(tell)` told before the process was killed."""

    def doomed(tell):
        storage.disk = killing(at, when)
        work(tell)

    told, status = in_child(doomed)
    assert os.WIFSIGNALED(status), (at, when, status)
    assert os.WTERMSIG(status) == signal.SIGKILL, (at, when, status)
    return told


def test_a_kill_at_any_operation_loses_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", os)  # puts it back at the end
    count, before = 0, tmp_path / "before"
    for serial in range(1, len(SAVES) + 1):

        def prepared(name, before=before):
            if before.exists():  # files are never changed in place, so that links will do
                shutil.copytree(before, tmp_path / name, copy_function=os.link)
            return tmp_path / name

        after = prepared(f"after-{serial}")
        moments = list(kills(lambda folder=after, serial=serial: save_and_prune(folder, serial)))
        storage.disk = os
        if serial not in (4, 6):  # the one that replaces a checkpoint, and the one that removes some
            moments = in_turn(moments, serial)
        for number, (at, when) in enumerate(moments):
            folder = prepared(f"{serial}-{number}")
            told = killed(lambda tell, f=folder, s=serial: save_and_prune(f, s, tell), at, when)
            assert_nothing_lost(look(folder), serial if told else serial - 1)
            shutil.rmtree(folder, ignore_errors=True)
        count, before = count + len(moments), after
    print(f"T2: {count} kills of a process that saves and prunes")


def test_a_kill_at_any_operation_leaves_a_replaced_file_old_or_new(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", os)
    path, old, new = tmp_path / "summary.json", b"old " * 10, b"new and longer " * 10
    path.write_bytes(old)
    moments = list(kills(lambda: storage.replace(path, new)))
    storage.disk = os
    seen = set()
    for at, when in moments:
        path.write_bytes(old)

        def work(tell):
            storage.replace(path, new)
            tell(1)

        told = killed(work, at, when)
        content = path.read_bytes()
        assert content in ((new,) if told else (old, new)), (at, when)
        seen.add(content)
        storage.clean(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert seen == {old, new}
    print(f"T2: {len(moments)} kills of a process that replaces a file")


def test_a_kill_at_any_operation_neither_loses_nor_doubles_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", os)
    lines = [f'{{"step": {n}}}\n'.encode() for n in range(5)]

    def work(path, tell):
        log = storage.Log(path)
        for number, line in enumerate(lines):
            log.write(line)
            tell(number)
            log.sync()

    moments = in_turn(list(kills(lambda: work(tmp_path / "log", lambda number: None))), 0)  # five lines are much alike
    storage.disk = os
    for number, (at, when) in enumerate(moments):
        path = tmp_path / str(number)
        told = killed(lambda tell, path=path: work(path, tell), at, when)
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        count = whole.count(b"\n")
        assert whole == b"".join(lines[:count]), (at, when)
        assert len(told) <= count <= len(told) + 1, (at, when)
        if whole != content:  # as a run does that goes on
            storage.replace(path, whole)
        log = storage.Log(path)
        for line in lines[count:]:
            log.write(line)
        log.sync()
        assert path.read_bytes() == b"".join(lines)
    print(f"T2: {len(moments)} kills of a process that writes a log")


# -- a machine that loses its power ------------------------------------------------------------------------------


class Node:
    """A file or folder: what it holds now, and what of it would surely be there after a loss of power."""

    def __init__(self, now):
        self.now, self.kept = now, type(now)()
        self.pending = []  # of a folder: changes since its last fsync, as (name that goes, name that comes, node)

    def change(self, gone, come, node):
        self.pending.append((gone, come, node))
        self.now = changed(self.now, [self.pending[-1]])

    def fsync(self):
        self.kept, self.pending = self.now, []


def changed(entries, changes):
    """The entries of a folder after some changes, or None if these can't be made without others."""
    entries = dict(entries)
    for gone, come, node in changes:
        if gone is not None and entries.pop(gone, None) is not node:
            return None
        if come is not None:
            if come in entries and (gone is None or isinstance(entries[come].now, dict)):
                return None
            entries[come] = node
    return entries


def survivors(node, most, known=None):
    """Every content that a file or folder can have after a loss of power, as bytes or frozensets of pairs.

    Data that was not synced may be absent, half there or there. Of a folder's changes since its last fsync any
    prefix may be there, and of up to `most` of them any set that makes sense.
    """
    known = {} if known is None else known
    if node in known:
        return known[node]
    if isinstance(node.now, bytes):
        middle = (len(node.kept) + len(node.now)) // 2
        return {node.kept, node.now[:middle], node.now}
    changes = node.pending
    if len(changes) <= most:
        chosen = (c for n in range(len(changes) + 1) for c in itertools.combinations(changes, n))
    else:
        chosen = (changes[:n] for n in range(len(changes) + 1))
    results, seen = set(), set()
    for some in chosen:
        entries = changed(node.kept, some)
        if entries is None or (key := frozenset(entries.items())) in seen:
            continue
        seen.add(key)
        contents = [survivors(child, most, known) for child in entries.values()]
        assert math.prod(map(len, contents)) < 100_000, "far more was left unsynced than is right"
        results.update(frozenset(zip(entries, content, strict=True)) for content in itertools.product(*contents))
    known[node] = results
    return results


class Recorder:
    """Follows the operations below a folder, and calls `after()` when each has been made."""

    def __init__(self, root, after):
        self.top, self.root, self.after = root, Node({}), after
        self.handles = {}

    def find(self, path):
        node = self.root
        for part in path.relative_to(self.top).parts:
            node = node.now[part]
        return node

    def around(self, number, name, call, args):
        result = call(*args)
        getattr(self, f"on_{name}")(result, *args)
        self.after()
        return result

    def on_open(self, handle, path, flags, mode=0):
        if flags & os.O_CREAT and path.name not in (parent := self.find(path.parent)).now:
            parent.change(None, path.name, Node(b""))
        self.handles[handle] = self.find(path)

    def on_write(self, count, handle, content):
        self.handles[handle].now += bytes(content[:count])

    def on_fsync(self, _, handle):
        self.handles[handle].fsync()

    def on_close(self, _, handle):
        del self.handles[handle]

    def on_mkdir(self, _, path):
        self.find(path.parent).change(None, path.name, Node({}))

    def on_replace(self, _, old, new):
        assert old.parent == new.parent
        self.find(old.parent).change(old.name, new.name, self.find(old))

    def on_unlink(self, _, path):
        self.find(path.parent).change(path.name, None, self.find(path))

    on_rmdir = on_unlink


def make(path, content, pool):
    """Puts a state on the disk; equal files are links to one, which is quicker than writing them thousands of times."""
    if isinstance(content, bytes):
        blob = pool / str(hash(content))
        if not blob.exists():
            blob.write_bytes(content)
        os.link(blob, path)
        return
    path.mkdir()
    for name, part in content:
        make(path / name, part, pool)


def test_a_loss_of_power_at_any_operation_loses_no_checkpoint(tmp_path, monkeypatch):
    cases, told = set(), [0]
    recorder = Recorder(tmp_path / "disk", lambda: cases.update((s, told[-1]) for s in survivors(recorder.root, MOST)))
    (tmp_path / "disk").mkdir()
    (tmp_path / "pool").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "disk", disk := Disk(recorder.around))

        def acknowledge(serial):
            told.append(serial)
            recorder.after()

        for serial in range(1, len(SAVES) + 1):
            save_and_prune(tmp_path / "disk" / "run", serial, acknowledge)
    assert told[-1] == len(SAVES)
    found = {}
    for number, content in enumerate({content for content, _ in cases}):
        make(root := tmp_path / str(number), content, tmp_path / "pool")
        found[content] = look(root / "run")
        shutil.rmtree(root)
    for content, acknowledged in cases:
        assert_nothing_lost(found[content], acknowledged)
    print(f"T3: {len(found)} states of the disk ({len(cases)} with what was owed) after {disk.count} operations")


def test_a_loss_of_power_at_any_operation_leaves_a_replaced_file_old_or_new(tmp_path, monkeypatch):
    cases, told, contents = set(), [0], [b"first", b"second, longer", b"third"]
    recorder = Recorder(tmp_path, lambda: cases.update((s, told[-1]) for s in survivors(recorder.root, 8)))
    monkeypatch.setattr(storage, "disk", Disk(recorder.around))
    for number, content in enumerate(contents, 1):
        storage.replace(tmp_path / "summary.json", content)
        told.append(number)
        recorder.after()
    for state, acknowledged in cases:
        content = dict(state).get("summary.json")
        assert content in [*contents, None][max(acknowledged - 1, 0) :], (state, acknowledged)
        assert content is not None or not acknowledged
    print(f"T3: {len(cases)} states of the disk while a file is replaced")


def test_the_last_of_several_replaced_files_makes_all_of_them_last(tmp_path, monkeypatch):
    cases = set()
    recorder = Recorder(tmp_path, lambda: cases.update(survivors(recorder.root, 8)))
    monkeypatch.setattr(storage, "disk", Disk(recorder.around))
    storage.replace(tmp_path / "config.yaml", b"first", more_follows=True)
    storage.replace(tmp_path / "data.json", b"second")
    recorder.after()
    assert {dict(state).get("config.yaml") for state in cases} == {None, b"first"}
    assert {(state["config.yaml"], state["data.json"]) for state in map(dict, survivors(recorder.root, 8))} == {
        (b"first", b"second")
    }


def test_the_last_of_several_checkpoints_makes_all_of_them_last(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "disk", lambda: None)
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(storage, "disk", Disk(recorder.around))
    common = {"step": 1, "model": {"weight": torch.ones(2)}, "state": {}}
    checkpoint.save(tmp_path / "disk" / "run", kind="best", more_follows=True, **common)
    assert len([*survivors(recorder.root, 8)]) > 1
    checkpoint.save(tmp_path / "disk" / "run", **common)
    (state,) = survivors(recorder.root, 8)
    assert {name for name, _ in dict(state)["run"]} == {"best-00000001", "step-00000001"}


# -- a disk that refuses -----------------------------------------------------------------------------------------


def failing(at, code, lasting):
    """A disk where operation `at` fails, and if `lasting` each one after it; a failed close still closes."""

    def around(number, name, call, args):
        if number == at or (lasting and number > at):
            if name == "close":
                call(*args)
            raise OSError(code, os.strerror(code))
        return call(*args)

    return Disk(around)


def short(at):
    """A disk that is full from half of write number `at` on."""

    def around(number, name, call, args):
        if number > at and name in ("write", "mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number == at and name == "write":
            return call(args[0], args[1][: (len(args[1]) + 1) // 2])
        return call(*args)

    return Disk(around)


def stingy():
    """A disk that takes half of what it is given, each time."""

    def around(number, name, call, args):
        return call(args[0], args[1][: (len(args[1]) + 1) // 2]) if name == "write" else call(*args)

    return Disk(around)


def troubles(count):
    """Disks that fail at each of the first `count` operations: in each way in a soak, else with one error in turn."""
    for at in range(1, count + 1):
        for code in ERRORS if SOAK else [ERRORS[at % len(ERRORS)]]:
            yield f"{errno.errorcode[code]} at {at}", False, lambda at=at, code=code: failing(at, code, False)
            yield f"{errno.errorcode[code]} from {at}", True, lambda at=at, code=code: failing(at, code, True)
        yield f"full at {at}", True, lambda at=at: short(at)


def operations(work):
    storage.disk = disk = Disk()
    work()
    return disk.count


@pytest.mark.parametrize("serial", [4, 6], ids=["the same step again", "a new step"])
def test_a_disk_that_refuses_any_operation_harms_no_older_checkpoint(tmp_path, monkeypatch, serial):
    monkeypatch.setattr(storage, "disk", os)

    def prepared(name):
        storage.disk = Disk()
        for older in (1, 3):
            save(tmp_path / name, older)
        return tmp_path / name

    dry = prepared("dry")
    handles = len(os.listdir("/proc/self/fd"))
    outcomes = []
    for number, (what, lasting, disk) in enumerate(troubles(operations(lambda: save(dry, serial)))):
        folder = prepared(str(number))
        storage.disk = disk()
        try:
            save(folder, serial)
            outcomes.append(True)
        except StorageError:  # and no other
            outcomes.append(False)
        assert serial_of(*checkpoint.latest(folder)) in (1, 3, serial), what  # 1: step 2 may stand aside as .old-
        assert lasting or leftovers(folder) == [], what
        storage.disk = Disk()
        latest, whole = look(folder)
        assert latest == serial if outcomes[-1] else latest in (3, serial), what
        assert whole.get(name_of(1)) == 1, what
        assert whole.get(name_of(3)) in (3, serial), what
        save(folder, serial)
        assert look(folder)[0] == serial, what
        shutil.rmtree(folder)
    assert len(os.listdir("/proc/self/fd")) == handles
    assert False in outcomes
    assert StorageError.exit_code == 7
    print(f"T4: {len(outcomes)} saves on a failing disk, {outcomes.count(False)} refused")


def test_a_disk_that_refuses_any_operation_leaves_a_replaced_file_old_or_new(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", os)
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    count = 0
    for what, _, disk in troubles(operations(lambda: storage.replace(path, b"new" * 9))):
        path.write_bytes(b"old")
        storage.disk, count = disk(), count + 1
        try:
            storage.replace(path, b"new" * 9)
            allowed = [b"new" * 9]
        except OSError:
            allowed = [b"old", b"new" * 9]
        storage.disk = Disk()
        assert path.read_bytes() in allowed, what
        storage.clean(tmp_path)
        assert os.listdir(tmp_path) == [path.name], what
    print(f"T4: {count} replacements of a file on a failing disk")


def test_a_disk_that_takes_half_of_each_write_gets_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", disk := stingy())
    for serial in range(1, len(SAVES) + 1):
        save_and_prune(tmp_path / "run", serial)
    assert_nothing_lost(look(tmp_path / "run"), len(SAVES))
    storage.replace(tmp_path / "file", b"0123456789")
    log = storage.Log(tmp_path / "log")
    log.write(b"one\n")
    log.write(b"two\n")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    print(f"T4: {disk.count} operations with short writes")


def test_a_log_has_each_line_once_whatever_the_disk_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "disk", os)
    lines = [f'{{"step": {n}}}\n'.encode() for n in range(5)]
    count = refused = 0

    def write(log, sync=True):
        failures = 0
        for line in lines:
            for work in (lambda line=line: log.write(line), *([log.sync] if sync else [])):
                try:
                    work()
                except OSError:
                    failures += 1
        return failures

    total = operations(lambda: write(storage.Log(tmp_path / "dry")))
    for number, (what, _, disk) in enumerate(troubles(total)):
        for sync in (True, False):
            path = tmp_path / f"{number}-{sync}"
            log = storage.Log(path)
            storage.disk, count = disk(), count + 1
            refused += write(log, sync) > 0
            seen = path.read_bytes() if path.exists() else b""
            assert b"".join(lines).startswith(seen), what
            storage.disk = Disk()
            log.sync()
            assert path.read_bytes() == b"".join(lines), what
            path.unlink()
    print(f"T4: {count} logs on a failing disk, {refused} of them refused something")


def test_a_full_file_system_harms_no_older_checkpoint(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    try:
        save(folder, 1)
        save(folder, 3)
        log = storage.Log(folder / "log")
        log.write(b"one\n")
        for serial in (4, 6):
            with pytest.raises(StorageError, match="No space left") as raised:
                save(folder, serial, size=1 << 20)
            assert raised.value.exit_code == 7
            assert leftovers(folder) == []
            assert look(folder) == (3, {name_of(1): 1, name_of(3): 3})
        with pytest.raises(OSError, match="No space left"):
            storage.replace(folder / "file", bytes(2 << 20))
        assert sorted(p.name for p in folder.iterdir()) == ["log", name_of(1), name_of(3)]
        with pytest.raises(OSError, match="No space left"):
            (folder / "filler").write_bytes(bytes(2 << 20))
        with pytest.raises(OSError, match="No space left"):
            log.write(bytes(8192) + b"\n")
        (folder / "filler").unlink()
        log.write(b"three\n")
        assert (folder / "log").read_bytes() == b"one\n" + bytes(8192) + b"\nthree\n"
        save(folder, 6)
        assert look(folder)[0] == 6
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=20)
    print("T4: 2 saves, a replacement and a log on a full file system")


@pytest.mark.parametrize("serial", [4, 6], ids=["the same step again", "a new step"])
def test_a_limit_on_file_sizes_harms_no_older_checkpoint(tmp_path, serial):
    save(tmp_path, 1)
    save(tmp_path, 3)

    def work(tell):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        try:
            save(tmp_path, serial, size=1 << 16)
        except StorageError as error:
            tell(error.exit_code)
            tell(error.__cause__.errno)

    assert in_child(work) == ([7, errno.EFBIG], 0)
    assert leftovers(tmp_path) == []
    assert look(tmp_path) == (3, {name_of(1): 1, name_of(3): 3})
    print("T4: 1 save above the limit on file sizes")
