"""Sources that `datasets` opens: what it is asked for, and what is made of its errors."""

import json
import logging
import re

import datasets
import pytest

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import colours, image_table, pixels, refused, write


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_id():
    line = refused("nobody/none-such:config", "hub cannot be reached")
    assert line.startswith("--data: got nobody/none-such:config (")
    assert line.endswith("or write the path of a copy: --data FOLDER")


def test_a_hub_id_is_opened_with_its_revision_and_configuration(tmp_path, monkeypatch):
    calls = []

    def load(path, **choices):
        calls.append((path, choices))
        table = image_table(colours(4))
        return datasets.DatasetDict(train=table, test=table)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_data("owner/name@refs/convert/parquet:v0.02", 2, 0).tasks == {"label": 2}
    assert open_data("owner/name", 2, 0).sample_shape == (3, 6, 8)
    assert calls == [
        ("owner/name", {"name": "v0.02", "revision": "refs/convert/parquet"}),
        ("owner/name", {"name": None, "revision": None}),
    ]


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found name.py"),
            "is a program.*write --data owner/name@refs/convert/parquet$",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'owner/name' is a gated dataset"),
            "none of this name, or asks for a login.*hf auth login",
        ),
        (
            datasets.table.CastError("", table_column_names=["a"], requested_column_names=["b"]),
            r"\(a file has the columns b, another a\)",
        ),
        (ValueError("BatchSize must be greater than 0, got 0"), "one of its files has no rows"),
        (OSError(28, "No space left\non device"), r"OSError: \[Errno 28\] No space left on device"),
    ],
)
def test_what_the_hub_says_is_one_line(monkeypatch, error, match):
    def load(path, **choices):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    refused("owner/name", match)


def damaged(folder):
    """A folder of two files, of which one is cut off, and that file."""
    table = image_table(colours(4))
    name = write(folder, train=table, test=table)
    file = folder / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return name, file


@pytest.mark.parametrize("folder", ["x", "x[1]"])
def test_a_damaged_file_is_named_also_where_its_path_could_be_a_pattern(tmp_path, folder):
    name, file = damaged(tmp_path / folder)
    refused(name, rf"got {re.escape(str(file))} \(it cannot be read: ArrowInvalid")


def test_the_logs_of_datasets_say_nothing(tmp_path):
    name, _ = damaged(tmp_path / "x")
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.addHandler(handler)
    try:
        refused(name, "it cannot be read")
    finally:
        logger.removeHandler(handler)
    assert records == []
    assert logger.level == level


@pytest.mark.parametrize("name", ["birds[1]", "b*", "b?rds1"])
@pytest.mark.parametrize("form", ["files", "file", "configurations", "metadata"])
def test_a_path_is_no_pattern(tmp_path, name, form):
    for folder, start in (("birds1", 50), (name, 0)):
        place = tmp_path / folder
        place.mkdir()
        if form == "metadata":
            for row, content in enumerate(colours(10, start)):
                (place / f"{row}.png").write_bytes(content)
            entries = [
                {"file_name": f"{row}.png", "animal": "ant" if row % 2 else "bee"}
                for row in range(10)
            ]
            (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, entries)))
        else:
            image_table(colours(10, start)).to_parquet(place / "train.parquet")
        if form == "configurations":
            lines = ["---", "configs:", "- config_name: one", "  data_files: train.parquet", "---"]
            (place / "README.md").write_text("\n".join(lines))
    path = tmp_path / name
    labels = ["animal"] if form == "metadata" else None
    data = open_data(str(path / "train.parquet" if form == "file" else path), 4, 0, labels=labels)
    read = [image for part in (data.train_set, data.test_set) for image in part.tensors[0]]
    want = {pixels(seed).tobytes() for seed in range(10)}
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in read} == want


@pytest.mark.parametrize("name", ["a::b", "$BIRDS"])
def test_a_path_that_would_be_read_as_another_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("BIRDS", "birds")
    for place in ("other", "birds"):
        write(tmp_path / place, train=image_table(colours(10)))
    folder = (tmp_path / "other").rename(tmp_path / name)
    for path in (str(folder), f"{folder}/data/train-00000-of-00001.parquet"):
        refused(path, f"got {re.escape(repr(path))}; allowed: paths without")
