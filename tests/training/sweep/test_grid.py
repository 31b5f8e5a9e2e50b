"""What a grid stands for, and what each wrong one is told."""

import os
import re

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.sweep.grid import read_grid
from spectral_stride.torch.training.words import parse


def points_of(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return read_grid(path)


def test_options_that_do_not_count_do_not_multiply(tmp_path):
    text = "{downsampling: [diffstride, strided], penalty: [0.1, 0.3], seed: [0, 1]}"
    points = points_of(tmp_path, text)
    assert [(p.config.downsampling, p.config.penalty, p.config.seed) for p in points] == [
        ("diffstride", 0.1, 0),
        ("diffstride", 0.1, 1),
        ("diffstride", 0.3, 0),
        ("diffstride", 0.3, 1),
        ("strided", 0.0, 0),
        ("strided", 0.0, 1),
    ]
    assert len({point.name for point in points}) == len(points)
    assert not any(point.config.baseline for point in points)


def test_a_point_is_named_after_its_choices(tmp_path):
    (point,) = points_of(tmp_path, "strides: 1,1,3x2,2,2\nramp: outside\nseed: 7")
    assert point.name.startswith("strides1,1,3x2,2,2-outside-seed7-")
    (fast,) = points_of(tmp_path, "lr: 1000000.0\npenalty: 0.10")
    assert fast.name.startswith("penalty0.1-lr1e+06-")
    (strided,) = points_of(tmp_path, "downsampling: strided\nramp: outside\nwidth: 4")
    assert strided.name.startswith("strided-width4-")
    assert "outside" not in strided.name


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("data: /tmp/images", "tmp-images-"),
        ("{data: ../images, seed: 7}", "images-seed7-"),
        ("{data: /, seed: 7}", "seed7-"),
        ("data: /", ""),  # what is left is the hash
    ],
)
def test_a_name_begins_with_no_dash_and_no_dot(tmp_path, text, begin):
    """Which a command would take for an option, and a listing would hide."""
    (point,) = points_of(tmp_path, text)
    assert re.fullmatch(f"{begin}[0-9a-f]{{8}}", point.name)


def test_grids_are_joined(tmp_path):
    text = """
    - {model: resnet18, strides: ["1,1,2,2,2", "1,1,3,2,3"]}
    - {model: resnet56, strides: "1,1,2,2", batch-size: 64}
    - {model: resnet18, strides: "1,1,2,2,2", smoothness: 4}
    """
    points = points_of(tmp_path, text)
    assert [(p.config.model, p.config.strides, p.config.batch_size) for p in points] == [
        ("resnet18", "1,1,2,2,2", 32),
        ("resnet18", "1,1,3,2,3", 32),
        ("resnet56", "1,1,2,2", 64),
    ]


def test_a_mapping_takes_in_another_under_its_own_words(tmp_path):
    text = """
    - &common {seed: [0, 1], width: 2, downsampling: strided}
    - &learned {<<: *common, downsampling: diffstride, seed: 2}
    - {<<: [*learned, *common], width: 3, batch-size: 8}
    - {<<: {batch-size: 8, seed: 3}, batch_size: 16}
    """
    points = [point.config for point in points_of(tmp_path, text)]
    assert [(one.downsampling, one.width, one.seed) for one in points] == [
        ("strided", 2, 0),
        ("strided", 2, 1),
        ("diffstride", 2, 2),
        ("diffstride", 3, 2),
        ("diffstride", 8, 3),
    ]
    assert points[-1].batch_size == 16


@pytest.mark.parametrize("text", ["lr: 3e-3", "lr: 0.003", "lr: '3e-3'", "lr: [0.003, 3e-3]"])
def test_numbers_may_be_written_in_any_way(tmp_path, text):
    (point,) = points_of(tmp_path, text)
    assert point.config == parse({"lr": "0.003", "baseline": False})


# Nine lists, of which each names the one before ten times: written out, a thousand million numbers.
LISTS = [f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
LAUGHS = f"[&a0 [1], {', '.join(LISTS)}]"


# The same of mappings that take each other in.
MERGED = [f"&a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
MERGES = f"[&a0 {{penalti: 1}}, {', '.join(MERGED)}]"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["got null as part 1"]),
        ("[]", ["with nothing in it"]),
        ("penalty", ['got "penalty" as part 1']),
        ("- {seed: 0}\n- 3", ["got 3 as part 2"]),
        ("seed: [0", ["allowed: a YAML file"]),
        ("<<: 3", ["allowed: a YAML file"]),
        ("- &a {seed: 0}\n- {<<: *a, width: 2, width: 3}", ["'width' twice"]),
        ("- {<<: &a {width: 2, width: 3}, seed: 0}", ["'width' twice"]),
        (
            f"- &a {{{', '.join(f'k{n}: 0' for n in range(3000))}}}\n- {{<<: [{'*a, ' * 3000}]}}",
            ["'k0'"],
        ),
        (MERGES, ["an option 'penalti'"]),
        ("seed: !!python/name:os.system", ["allowed: a YAML file"]),
        ("penalti: 0.1", ["an option 'penalti'", "instead: write penalty"]),
        ("frequency: 0.1", ["an option 'frequency'", "data, input, labels"]),
        ("flip: 'no'", ["for flip", "true or false"]),
        ("devices: 2", ["devices", "one worker for each device"]),
        ("3: 4", ["an option '3'"]),
        ("baseline: true", ["got baseline", "write downsampling: [diffstride, strided]"]),
        ("spectral: true", ["got spectral", "write downsampling: [diffstride, spectral]"]),
        ("seed: []", ["no value for seed"]),
        ("seed:", ["got null for seed"]),
        ("seed: true", ["got true for seed"]),
        ("strides: [[1, 1, 2, 2, 2]]", ["got [1, 1, 2, 2, 2] for strides", '["1,1,2,2,2"]']),
        (
            "strides: [1, 1, 2, 2, 2]",
            ["got [1, 1, 2, 2, 2] for strides", 'write strides: "1,1,2,2,2"'],
        ),
        ("strides: ['1', 1.5, 3x2]", ["got ['1', 1.5, '3x2'] for", 'write strides: "1,1.5,3x2"']),
        ("strides: [1, 1, [3, 2], 2]", ['write strides: "1,1,3x2,2"']),
        (
            "strides: ['1,2', [[1, 3], 2], ['1,4']]",
            ["got [[1, 3], 2] for strides", 'write strides: ["1,2", "1x3,2", "1,4"]'],
        ),
        (
            "strides: [1, null]",
            ["got [1, None] for strides", 'strides: ["1,1,2,2,2", "1,1,3,2,3"]'],
        ),
        ("strides: [[[[1]]]]", ["got [[[...]]] for strides", 'strides: ["1,1,2,2,2", "1,1,3']),
        ("strides: {a: 1}", ["got {'a': 1} for strides", 'write strides: ["1,1,2,2,2", "1,1,3']),
        ("strides: [2]", ["1 strides '2'", "allowed: 5"]),
        (f"strides: {[2] * 10**4}", ["got [2, 2, 2", 'write strides: ["1,1,2,2,2", "1,1,3']),
        ("{strides: 1,1,2,2,2}", ["got 2 twice", 'in quotes: strides: "1,1,2,2,2"']),
        ("{strides: 1,2}", ["an option '2'", 'in quotes: strides: "1,1,2,2,2"']),
        ("labels: [[a, b]]", ["got ['a', 'b'] for labels", 'write labels: ["A,B"]']),
        ("epochs: 2.5", ["--epochs: got '2.5'"]),
        ("seed: 0\nseed: 1", ["'seed' twice"]),
        ("batch-size: 8\nbatch_size: 9", ["'batch_size' twice"]),
        ("{downsampling: strided, ramp: [inside, middle]}", ["--ramp: got 'middle'"]),
        ("[" * 5000, ["too many brackets", "allowed: a YAML file"]),
        ("&a [*a]", ["got [[[...]]] as part 1"]),
        ("seed: &a [*a]", ["got [[[...]]] for seed"]),
        ("&a {<<: *a}", ["got {} as part 1"]),
        ("seed: " + "1" * 5000, ["Exceeds the limit", "allowed: a YAML file"]),
        ("seed: 0x" + "f" * 5000, ["Exceeds the limit"]),
        ("? 0x" + "f" * 5000 + "\n: 1", ["Exceeds the limit"]),
        ("seed: 2020-13-45", ["month must be in 1..12", "allowed: a YAML file"]),
        ("seed: !!timestamp x", ["allowed: a YAML file"]),
        ("seed: !!bool x", ["allowed: a YAML file"]),
        ("seed: .nan", ["--seed: got 'nan'"]),
        ("seed: 1e400", ["--seed: got '1e400'"]),
        ("[1]: 1", ["unhashable key", "allowed: a YAML file"]),
        ("? " + "x" * 10**5 + "\n: 1", ["an option 'xxx", "..."]),
        ("- " + "x" * 10**5, ['got "xxx', "..."]),
        (LAUGHS, ["got [1] as part 1"]),
        (f"- {LAUGHS}", ["got [[1], [[...], [...],", "as part 1"]),
        (f"seed: [{LAUGHS}]", ["got [[1], [[...], [...],", "for seed"]),
        (f"strides: [{LAUGHS}]", ["got [[1], [[...], [...],", "for strides"]),
        (
            "\n".join(f"{name}: {[*range(1, 101)]}" for name in ("seed", "epochs", "limit")),
            ["with 1000000 combinations of its values", "allowed: at most 100000"],
        ),
        (
            "{downsampling: [diffstride, strided], strides: '1,1,2.5,2,2'}",
            ["whole numbers for --downsampling strided"],
        ),
    ],
)
def test_a_wrong_grid_gets_one_line_and_starts_nothing(tmp_path, capsys, text, parts):
    path, out = tmp_path / "wrong.yaml", tmp_path / "out"
    path.write_text(text)
    assert main(["sweep", str(path), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search("; allowed: .*; instead: ", line)
    for part in parts:
        assert part in line
    assert len(line) < 2000
    assert not out.exists()


@pytest.mark.parametrize("name", ["missing.yaml", ".", "binary.yaml", "pipe.yaml", "zero.yaml"])
def test_a_grid_that_cannot_be_read(tmp_path, name):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(RefusedError, match=r"grid: got '.*; allowed: a YAML file"):
        read_grid(tmp_path / name)


# --- Paths in a grid ---------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder with a grid in it and images beside it; the command is started elsewhere."""
    for folder in ("project/grids", "project/images", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project" / "grids"


@pytest.mark.parametrize(
    "data", ["../images", "../images:plain", "{root}/project/images", "~/images"]
)
def test_a_path_is_that_of_the_grids_file(beside, tmp_path, monkeypatch, data):
    monkeypatch.setenv("HOME", str(tmp_path / "project"))
    (point,) = points_of(beside, f"data: {data.format(root=tmp_path)}")
    path, _, name = point.config.data.partition(":")
    assert path == str(tmp_path / "project" / "images")
    assert name == data.partition(":")[2]


def test_a_name_holds_a_path_as_it_was_written(beside):
    (point,) = points_of(beside, "data: ../images")
    assert re.fullmatch("images-[0-9a-f]{8}", point.name)


@pytest.mark.parametrize("data", ["digits", "uoft-cs/cifar10"])
def test_what_is_no_path_stays_as_it_is(beside, data):
    (point,) = points_of(beside, f"data: {data}")
    assert point.config.data == data


def test_a_path_from_where_the_command_was_started_is_refused(beside, tmp_path):
    (tmp_path / "elsewhere" / "sounds").mkdir()
    with pytest.raises(
        RefusedError, match=r"data: got sounds, a path from where .*; instead: "
    ) as caught:
        points_of(beside, "data: sounds")
    assert "write data: ../../elsewhere/sounds" in str(caught.value)
    (point,) = points_of(beside, "data: ../../elsewhere/sounds")
    assert point.config.data == str(tmp_path / "elsewhere" / "sounds")
