"""Sources that `datasets` opens: what it is asked for, and what is made of its errors."""

import logging
import re

import datasets
import pytest

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import colours, image_table, refused, write


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


def test_a_damaged_part_of_a_folder_is_refused(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    refused(name, rf"got {re.escape(str(file))} \(it cannot be read: ArrowInvalid")


def test_the_logs_of_datasets_say_nothing(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
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
