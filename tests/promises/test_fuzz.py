"""Damaged checkpoints, data files, YAML files and command lines by the thousand: typed errors, and nothing else.

Each kind runs in a process of its own, with little memory and an alarm on every trial, so that a signal, a hang and
a hunger for memory all count as a crash. A new process that has no threads yet forks them: here polars and OpenMP keep
threads, which do not survive a fork. DLTRAIN_SOAK=1 makes the numbers large.
"""

import bz2
import copy
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import traceback
import zipfile
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from dltrain.config import compose
from dltrain.errors import CheckpointError, ConfigError, DataError, DltrainError
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
CHECKPOINTS, RESUMES, READS = (100_000, 2_000, 5_000) if SOAK else (800, 60, 200)
COMPOSED = READS if SOAK else 20  # of those that are composed: a tenth of a second each
SECONDS = 10  # for one trial
MEMORY = {"checkpoints": 8 << 30, "resumes": 8 << 30}  # bytes of addresses; torch's libraries alone take some
ODD = [None, True, -1, 0.5, 2**70, 10**400, "", "x", [], {}, {"float": "nan"}, {"float": "inf"}, {"tensor": "0"}]
ODD += [{"tuple": []}, {"dict": []}, {"float": "x"}, {"tensor": "999"}, {"dict": [[[], 1]]}, {"dict": [1]}, "9" * 300]


# -- mutations -----------------------------------------------------------------------------------------------------


def mutate(rng, content, other=b""):
    """Bytes with one of eight kinds of damage."""
    data, n = bytearray(content), len(content)
    a, b = sorted(rng.randrange(n + 1) for _ in range(2))
    match rng.randrange(8):
        case 0:
            for _ in range(rng.choice([1, 1, 2, 8])):
                data[rng.randrange(n)] ^= 1 << rng.randrange(8)
        case 1:
            for _ in range(rng.choice([1, 1, 4])):
                data[rng.randrange(n)] = rng.choice([0, 1, 127, 128, 255, 10, 34, 44, 58, 91, 123])
        case 2:
            del data[a:]
        case 3:
            data[a:a] = rng.randbytes(rng.choice([1, 8, 300]))
        case 4:
            del data[a : min(b, a + rng.choice([1, 8, 300]))]
        case 5:
            width = min(rng.choice([1, 8, 64]), n - b, b - a)
            data[a : a + width], data[b : b + width] = data[b : b + width], data[a : a + width]
        case 6:
            data = bytearray(other)
        case 7:
            data[a:b] = bytes(b - a)
    return bytes(data)


def nodes(tree):
    """(container, key) of every value of a JSON tree."""
    for key in range(len(tree)) if isinstance(tree, list) else list(tree):
        yield tree, key
        if isinstance(tree[key], (list, dict)):
            yield from nodes(tree[key])


def shallow(tree):
    """The same without the 624 numbers of a generator, which would be nearly all."""
    return [(c, k) for c, k in nodes(tree) if not (isinstance(c, list) and len(c) > 100 and 3 < k < len(c) - 1)]


def restructure(rng, tree):
    """A JSON tree with a value dropped, doubled, exchanged, nested or of another type or size, once or twice."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2])):
        if not (places := shallow(tree)):
            break
        container, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del container[key]
            case 1 | 2:
                container[key] = copy.deepcopy(rng.choice(ODD))
            case 3:
                other, place = rng.choice(places)
                container[key] = copy.deepcopy(other[place])
            case 4:
                for _ in range(rng.choice([1, 3, 200])):
                    container[key] = rng.choice([[container[key]], {"tuple": [container[key]]}])
            case 5 if isinstance(container[key], int):
                container[key] = rng.choice([-container[key], container[key] + 1, 2**31, 2**63, 2**64, -(2**70)])
            case _:
                container[key] = str(container[key])[:50]
    return tree


# -- trials: each returns a word to count, or raises what is to be seen ---------------------------------------------


def write_checkpoint(folder, contents, *, honest):
    """Writes the files; where `honest`, with the sizes and hashes that they have now."""
    if honest:
        manifest = json.loads(contents["MANIFEST.json"])
        for name in manifest["files"]:
            facts = {"size": len(contents[name]), "sha256": hashlib.sha256(contents[name]).hexdigest()}
            manifest["files"][name] = facts
        contents = {**contents, "MANIFEST.json": json.dumps(manifest).encode()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def identical(one, other):
    """Whether two loaded trees are the same to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(identical, one, other))
    if hasattr(one, "untyped_storage"):
        return (one.dtype, one.shape, one.numpy().tobytes()) == (other.dtype, other.shape, other.numpy().tobytes())
    return repr(one) == repr(other)


def checkpoints(source, work):
    """A damaged checkpoint is refused or loads as it was; only one with true hashes may load as something else."""
    steps, bests = (checkpoint.find(source / "checkpoints", kind) for kind in ("step", "best"))
    path, other = steps[-1], bests[-1]
    contents = {f.name: f.read_bytes() for f in path.iterdir()}
    others = [f.read_bytes() for f in [*other.iterdir(), *path.iterdir()]]
    names, original, target = sorted(contents), checkpoint.load(path), work / path.name
    target.mkdir()

    def trial(rng, number):
        honest, name = number % 2 == 1, names[number // 2 % len(names)]
        if honest and name == "MANIFEST.json":
            name = "state.json"  # its own hash stands nowhere
        spoilt = mutate(rng, contents[name], rng.choice(others))
        if honest and name == "state.json" and rng.random() < 0.5:
            spoilt = json.dumps(restructure(rng, json.loads(contents[name]))).encode()
        write_checkpoint(target, {**contents, name: spoilt}, honest=honest)
        try:
            found = checkpoint.load(target)
        except CheckpointError:
            return "refused"
        if identical(found, original):
            return "identical"
        if not honest:
            raise AssertionError("a damaged file loaded as something else")
        return "loaded with new hashes"

    return trial


def resumes(source, work):
    """A run goes on from a state of any structure, or says in a typed error why it can't."""
    from dltrain.config.plan import make_plan
    from dltrain.training.stop import Stop

    plan = make_plan(compose.stored(source))
    path = checkpoint.find(source / "checkpoints")[-1]
    contents = {f.name: f.read_bytes() for f in path.iterdir()}
    tree = json.loads(contents["state.json"])

    def trial(rng, number):
        folder = work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        spoilt = {**contents, "state.json": json.dumps(restructure(rng, tree)).encode()}
        write_checkpoint(folder / "checkpoints" / path.name, spoilt, honest=True)
        try:
            experiment._open(plan, folder, Stop(), resume=True, allow_changed_data=bool(number % 2))
        except DltrainError:
            return "refused"
        return "resumed"

    return trial


def reader(read, *, suffix, make, errors):
    """Trials of one reader on damaged files: `make(rng)` gives the content of a sound one."""

    def start(source, work):
        def trial(rng, number):
            file = work / f"file{suffix}"
            file.write_bytes(mutate(rng, make(rng), b"<html>not found</html>") if number else make(rng))
            try:
                read(file)
            except errors:
                return "refused"
            return "read"

        return trial

    return start


def make_idx(rng):
    shape = [rng.randrange(1, 9) for _ in range(rng.randrange(1, 4))]
    size = 1
    for n in shape:
        size *= n
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + rng.randbytes(size)


def make_rows(rng):
    return [(i, round(rng.gauss(0, 1), 3), rng.choice(["red", "green", "a b", ""]), i % 3) for i in range(60)]


def make_csv(rng):
    quote = rng.choice(["", '"'])
    lines = ["a,b,kind,y", *(f"{a},{b},{quote}{c}{quote},{d}" for a, b, c, d in make_rows(rng))]
    return (rng.choice(["\n", "\r\n"]).join(lines) + "\n").encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))


def make_packed(rng):
    """A table of text or of JSON lines, packed in one of the ways that are read."""
    content = make_csv(rng)
    if rng.random() < 0.3:
        rows = [dict(zip(("a", "b", "kind", "y"), row, strict=True)) for row in make_rows(rng)]
        content = "\n".join(map(json.dumps, rows)).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as zipped:
        zipped.writestr(zipfile.ZipInfo("t.csv" if content[:1] != b"{" else "t.jsonl"), content)
    return rng.choice(
        [gzip.compress(content, mtime=0), bz2.compress(content), lzma.compress(content), archive.getvalue()]
    )


def make_parquet(rng):
    import polars as pl

    file = io.BytesIO()
    columns = zip(*make_rows(rng), strict=True)
    frame = pl.DataFrame(dict(zip(("a", "b", "kind", "y"), columns, strict=True)))
    frame.write_parquet(file, compression=rng.choice(["zstd", "snappy", "uncompressed"]))
    return file.getvalue()


def read_csv(file):
    from dltrain.data.sources.table import table

    return table(str(file), target="y")


def read_idx(file):
    from dltrain.data.sources.image_sets import read_idx

    return read_idx(file)


def stored(source, work):
    """The configuration of a run folder, and the plan that it makes."""
    from dltrain.config.plan import make_plan

    content = (source / "config.yaml").read_bytes()

    def trial(rng, number):
        spoilt = mutate(rng, content, b"\x80\x04}") if number % 2 else edit_yaml(rng, content.decode()).encode()
        (work / "config.yaml").write_bytes(spoilt)
        try:
            make_plan(compose.stored(work))
        except (ConfigError, DataError):
            return "refused"
        return "read"

    return trial


WORDS = ["???", "${x}", "${oc.env:HOME}", "[1,2", "{a: 1}", "!!python/name:os.system", "1e400", "2001-99-99", "~", "'x"]
WORDS += ["-1", "nan", "08", "no", "*x", "&x [*x]", "=", "- a", "[[[[]]]]", "_target_: os.system", "0x1F", "12:30", ""]
WORDS += ["!!binary x", "!!set {a}", "? x", "<<: {a: 1}", "<<: 3", "\t", "\x00", "\ud7ff", "1" * 400, "@", "%x"]


def edit_yaml(rng, text):
    """A YAML text with the value of one line exchanged for something odd."""
    lines = text.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = f"{lines[i].split(':')[0]}: {rng.choice(WORDS)}"
    return "\n".join(lines) + "\n"


def config_dir(source, work):
    """A file in a config folder of the user's own, chosen on the command line."""
    sound = sorted(p for p in compose.CONFIGS.glob("*/*.yaml"))
    folder = work / "own"

    def trial(rng, number):
        like = rng.choice(sound)
        text = like.read_text(encoding="utf-8")
        spoilt = mutate(rng, text.encode(), b"\x80\x04}") if number % 2 else edit_yaml(rng, text).encode()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / like.parent.name).mkdir(parents=True)
        (folder / like.parent.name / "mine.yaml").write_bytes(spoilt)
        typed = [f"{like.parent.name}={rng.choice(['mine', '[mine]', 'mien'])}"]
        try:
            composed = compose.compose(typed, folder)
            for key in ("seed", "model._target_", "trainer.epochs"):
                composed.origin(key)
        except ConfigError:
            return "refused"
        return "mistaken" if composed.mistakes else "read"

    return trial


def overrides(source, work):
    """Command lines of random words, keys and values."""
    keys = ["seed", "data", "model", "model.widths", "optimizer.lr", "trainer.epochs", "regularisation", "name", "nmae"]
    keys += ["experiment", "hydra", "hydra.run.dir", "data@x", "model.a.b", "a b", "", "_target_", "model[0]", "ünï"]
    values = [*WORDS, "iris", "mlp", "[l2,dropout]", "1,2", "null", "range(1,5)", "{a:1,b:[2]}", "choice(a,b)", "adma"]

    def trial(rng, number):
        typed = []
        for _ in range(rng.randrange(1, 4)):
            text = rng.choice(["", "", "+", "++", "~"]) + rng.choice(keys) + rng.choice(["=", "=", "==", ""])
            text += rng.choice(values)
            if rng.random() < 0.3:
                text = mutate(rng, text.encode() or b"=", b"[").decode("utf-8", "replace")
            typed.append(text)
        try:
            composed = compose.compose(typed)
        except ConfigError:
            return "refused"
        return "mistaken" if composed.mistakes else "read"

    return trial


KINDS = {
    "checkpoints": checkpoints,
    "resumes": resumes,
    "idx": reader(read_idx, suffix="-ubyte", make=make_idx, errors=DataError),
    "idx_gz": reader(read_idx, suffix=".gz", make=lambda r: gzip.compress(make_idx(r), mtime=0), errors=DataError),
    "csv": reader(read_csv, suffix=".csv", make=make_csv, errors=(DataError, ConfigError)),
    "parquet": reader(read_csv, suffix=".parquet", make=make_parquet, errors=(DataError, ConfigError)),
    "packed": reader(read_csv, suffix="", make=make_packed, errors=(DataError, ConfigError)),
    "stored": stored,
    "config_dir": config_dir,
    "overrides": overrides,
}
COUNTS = dict.fromkeys(KINDS, READS) | {"checkpoints": CHECKPOINTS, "resumes": RESUMES}
COUNTS |= {"config_dir": COMPOSED, "overrides": COMPOSED}


# -- the other process ---------------------------------------------------------------------------------------------


def peak():
    """The most memory that this process ever had, in MB; getrusage would count that of its parent."""
    line = next(t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


def work_off(kind, count, source, work):
    """Does the trials, each from a seed of its own; prints a line of JSON of what came out, and of what should not."""

    progress, counts, wrong = work / "trial", Counter(), {}
    trial = KINDS[kind](source, work)
    trial(random.Random(f"{kind} warm"), 0)  # libraries that are loaded late
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = peak()
    limit = MEMORY.get(kind, taken + (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with progress.open("wb", buffering=0) as file:
        for number in range(count):
            os.pwrite(file.fileno(), f"{number:9}".encode(), 0)
            signal.alarm(SECONDS)  # no handler: it ends the process
            try:
                with redirect_stderr(io.StringIO()):
                    counts[trial(random.Random(f"{kind} {number}"), number)] += 1
            except BaseException as error:  # polars panics are no Exception
                counts["wrong"] += 1
                place = error.__traceback__
                while place.tb_next:
                    place = place.tb_next
                where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
                wrong.setdefault(f"{type(error).__name__} at {where}", f"trial {number}: {str(error)[:200]}")
            signal.alarm(0)
    print(json.dumps({"counts": counts, "wrong": wrong, "grown_mb": peak() - before}), flush=True)


def fork_each(source, work):
    """Does the trials of each kind in a fork; `ended` in its folder is then how that ended."""
    for kind in KINDS:
        own = work / kind
        own.mkdir()
        pid = os.fork()
        if pid == 0:
            os.chdir(own)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
            code = 1
            try:
                work_off(kind, COUNTS[kind], source, own)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        (own / "ended").write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small real run."""
    from dltrain.config.plan import make_plan

    root = tmp_path_factory.mktemp("source")
    plan = make_plan(
        compose.compose(["data=iris", "trainer.epochs=1", "trainer.tensorboard=false", f"runs_dir={root}"])
    )
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    experiment.train(plan, folder)
    return folder


@pytest.fixture(scope="module")
def fuzz(source, tmp_path_factory):
    """The counts of the process that did the trials of a kind; fails with the first of each kind of wrong one."""
    work = tmp_path_factory.mktemp("fuzz")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, __file__, str(source), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work)
    assert done.returncode == 0, done.stderr[-2000:]

    def of(kind):
        progress, code = work / kind / "trial", int((work / kind / "ended").read_text())
        last = progress.read_text().strip() if progress.exists() else "none"
        assert code == 0, f"{kind}: crashed ({code}) in trial {last}: {(work / kind / 'err').read_text()[-2000:]}"
        found = json.loads((work / kind / "out").read_text().splitlines()[-1])
        assert sum(found["counts"].values()) == COUNTS[kind]
        return found["counts"], found["wrong"], found["grown_mb"]

    return of


def shown(wrong):
    return "\n".join(f"{kind} ({example})" for kind, example in wrong.items())


def test_a_damaged_checkpoint_is_refused_or_loads_as_it_was(fuzz):
    counts, wrong, _ = fuzz("checkpoints")
    print(
        f"T5: {CHECKPOINTS} mutated checkpoints: {counts.get('refused', 0)} refused, {counts.get('identical', 0)} "
        f"identical, {counts.get('loaded with new hashes', 0)} loaded with recomputed hashes, "
        f"{counts.get('wrong', 0)} silently different or of another error, 0 crashes"
    )
    assert not wrong, shown(wrong)
    assert counts["refused"] > CHECKPOINTS / 2


def test_a_state_of_any_structure_resumes_or_is_refused(fuzz):
    counts, wrong, _ = fuzz("resumes")
    print(f"T5: {RESUMES} restructured states: {counts}, 0 crashes")
    assert not wrong, shown(wrong)
    assert counts["refused"] > RESUMES / 4


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("checkpoints", "resumes")])
def test_damaged_input_gives_typed_errors_and_takes_little_memory(kind, fuzz):
    counts, wrong, grown = fuzz(kind)
    print(f"T8: {COUNTS[kind]} x {kind}: {counts}, 0 crashes, {grown} MB taken")
    assert not wrong, shown(wrong)
    assert grown < 400, "megabytes, of which libraries that are loaded late take most"


if __name__ == "__main__":
    fork_each(Path(sys.argv[1]), Path(sys.argv[2]))
