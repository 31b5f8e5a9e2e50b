"""Folders of images or recordings with one subfolder for each class, as tables of file names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectral_stride.torch.training.data.samples import OPTION
from spectral_stride.torch.training.refusal import Refusals, refuse, refuse_unreadable

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# libsndfile reads more, but of these alone it is known where a whole file ends.
AUDIO = {".aif", ".aifc", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wave"}
KINDS = {"image": IMAGES, "audio": AUDIO}

LABEL = "label"
TRAIN = ("train", "training")
_ALLOWED = "FOLDER/CLASS/file, or FOLDER/train/CLASS/file and FOLDER/test/CLASS/file"
# What marks a folder as one that `datasets` has rules for.
_TABLES = ("**/*.parquet", "**/metadata.csv", "**/metadata.jsonl")


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """What lies in a folder of classes.

    Attributes
    ----------
    tables : dict of str to datasets.Dataset
        One for each split, with the columns "image" or "audio", and "label", the name of the class.
    notes : tuple of str
        Of files that were left out.
    """

    tables: dict[str, Any]
    notes: tuple[str, ...]


def has_tables(folder: Path) -> bool:
    """Whether a folder has tables in it, so that `datasets` knows its form."""
    return any(next(folder.glob(pattern), None) for pattern in _TABLES)


def read_class_folders(folder: Path) -> ClassFolders:
    """List the files of a folder that has one folder for each class, in one or more splits.

    Raises
    ------
    RefusedError
        For any other layout, a class without a file, and images mixed with recordings.
    """
    from datasets import Audio, Dataset, Features, Image, Value

    inner = _folders(folder)
    if [path.name.lower() for path in inner] == ["data"]:  # as hub repositories have it
        folder, inner = inner[0], _folders(inner[0])
    in_splits = any(path.name.lower() in TRAIN and _folders(path) for path in inner)
    folders = {path.name: path for path in inner} if in_splits else {TRAIN[0]: folder}
    faults = Refusals(OPTION)
    listed = {name: _files(path, faults) for name, path in folders.items()}
    faults.tell()
    kind = _kind(folder, [file for pairs in listed.values() for file, _ in pairs])
    column = {"image": Image, "audio": Audio}[kind](decode=False)
    # Made of names and cast afterwards: what encodes audio needs a package that we do not.
    words = Features({kind: Value("string"), LABEL: Value("string")})
    tables: dict[str, Any] = {}
    left_out: list[Path] = []
    for name, pairs in listed.items():
        kept = [(file, label) for file, label in pairs if _is(file, kind)]
        left_out += [file for file, _ in pairs if not _is(file, kind)]
        filled = {label for _, label in kept}
        for path in _folders(folders[name]):
            if path.name not in filled:
                got = f"{path}, which holds no {kind} file"
                faults.add(got, _ALLOWED, "fill that folder or remove it")
        cells = {kind: [str(file) for file, _ in kept], LABEL: [label for _, label in kept]}
        tables[name] = Dataset.from_dict(cells, features=words).cast_column(kind, column)
    faults.tell()
    notes: tuple[str, ...] = ()
    if left_out:
        notes = (f"Left out, for they are no {kind} files: {len(left_out)}, like {left_out[0]}",)
    return ClassFolders(tables, notes)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in _visible(folder) if path.is_dir())


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, without what systems hide in it (.DS_Store, Thumbs.db)."""
    return sorted(
        path for path in folder.iterdir() if path.name[0] != "." and path.name != "Thumbs.db"
    )


def _is(file: Path, kind: str) -> bool:
    return file.suffix.lower() in KINDS[kind]


def _is_sample(file: Path) -> bool:
    return any(_is(file, kind) for kind in KINDS)


def _files(folder: Path, faults: Refusals) -> list[tuple[Path, str]]:
    """Every file of one split with the name of its class; what cannot be so is a fault."""
    refuse_unreadable(faults, str(folder), folder.name)
    for path in _visible(folder):
        refuse_unreadable(faults, str(path), path.name)
        if path.is_file() and _is_sample(path):
            faults.add(f"{path}, which lies in no class folder", _ALLOWED, "sort the files so")
    pairs = []
    for inner in _folders(folder):
        for path in _visible(inner):
            refuse_unreadable(faults, str(path), path.name)
            if path.is_dir():
                got = f"{path}, a folder inside the class folder {inner.name!r}"
                faults.add(got, _ALLOWED, "move its files one folder up")
            pairs.append((path, inner.name))
    return pairs


def _kind(folder: Path, files: list[Path]) -> str:
    """Whether these are images or recordings."""
    kinds = [kind for kind in KINDS if any(_is(file, kind) for file in files)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        refuse(OPTION, f"{folder}, with images and recordings", "one of them", "name a part of it")
    endings = ", ".join(sorted({file.suffix or file.name for file in files})[:5])
    got = f"{folder}, a folder with " + (
        f"files of these kinds alone: {endings}" if files else "no class folders that hold files"
    )
    known = " ".join(sorted(IMAGES | AUDIO))
    refuse(OPTION, got, f"{_ALLOWED}, files being {known}; or parquet files", "name another folder")
