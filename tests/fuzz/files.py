"""Files that anybody may have made: damaged at random, then read by all that reads such files.

What may come of it is a right result, or one line for each fault. A traceback, a hang, a read or a
write outside of the folder is none of these.
"""

import contextlib
import faulthandler
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from spectral_stride.__main__ import main
from spectral_stride.torch.training.cli import FAILED
from spectral_stride.torch.training.data.images import ImageReader
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.recordings import AudioReader
from spectral_stride.torch.training.data.transform import Transform
from spectral_stride.torch.training.predict import predict_files
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.sweep.grid import read_grid
from spectral_stride.torch.training.trained import read_run
from tests.fuzz import damage
from tests.fuzz.running import Fault, Target
from tests.training.data import made
from tests.training.test_old_runs import OLD
from tests.training.test_trained import untrained_run

# Files that are damaged in one go, of one that is whole.
DAMAGED = 10
# Seconds within which each has to be read, on a machine that does much else.
MOST_SECONDS = 40
LINE = re.compile(r"[^\n]+: got [^\n]+; allowed: [^\n]+; instead: [^\n]+")


class Watch:
    """Notes what is opened outside of where it may be, once it is told to look.

    A hook of Python's cannot be taken away again: this one is put there once.
    """

    def __init__(self):
        self.outside = None
        self.seen = []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if self.outside is None or event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            whole = os.path.realpath(os.fsdecode(path))
            if whole.startswith(self.outside):
                self.seen.append(f"{event} {whole}")

    @contextlib.contextmanager
    def on(self, outside):
        """Look on until the block ends, which then is a fault if something was opened there."""
        self.outside, self.seen = str(outside), []
        try:
            yield
        finally:
            self.outside = None
        if self.seen:
            raise Fault(f"outside of the folder: {self.seen}")


@contextlib.contextmanager
def in_time():
    """Break off what hangs."""

    def stop(*_):
        raise Fault(f"it still runs after {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    faulthandler.dump_traceback_later(2 * MOST_SECONDS, exit=True)  # what no signal reaches
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


class Files:
    """What is whole, in a folder of its own, and targets that read damaged copies of it."""

    def __init__(self, root):
        self.root = root
        self.watch = Watch()
        self.outside = root / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text(damage.SECRET)
        shutil.copytree(OLD / "finished", root / "finished")
        shutil.copytree(OLD / "broken-off", root / "broken-off")
        self.pixels = made.pixels(0, (16, 16, 3))
        made.folder_of_images(root / "data", shape=(16, 16, 3))
        untrained_run(root / "run", data=str(root / "data"))
        self.image = root / "whole.png"
        self.image.write_bytes(made.png(self.pixels))

    def target(self, name, read, changed, share=1.0):
        """Make a target: ``changed(rng, folder)`` damages something, and ``read(folder)`` reads."""

        def try_one(data, counts):
            rng = random.Random(data.draw(st.integers(0, 2**32)))
            for number in range(DAMAGED):
                folder = Path(tempfile.mkdtemp(dir=self.root / "tries"))
                try:
                    what = changed(rng, folder)
                    self.attempt(f"{name} {number}: {what}", read, folder, counts)
                finally:
                    shutil.rmtree(folder)

        (self.root / "tries").mkdir(exist_ok=True)
        return Target(name, try_one, share, shrinks=False)

    def attempt(self, what, read, folder, counts):
        """Read once: a result that holds, or one line for each fault."""
        counts["calls"] += 1
        kept = {path: path.read_bytes() for path in self.outside.iterdir()}
        try:
            with in_time(), self.watch.on(self.outside), warnings.catch_warnings(action="ignore"):
                counts["values"] += read(folder)
        except RefusedError as error:
            for line in str(error).split("\n"):
                if not LINE.fullmatch(line):
                    raise Fault(f"{what}: no line of got, allowed, instead: {line!r}") from error
            counts["refused"] += 1
        except Fault as error:
            raise Fault(f"{what}: {error}") from error
        except Exception as error:
            raise Fault(f"{what}: {error!r}") from error
        for path, content in kept.items():
            if path.read_bytes() != content:
                raise Fault(f"{what}: it has written into {path.name}")

    # --- Folders of runs -------------------------------------------------------------------------

    def one_of(self, folder, names):
        """Damage one file of a copy of a run folder."""

        def changed(rng, where):
            shutil.copytree(self.root / folder, where / "run")
            name = rng.choice(names)
            path = where / "run" / name
            path.touch()  # the lock of a run that was killed
            if rng.random() < 0.2:
                damage.place(rng, path, self.outside)
                return f"{name} replaced"
            content = path.read_bytes()
            if path.suffix == ".json":
                content = damage.as_json(rng, content)
            elif path.suffix == ".csv":
                content = as_csv(rng, content)
            elif path.suffix == ".ckpt" and rng.random() < 0.7:
                content = as_checkpoint(rng, content)
            else:
                content = damage.some_bytes(rng, content)
            path.write_bytes(content)
            return f"{name}: {content[:300]!r}"

        return changed

    def command(self, *words):
        """Run a command line on a folder, and hold what it says to the form."""

        def read(folder):
            out, err = io.StringIO(), io.StringIO()
            given = [word.format(folder) for word in words]
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(given)
            lines = [line for line in err.getvalue().splitlines() if "error: " in line]
            if (code != 0) != bool(lines):
                raise Fault(f"code {code} and {err.getvalue()!r}")
            if damage.SECRET in out.getvalue() + err.getvalue():
                raise Fault("it tells a secret")
            if code:
                said = [line.partition("error: ")[2] for line in lines]
                if code == FAILED and len(said) == 1:
                    return 0  # the system's own words, of a folder where a file is to be written
                raise RefusedError(*said)
            return 1

        return read

    def load(self, folder):
        """Load a run, and predict a whole image by it."""
        run = read_run(folder / "run")
        faults = []
        found = list(predict_files(run, [str(self.image)], 2, faults.append))
        for one in found:
            if not isinstance(one.name, str) or not 0 <= one.probability <= 1 + 1e-6:
                raise Fault(f"predicted {one}")
        if faults:
            raise RefusedError(*faults)
        return len(found)

    # --- Grids -----------------------------------------------------------------------------------

    def grid(self, folder):
        points = read_grid(folder / "grid.yaml")
        for point in points:
            if not re.fullmatch(r"[A-Za-z0-9_.,+-]+", point.name) or point.name[0] in "-.":
                raise Fault(f"a name {point.name!r}")
        if len({point.name for point in points}) != len(points):
            raise Fault("two points of one name")
        return len(points)

    # --- Samples ---------------------------------------------------------------------------------

    def sample(self, transform, name):
        def read(folder):
            x = transform(folder / name)
            if tuple(x.shape) != transform.sample_shape or x.dtype != torch.float32:
                raise Fault(f"a sample of {tuple(x.shape)} in {x.dtype}")
            if not x.isfinite().all():
                raise Fault("a sample that is not finite")
            return x.numel()

        return read

    def any_of(self, contents, name):
        """Damage one of some contents, and write it."""

        def changed(rng, folder):
            kind = rng.choice(list(contents))
            path = folder / name
            path.write_bytes(contents[kind])
            if rng.random() < 0.05:
                # Samples may lie anywhere: a link to a whole one is right.
                damage.place(rng, path, folder)
                return f"{kind} replaced"
            content = damage.some_bytes(rng, contents[kind])
            path.write_bytes(content)
            return f"{kind}, {len(content)} bytes: {content[:200]!r}"

        return changed

    def table(self, folder):
        data = open_data(str(folder / "part.parquet"), 4, 0)
        count = len(data.train_set) + len(data.test_set)
        for part in (data.train_set, data.test_set):
            part[0]
        return count

    def folders(self, folder):
        data = open_data(str(folder / "data"), 4, 0)
        return len(data.train_set) + len(data.test_set)

    def one_image(self, rng, folder):
        shutil.copytree(self.root / "data", folder / "data")
        path = rng.choice(sorted((folder / "data").rglob("*.png")))
        if rng.random() < 0.2:
            damage.place(rng, path, folder)
            return f"{path.name} replaced"
        path.write_bytes(damage.some_bytes(rng, path.read_bytes()))
        return path.name

    def targets(self):
        """All readers, each with files that it reads."""
        run = ["config.json", "diffstride/checkpoints/last.ckpt", "samples.json"]
        done = [
            "config.json",
            "summary.json",
            "run.lock",
            "diffstride/result.json",
            "strided/result.json",
        ]
        shown = ["config.json", "summary.json", "diffstride/metrics.csv"]
        begun = ["config.json", "diffstride/metrics.csv", "diffstride/checkpoints/last.ckpt"]
        resume = self.command("train", "--resume", "{}/run")
        report = self.command("report", "{}/run", "--out", "{}/out")
        made_table = made.image_table([made.png(made.pixels(n, (16, 16, 3))) for n in range(8)])
        path = self.root / "part.parquet"
        made_table.to_parquet(path)
        tables = {"parquet": path.read_bytes()}
        return [
            self.target("files: load and predict", self.load, self.one_of("run", run), 2.0),
            self.target("files: resume, finished", resume, self.one_of("finished", done)),
            self.target("files: resume, broken off", resume, self.one_of("broken-off", begun)),
            self.target("files: report", report, self.one_of("finished", shown), 2.0),
            self.target("files: grid", self.grid, as_grid, 1.0),
            self.target(
                "files: images", self.sample(images(), "x"), self.any_of(pictures(self.pixels), "x")
            ),
            self.target(
                "files: recordings", self.sample(waves(), "x"), self.any_of(recordings(), "x")
            ),
            self.target("files: parquet", self.table, self.any_of(tables, "part.parquet")),
            self.target("files: class folders", self.folders, self.one_image),
        ]


def as_csv(rng, content):
    """Rows of numbers: cells replaced, or bytes."""
    if rng.random() < 0.4:
        return damage.some_bytes(rng, content)
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = rng.choice(rows)
    cells = ["", "nan", "inf", "-1", "1e400", "1" * 5000, "a", '"', "\0", "٣", "1_0", " 2", "0x1"]
    row[rng.randrange(len(row))] = rng.choice(cells)
    return "\n".join(",".join(row) for row in rows).encode()


def as_checkpoint(rng, content):
    """A checkpoint in which one or two fields have become something else."""
    odd = [*damage.FIELDS, torch.zeros(0), torch.tensor(float("nan")), torch.ones(3, dtype=int)]
    odd += [torch.full((2,), float("inf")), torch.ones(1, 1, 1, 1), torch.tensor(True)]
    state = torch.load(io.BytesIO(content), weights_only=True)
    written = io.BytesIO()
    torch.save(damage.fields(rng, state, odd), written)
    return written.getvalue()


WORDS = ["diffstride", "strided", "[1, 2]", "true", "null", "-1", "1e400", "~", "0o17", "1:30"]
WORDS += ["2020-01-01", "2020-13-45", "!!python/object:os.system x", "!!binary aGk=", "*a", "&a x"]
WORDS += ["!!set {a}", "{a: b}", "[[1]]", "'", '"', "|", ">", "%", "@", "`", "? a", "- b", "<<: *a"]
WORDS += ["1,1,2,2,2", "0x" + "f" * 3000, ".inf", ".nan", "1" * 5000, "\x07", "\ufeff", "é", "a: b"]
WORDS += ["!!float a", "!!int a", "!!timestamp a", "!!omap [a: 1]", "!!pairs [a: 1]", "1e3", "_"]


def as_grid(rng, folder):
    """Write a grid of few words, some of which are none, and damage its bytes too."""
    options = [
        "downsampling",
        "penalty",
        "strides",
        "epochs",
        "seed",
        "model",
        "data",
        "lr",
        "hard",
    ]
    options += ["stride-lr", "smoothness", "baseline", "devices", "ramp", "<<", "labels", "budget"]
    good = {"downsampling": "[diffstride, strided]", "penalty": "[0.1, 0.3]", "epochs": "2"}
    good |= {"strides": '"1,1,2,2,2"', "seed": "[0, 1]", "hard": "true", "lr": "1e-3"}
    lines = []
    for _ in range(rng.randrange(5)):
        option = rng.choice(options)
        value = good.get(option, "1") if rng.random() < 0.6 else rng.choice(WORDS)
        lines.append(f"{rng.choice(['', '', '', '- ', '  '])}{option}: {value}")
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        content = bomb()
    if rng.random() < 0.3:
        content = damage.some_bytes(rng, content)
    (folder / "grid.yaml").write_bytes(content)
    if rng.random() < 0.03:
        damage.place(rng, folder / "grid.yaml", folder)
    return repr(content[:300])


def bomb():
    """A few lines that stand for more values than there is memory for."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]")
    return "\n".join([*lines, "downsampling: *i"]).encode()


def images():
    reader = ImageReader(None, (16, 16), "the first", 3)
    return Transform(reader, (3, 16, 16), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))


def waves():
    return Transform(AudioReader(8000, 800, "the first"), (800,), torch.zeros(1), torch.ones(1))


def pictures(pixels):
    """One image in every format that is read."""
    found = {kind: made.png(pixels, kind=kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM")}
    found |= {kind: made.png(pixels, kind=kind) for kind in ("TIFF", "WEBP")}
    found["palette"] = made.png(pixels, mode="P")
    found["deep"] = made.png(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    found["deep TIFF"] = made.png(np.arange(256, dtype=np.uint16).reshape(16, 16), kind="TIFF")
    exif = Image.Exif()
    exif[0x0112] = 6
    found["turned"] = made.png(pixels, kind="JPEG", exif=exif)
    return found


def recordings():
    """One recording in every format that is read."""
    tone = made.tone(0, 800)
    found = {kind: made.wav(tone, 8000, kind=kind) for kind in ("WAV", "AIFF", "FLAC")}
    found["RIFX"] = made.wav(tone, 8000, endian="BIG")
    found["float"] = made.wav(tone, 8000, subtype="FLOAT")
    found["GSM"] = made.wav(tone, 8000, subtype="GSM610")
    found["OGG"] = made.wav(tone, 8000, subtype="VORBIS", kind="OGG")
    found["MP3"] = made.wav(tone, 8000, subtype="MPEG_LAYER_III", kind="MP3")
    return found


@contextlib.contextmanager
def targets():
    """All readers, while a folder with what they read is there."""
    import datasets

    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        before = datasets.config.HF_DATASETS_CACHE
        datasets.config.HF_DATASETS_CACHE = Path(name, "cache")
        try:
            yield Files(Path(name)).targets()
        finally:
            datasets.config.HF_DATASETS_CACHE = before
