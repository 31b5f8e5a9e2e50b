"""Run folders: what is written into them, and what is read from them to go on."""

import json
import os
from dataclasses import asdict

import pytest

from spectral_stride.torch.training import device
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.run_folder import locked, make_folder, resumed, write_config
from spectral_stride.torch.training.words import parse


@pytest.mark.parametrize(
    ("cpus", "processor", "model"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: x\n",
            "",
            "Some CPU @ 2 GHz",
        ),
        ("processor\t: 0\n", "arm", "arm"),
        (None, "", "aarch64"),
    ],
)
def test_a_run_says_which_processor_it_had(tmp_path, monkeypatch, cpus, processor, model):
    monkeypatch.setattr(device, "CPUS", tmp_path / "cpuinfo")
    if cpus is not None:
        (tmp_path / "cpuinfo").write_text(cpus)
    monkeypatch.setattr("platform.processor", lambda: processor)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    write_config(tmp_path, parse({}), "cpu")
    machine = json.loads((tmp_path / "config.json").read_text())["machine"]
    assert (machine["device"], machine["model"], machine["threads"]) == ("cpu", model, 7)


def test_a_run_says_which_gpu_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    write_config(tmp_path, parse({}), "cuda")
    machine = json.loads((tmp_path / "config.json").read_text())["machine"]
    assert (machine["device"], machine["model"]) == ("cuda", "Some GPU")


def test_a_run_from_before_an_option_is_resumed_as_it_was_started(tmp_path):
    write_config(tmp_path, parse({}), "cpu")
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    del content["config"]["crop"]
    path.write_text(json.dumps(content))
    assert resumed(str(tmp_path)) == parse({})
    assert resumed(str(tmp_path)).crop == 0


GOOD = {"directory": "/", "config": asdict(parse({}))}


def changed(**choices):
    return json.dumps(GOOD | {"config": GOOD["config"] | choices})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "without 'config'"),
        ('{"directory": "/", "config": null}', "TypeError"),
        ('{"directory": "/", "config": [1]}', "without 'data'"),
        ('{"directory": "/", "config": {"data": "digits"}}', "without 'input'"),
        (json.dumps({"config": GOOD["config"]}), "without 'directory'"),
        (json.dumps(GOOD | {"directory": 3}), "TypeError"),
        (changed(data=3), "TypeError"),
        ("[" * 10**6, "too many brackets"),
        ('{"config":' * 10**5, "too many brackets"),
        ("1" * 5000, "Exceeds the limit"),
        ("\ud800", "no UTF-8"),
    ],
)
def test_a_folder_that_is_not_that_of_a_run_is_one_line(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "config.json").write_text(content, errors="surrogatepass")
    with pytest.raises(RefusedError, match=r"--resume: got .*; allowed: .* a run; ") as caught:
        resumed(str(tmp_path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RefusedError, match=r"--resume: got .* \(config.json: no regular file\)"):
        resumed(str(tmp_path))


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        ({"epochs": 0}, "--epochs: got 0; "),
        ({"epochs": []}, r"--epochs: got \[\]; "),
        ({"lr": 10**400}, "--lr: got 10{400}; "),
        ({"strides": 2}, "--strides: got 1 strides '2'; "),
    ],
)
def test_a_choice_that_is_refused_is_named_when_a_run_goes_on(tmp_path, choices, line):
    (tmp_path / "config.json").write_text(changed(**choices))
    with pytest.raises(RefusedError, match=rf"^--resume '.*config\.json': {line}"):
        resumed(str(tmp_path))


def test_the_digits_are_resumed_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "images").mkdir()
    for data, expected in (("digits", "digits"), ("images", str(tmp_path / "images"))):
        folder = tmp_path / f"run-{data}"
        folder.mkdir()
        write_config(folder, parse({"data": data}), "cpu")
        assert resumed(str(folder)).data == expected


def test_a_path_is_whole_and_may_name_one_of_its_configurations(tmp_path, monkeypatch):
    """As a grid writes it, so that a sweep knows its trials again."""
    (tmp_path / "images").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for number, data in enumerate(["../images", "../images:small"]):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        write_config(folder, parse({"data": data}), "cpu")
        assert resumed(str(folder)).data == str(tmp_path / data.removeprefix("../"))


@pytest.mark.parametrize("name", ["a::b", "$MINE", "${MINE}/run"])
def test_a_folder_that_would_be_read_as_another_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("MINE", "yours")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match=r"^--out: got .*; allowed: paths without '::' and"):
        make_folder(name, parse({}))
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_a_link_is_refused_and_nothing_is_emptied(tmp_path):
    """Who locks a file empties it: of another folder too, where a link leads there."""
    other = tmp_path / "other"
    other.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.lock").symlink_to(other)
    refused = pytest.raises(RefusedError, match=r"^folder: got '.*run\.lock', a link; allowed: ")
    with refused, locked(folder):
        pass
    assert other.read_text() == "mine"
