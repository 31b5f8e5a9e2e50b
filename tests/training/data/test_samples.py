"""Raw files as samples: limits, and decoding when they are asked for."""

import re

import datasets
import pytest

from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.refusal import RefusedError
from tests.training.data.made import audio_table, colours, image_table, refused, tone, wav, write


def test_a_limit_is_spread_over_the_classes(tmp_path):
    table = image_table(colours(12), [0] * 6 + [1] * 6)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0, limit=4)
    assert data.train_set.tensors[1].flatten().tolist() == [0, 0, 1, 1]
    assert len(data.test_set) == 4


def test_a_limit_that_leaves_one_class_of_a_task_is_refused(tmp_path):
    coarse = (datasets.ClassLabel(names=["a", "b"]), [0, 0, 0, 1, 0, 0])
    table = image_table(colours(6), [0, 0, 0, 1, 1, 1], coarse=coarse)
    name = write(tmp_path / "x", train=table, test=table)
    wanted = r"--limit: got 1, which leaves training samples of one class of 'label'; .*--limit 10,"
    refused(name, wanted, limit=1)
    refused(name, "one class of 'coarse'", limit=2)
    assert len(open_data(name, 2, 0, limit=2, labels=["label"]).train_set) == 2
    table = audio_table([wav(tone(seed)) for seed in range(4)])
    name = write(tmp_path / "y", train=table, test=table)
    refused(name, "--limit: got 1, which leaves .* of 'digit'", limit=1)


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
def test_a_worker_says_which_row_is_damaged_in_one_line(tmp_path):
    contents = colours(4)
    name = write(
        tmp_path / "x",
        train=image_table(contents),
        test=image_table([contents[0], contents[1][:60]]),
    )
    data = open_data(name, 2, 0, size=5, memory=100)
    data.workers = 1
    with pytest.raises(RefusedError) as caught:
        list(data.test_dataloader())
    assert re.fullmatch(r"--data: got .*row 1 of split 'test', .*; instead: .*", str(caught.value))
