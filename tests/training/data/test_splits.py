"""Which splits are for training and for the test, and labels that cannot be used there."""

import datasets
import pytest
import torch

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import colours, folder_of_images, image_table, refused, write


def test_one_parquet_file_keeps_a_fixed_stratified_fifth_for_the_test(tmp_path):
    file = tmp_path / "all.parquet"
    image_table(colours(20), [0] * 10 + [1] * 10).to_parquet(file)
    data = open_data(str(file), 4, 0)
    assert len(data.train_set) == 16
    assert data.test_set.tensors[1].flatten().tolist() == [0, 0, 1, 1]
    assert "fixed fifth" in data.notes[0]
    other = open_data(str(file), 4, seed=1)
    assert torch.equal(data.test_set.tensors[0], other.test_set.tensors[0])
    seen = {image.numpy().tobytes() for image in data.train_set.tensors[0]}
    assert not any(image.numpy().tobytes() in seen for image in data.test_set.tensors[0])


def test_held_out_rows_are_no_rows_of_the_test(tmp_path):
    labels = [0] * 10 + [1] * 10
    name = write(
        tmp_path / "x", train=image_table(colours(20), labels), test=image_table(colours(4))
    )
    whole, data = open_data(name, 4, 0), open_data(name, 4, 0, hold_out=0.3)
    assert data.notes[-1] == "Tested on 0.3 of the training rows, and not on the test's."
    assert data.test_set.tensors[1].flatten().tolist() == [0] * 3 + [1] * 3
    parts = [part.tensors[0].flatten(1).tolist() for part in (data.train_set, data.test_set)]
    assert sorted(parts[0] + parts[1]) == sorted(whole.train_set.tensors[0].flatten(1).tolist())
    refused(name, "--hold-out: got 0.04 of 20 training rows of 2 classes", hold_out=0.04)
    few = write(
        tmp_path / "y",
        train=image_table(colours(52), [0] * 50 + [1] * 2),
        test=image_table(colours(4)),
    )
    for share in (0.1, 0.9):
        refused(few, "with 2 rows of the rarest; allowed: a share that leaves", hold_out=share)


def test_without_a_test_the_held_out_rows_are_none_of_its_fifth(tmp_path):
    file = tmp_path / "all.parquet"
    image_table(colours(20), [0] * 10 + [1] * 10).to_parquet(file)
    whole, data = open_data(str(file), 4, 0), open_data(str(file), 4, 0, hold_out=0.25)
    assert (len(data.train_set), len(data.test_set)) == (12, 4)
    tested = whole.test_set.tensors[0].flatten(1).tolist()
    for part in (data.train_set, data.test_set):
        assert not any(image in tested for image in part.tensors[0].flatten(1).tolist())


def test_a_validation_split_is_the_test_where_the_test_has_no_labels(tmp_path):
    train, held = image_table(colours(4)), image_table(colours(2))
    hidden = image_table(colours(3), [-1, -1, -1])
    name = write(tmp_path / "x", train=train, validation=held, test=hidden)
    data = open_data(name, 2, 0)
    assert len(data.test_set) == 2
    assert data.notes == ("Split 'test' has no labels, and is not used.",)
    wanted = r"row 0 of split 'test', which has no label in column 'label'"
    refused(name, wanted, faults=3, test_split="test")
    refused(name, r"--test-split: got 'dev'; .*: validation, test;", test_split="dev")
    name = write(tmp_path / "y", train=train, validation=held, test=held)
    assert open_data(name, 2, 0).notes == ("Not used: split validation.",)


def test_the_classes_of_a_test_without_labels_are_not_asked_for(tmp_path):
    table = image_table(colours(10))
    name = write(tmp_path / "x", train=table, test=table.remove_columns("label"))
    data = open_data(name, 4, 0)
    assert (len(data.train_set), len(data.test_set)) == (8, 2)
    assert data.notes[0] == "Split 'test' has no labels, and is not used."


def test_labels_that_cannot_be_learned_are_named_by_row(tmp_path):
    three = datasets.ClassLabel(names=["a", "b", "c"])

    def table(kinds, named):
        made = image_table(
            colours(len(kinds)), kind=(three, kinds), word=(datasets.Value("string"), named)
        )
        return made.remove_columns("label")

    train, test = table([0, 1, 0, 1], list("xyxy")), table([0, 1, 2], list("xyz"))
    name = write(tmp_path / "new", train=train, test=test)
    refused(name, r"row 2 of split 'test', whose label 'c' no training row has in column 'kind'")
    refused(name, r"row 2 of split 'test', whose label 'z' no training", labels=["word"])
    name = write(tmp_path / "other", train=train, test=table([0, 1], ["X", "Y"]))
    refused(name, r"row 0 of split 'test', whose label 'X' no training", faults=2, labels=["word"])
    name = write(tmp_path / "gap", train=table([0, None, 1, 1], ["x", "y", None, "x"]), test=train)
    refused(name, r"row 1 of split 'train', which has no label in column 'kind'")
    refused(name, r"row 2 of split 'train', which has no label in column 'word'", labels=["word"])


def test_the_names_of_splits_may_have_capitals(tmp_path):
    name = write(tmp_path / "x", Train=image_table(colours(10)), Test=image_table(colours(3)))
    for option in ({}, {"test_split": "Test"}, {"test_split": "test"}):
        data = open_data(name, 2, 0, **option)
        assert (len(data.train_set), len(data.test_set), data.notes) == (10, 3, ())


@pytest.mark.parametrize("test", ["Test.parquet", "all-VAL.parquet", "Test/x.parquet"])
def test_capitals_that_would_put_the_test_into_training_are_refused(tmp_path, test):
    """`datasets` takes all such rows for training, where no README.md tells it what they are."""
    (tmp_path / test).parent.mkdir(exist_ok=True)
    image_table(colours(10)).to_parquet(tmp_path / "part.parquet")
    image_table(colours(3)).to_parquet(tmp_path / test)
    line = refused(tmp_path, "whose split is written in capitals; .*; instead: rename it$")
    assert line.startswith(f"--data: got {tmp_path / test.partition('/')[0]}, ")
    files = f"  - split: Train\n    path: part.parquet\n  - split: TEST\n    path: {test}\n"
    readme = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (tmp_path / "README.md").write_text(readme)
    assert len(open_data(str(tmp_path), 2, 0).test_set) == 3


def test_splits_that_cannot_be_used_are_refused(tmp_path):
    table = image_table(colours(4))
    empty = table.select([])
    refused(write(tmp_path / "a", train=empty, test=table), r"\(its split 'train' is empty\)")
    refused(write(tmp_path / "b", train=table, test=empty), r"\(its split 'test' is empty\)")
    folder_of_images(tmp_path / "d" / "train")
    (tmp_path / "d" / "test").mkdir()
    refused(tmp_path / "d", "d, whose split 'test' is empty")
    few = write(tmp_path / "c", train=image_table(colours(6), [0, 0, 0, 0, 0, 1]))
    refused(few, r"6 rows for 2 classes in column 'label', 1 of them of 'dog'")


def test_a_split_in_capitals_that_would_be_left_out_is_refused(tmp_path):
    for name, count in (("train", 4), ("validation", 2), ("Test", 2)):
        image_table(colours(count)).to_parquet(tmp_path / f"{name}.parquet")
    refused(tmp_path, r"Test\.parquet, whose split is written in capitals")
