"""Parquet files of one data set that name their classes or columns each in its own way."""

import re

import datasets
import pyarrow.parquet
import torch

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import colours, image_table, refused, write


def test_class_names_in_another_order_are_brought_together_by_name(tmp_path):
    """Of two files each has the numbers of its own names."""
    other = datasets.ClassLabel(names=["dog", "cat"])
    contents = colours(6)
    train = image_table(contents, [0, 1, 0, 1, 0, 1])
    test = image_table(contents, [1, 0, -1, 0, 1, 0])
    test = test.cast_column("label", datasets.Value("int64")).cast_column("label", other)
    name = write(tmp_path / "x", train=train, validation=test.select([0, 1, 3]), test=train)
    data = open_data(name, 2, 0, test_split="validation")
    assert data.classes == {"label": ["cat", "dog"]}
    assert data.train_set.tensors[1].ravel().tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test_set.tensors[1].ravel().tolist() == [0, 1, 1]
    assert torch.equal(open_data(name, 2, 0).test_set.tensors[1], data.train_set.tensors[1])
    # What has no label keeps none.
    refused(write(tmp_path / "y", train=train, test=test), "row 2 .* which has no label")


def test_class_names_that_cannot_be_brought_together_are_refused_by_file(tmp_path):
    table = image_table(colours(4))
    more = image_table(colours(4)).cast_column("label", datasets.ClassLabel(names=["cat", "cow"]))
    name = write(tmp_path / "x", train=table, test=more)
    line = refused(
        name,
        r"test-0\S+\.parquet, whose column 'label' names its classes cat, cow, while the classes "
        r"of \S+train-0\S+\.parquet are cat, dog;",
    )
    assert line.endswith("align_labels_with_mapping in `datasets` does")
    write(tmp_path / "y", train=table)
    swapped = table.cast_column("label", datasets.ClassLabel(names=["dog", "cat"]))
    swapped.to_parquet(tmp_path / "y" / "data" / "train-00001-of-00002.parquet")
    refused(tmp_path / "y", r"train-00001\S+, whose column 'label' names its classes dog, cat")
    # Those of a column that is not used may be any.
    kinds = [datasets.ClassLabel(names=names) for names in (["a", "b"], ["c", "d"])]
    parts = [image_table(colours(4), kind=(kind, [0, 1, 0, 1])) for kind in kinds]
    name = write(tmp_path / "z", train=parts[0], test=parts[1])
    refused(name, "whose column 'kind' names its classes c, d")
    assert open_data(name, 2, 0, labels=["label"]).tasks == {"label": 2}


def test_a_file_that_lacks_a_column_is_named_with_it(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table.rename_column("img", "image"))
    refused(
        name,
        r"got \S+test-0\S+\.parquet, which lacks column 'img' of \S+train-0\S+\.parquet and has "
        r"'image' instead; allowed: the same columns in every file; instead: rename",
    )
    name = write(tmp_path / "y", train=table.remove_columns("label"), test=table)
    refused(name, r"got \S+train-0\S+\.parquet, which lacks column 'label' of \S+test-0\S+\.parq")


def test_a_file_without_rows_is_named(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).slice(0, 0), file)
    for source in (name, file):
        refused(source, rf"got {re.escape(str(file))}, which has no rows; .*fill it or remove it$")
