"""Columns of samples and of labels, found or named, and labels as class numbers."""

import gc

import datasets
import pytest
from PIL import Image

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import (
    RATE,
    cells,
    colours,
    folder_of_images,
    image_table,
    pixels,
    png,
    refused,
    tone,
    wav,
    write,
)


def test_every_class_label_is_a_task_unless_some_are_named(tmp_path):
    coarse = (datasets.ClassLabel(names=["a", "b", "c"]), [0, 1, 2, 0])
    table = image_table(colours(4), coarse=coarse, row=(datasets.Value("int64"), [7, 8, 9, 10]))
    name = write(tmp_path / "x", train=table, test=table)
    data = open_data(name, 2, 0)
    assert data.tasks == {"label": 2, "coarse": 3}
    assert data.train_set.tensors[1].tolist() == [[0, 0], [1, 1], [0, 2], [1, 0]]
    assert open_data(name, 2, 0, labels=["coarse"]).tasks == {"coarse": 3}


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [("int64", [30, -5, 30, -5], [30, -5]), ("string", ["y", "x", "y", "x"], ["y", "x"])],
)
def test_named_columns_become_classes_in_the_order_of_their_values(tmp_path, kind, train, test):
    def table(values):
        made = image_table(colours(len(values)), kind=(datasets.Value(kind), values))
        return made.remove_columns("label")

    name = write(tmp_path / "x", train=table(train), test=table(test))
    refused(name, r"no column of type ClassLabel .*kind.*write --labels kind$")
    data = open_data(name, 2, 0, labels=("kind",))
    assert data.tasks == {"kind": 2}
    assert data.train_set.tensors[1].flatten().tolist() == [1, 0, 1, 0]
    assert data.test_set.tensors[1].flatten().tolist() == [1, 0]


def in_structs(contents):
    return [{"bytes": content, "path": f"{row}.x"} for row, content in enumerate(contents)]


@pytest.mark.parametrize("form", [list, in_structs])
def test_bytes_without_a_type_are_looked_at(tmp_path, form):
    file = tmp_path / "x.parquet"
    for contents, shape in (
        (colours(10), (3, 6, 8)),
        ([wav(tone(row)) for row in range(10)], (RATE,)),
    ):
        values = {"content": form(contents), "note": [b"?"] * 10, "kind": ["a", "b"] * 5}
        datasets.Dataset.from_dict(values).to_parquet(file)
        assert open_data(str(file), 2, 0, labels=["kind"]).sample_shape == shape


@pytest.mark.filterwarnings("error")
def test_the_first_row_without_a_type_may_be_anything(tmp_path, monkeypatch):
    """The one to be refused, then, is that row."""
    file = tmp_path / "x.parquet"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    bomb, large, broken = (png(pixels(0, (size, size, 3))) for size in (12, 10, 6))
    broken = broken[:16] + bytes(8) + broken[24:]  # of no pixels
    for first, said in (
        (bomb, r"row 0 .*, which cannot be decoded \(Image size \(144 pixels\) exceeds limit"),
        (large, r"row 1 .*, of 6 x 8 pixels, while .* row 0 .* has 10 x 10"),
        (broken, "row 0 .*, which (cannot be decoded|is no image)"),
        (None, "row 0 .*, which is empty"),
        (b"no image", "row 0 .*, which is no image"),
    ):
        values = {"content": [first, *colours(9)], "kind": ["a", "b"] * 5}
        datasets.Dataset.from_dict(values).to_parquet(file)
        refused(file, said, labels=["kind"])


# That which `datasets` reads such a file with.
@pytest.mark.filterwarnings("ignore:.*metadata.csv:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("missing", ["", "nan"])
def test_an_empty_cell_among_whole_numbers_is_named(tmp_path, missing):
    """As tables of text have no integers beside it, its column becomes one of real numbers."""
    kinds = ["7", "9", "7", missing, "9", "9", "7", "9", "7", "7"]
    for row, content in enumerate(colours(10)):
        (tmp_path / f"{row}.png").write_bytes(content)
    lines = [f"{row}.png,{kind}" for row, kind in enumerate(kinds)]
    file = tmp_path / "metadata.csv"
    file.write_text("\n".join(["file_name,kind", *lines]))
    refused(tmp_path, "write --labels kind$")
    wanted = r"/3.png, which has no label in column 'kind'; allowed: a label in every row; "
    refused(tmp_path, wanted, labels=["kind"])
    (tmp_path / "3.png").unlink()
    file.write_text("\n".join(["file_name,kind", *lines[:3], *lines[4:]]))
    data = open_data(str(tmp_path), 4, 0, labels=["kind"])
    assert (data.tasks, len(data.train_set)) == ({"kind": 2}, 7)
    gc.collect()  # here, where the files that are left open are no error


def test_real_numbers_that_are_whole_are_classes(tmp_path):
    def table(values):
        made = image_table(colours(len(values)), kind=(datasets.Value("float64"), values))
        return made.remove_columns("label")

    test = table([5.0, 3.0])
    name = write(tmp_path / "x", train=table([5.0, 3.0, 5.0, 3.0]), test=test)
    labels = open_data(name, 2, 0, labels=["kind"]).test_set.tensors[1]
    assert labels.flatten().tolist() == [1, 0]
    name = write(tmp_path / "y", train=table([5.0, float("nan"), 3.0, None, 5.0]), test=test)
    wanted = "row 1 of split 'train', which has no label"
    refused(name, wanted, faults=2, labels=["kind"])
    for odd in (0.5, float("inf")):
        name = write(tmp_path / f"{odd}", train=table([odd, 3.0, odd, 3.0]), test=test)
        refused(name, r"--labels: got 'kind' \(float64\)", labels=["kind"])


def test_one_class_is_refused(tmp_path):
    refused(folder_of_images(tmp_path / "x", ("ant",)), "1 class in column 'label'")
    table = image_table(colours(4), [1, 1, 1, 1])
    refused(write(tmp_path / "y", train=table, test=table), "1 class in column 'label'")


def test_columns_that_do_not_fit_are_refused_with_those_that_are_there(tmp_path):
    more = {
        "other": (datasets.Image(), cells(colours(4))),
        "row": (datasets.Value("int64"), [1, 2, 3, 4]),
        "weight": (datasets.Value("float64"), [0.5, 0.5, 1.5, 1.5]),
    }
    table = image_table(colours(4), **more)
    name = write(tmp_path / "x", train=table, test=table)
    there = r"img \(Image\), label \(ClassLabel\), other \(Image\), row \(int64\)"
    refused(name, rf"2 columns of images or recordings among {there}.*write --input COLUMN")
    assert open_data(name, 2, 0, input_column="other").sample_shape == (3, 6, 8)
    refused(name, rf"--input: got 'image'; .*{there}", input_column="image")
    refused(name, r"--input: got 'row', whose cells hold neither", input_column="row")
    named = {"input_column": "img"}
    refused(name, rf"--labels: got 'lable'; .*{there}", labels=["lable"], **named)
    refused(name, r"--labels: got 'weight' \(float64\)", labels=["weight"], **named)
    refused(
        name, r"--labels: got 'row', with 4 different values in 4 rows", labels=["row"], **named
    )
    refused(name, r"--labels: got 'img', the column of samples", labels=["img"], **named)
    refused(name, r"--labels: got label,label; .* once", labels=["label", "label"], **named)
    bare = table.remove_columns(["img", "other"])
    refused(write(tmp_path / "y", train=bare), "0 columns of images or recordings among label")
