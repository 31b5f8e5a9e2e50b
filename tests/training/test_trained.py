"""A run that is used: its network, the names of its classes, and one line for what is no run."""

import doctest
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from spectral_stride.torch.training import load_run
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.fit import make_data
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.run_folder import write_config
from spectral_stride.torch.training.trained import write_samples
from spectral_stride.torch.training.words import parse
from tests.training.data import made
from tests.training.test_checkpoint import STATE
from tests.training.test_old_runs import OLD

TINY = {"width": "1", "epochs": "1", "downsampling": "diffstride"}


def untrained_run(folder, **words):
    """The folder of a run whose training left the first weights as they were."""
    config = parse(TINY | words)
    data = make_data(config)
    folder.mkdir()
    write_config(folder, config, "cpu")
    write_samples(folder, data)
    torch.manual_seed(0)
    module = Classifier.build(config, data)
    state = STATE | {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    module.on_save_checkpoint(state)
    checkpoint = folder / config.downsampling / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.save(state, checkpoint)
    (folder / config.downsampling / "result.json").write_text("{}")
    return folder, module.eval(), data


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on images of two classes, its network as it was, and its data."""
    root = tmp_path_factory.mktemp("images")
    for part in ("train", "test"):
        made.folder_of_images(root / "data" / part, shape=(16, 16, 3))
    return untrained_run(root / "run", data=str(root / "data"))


@pytest.fixture
def run(images, tmp_path):
    """A copy of its folder, to be damaged."""
    return Path(shutil.copytree(images[0], tmp_path / "run"))


def test_the_network_gives_what_it_gave(images):
    folder, module, data = images
    run = load_run(folder)
    assert run.classes == {"label": ("ant", "bee")}
    assert run.notes == ()
    assert not run.net.training
    files = sorted((folder.parent / "data" / "test").rglob("*.png"))
    x = torch.stack([run.transform(file) for file in files])
    with torch.no_grad():
        (logits,), (wanted,) = run.net(x), module(data.test_set.tensors[0])
    torch.testing.assert_close(logits, wanted)
    assert load_run(folder / "diffstride").classes == run.classes


def test_the_example_runs(tmp_path, monkeypatch):
    """On the digits, with a head that says seven."""
    (tmp_path / "runs").mkdir()
    folder, _, _ = untrained_run(tmp_path / "runs" / "digits", data="digits")
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    state = torch.load(path)
    (bias,) = [one for name, one in state["state_dict"].items() if name.endswith("tasks.0.bias")]
    bias[7] += 100
    torch.save(state, path)
    Image.new("L", (8, 8)).save(tmp_path / "seven.png")
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder().find(load_run, "load_run", globs={})
    assert doctest.DocTestRunner().run(example) == (0, 4)


def test_loading_draws_no_random_number(images):
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    load_run(str(images[0]))
    assert torch.equal(torch.rand(1), wanted)


def test_the_folder_says_what_it_was_trained_on(images):
    folder, _, data = images
    said = json.loads((folder / "samples.json").read_text())
    assert said["classes"] == {"label": ["ant", "bee"]}
    assert (said["input"], said["train"], said["test"]) == ("image", "train", "test")
    assert said["transform"]["mean"] == data.mean.tolist()
    assert said["transform"]["sample_shape"] == [3, 16, 16]


@pytest.mark.parametrize(
    "name", ["config.json", "samples.json", "diffstride", "diffstride/checkpoints/last.ckpt"]
)
def test_nothing_outside_of_the_folder_is_loaded(run, tmp_path, name):
    (run / name).rename(tmp_path / "away")
    (run / name).symlink_to(tmp_path / "away")
    with pytest.raises(RefusedError, match="a link that leads out of the folder"):
        load_run(run)


def test_an_older_run_loads_with_a_note(run, images):
    (run / "samples.json").unlink()
    with pytest.warns(UserWarning, match=r"trained before the names of classes were kept") as seen:
        loaded = load_run(run)
    assert len(seen) == 1
    assert loaded.classes == {"label": ("0", "1")}
    file = next((images[0].parent / "data").rglob("*.png"))
    assert torch.equal(loaded.transform(file), load_run(images[0]).transform(file))


FORMS = {
    "image": (made.folder_of_images, {"size": "16"}),
    "recording": (made.folder_of_recordings, {"model": "audio", "seconds": "0.2"}),
}


@pytest.mark.parametrize("kind", FORMS)
def test_what_an_older_run_does_not_say_follows_from_its_choices(tmp_path, kind):
    folder_of, words = FORMS[kind]
    files = sorted(folder_of(tmp_path / "data").rglob("*.*"))
    folder, _, data = untrained_run(tmp_path / "run", data=str(tmp_path / "data"), **words)
    transform = load_run(folder).transform
    (folder / "samples.json").unlink()
    with pytest.warns(UserWarning, match=r"so they are called 0, 1, \.\.\. here"):
        assumed = load_run(folder).transform
    assert torch.equal(assumed(files[0]), transform(files[0]))
    assert assumed.described()["kind"] == kind
    assert assumed(files[0]).shape == data.sample_shape


def test_a_run_of_version_0_1_0_loads_with_notes():
    with pytest.warns(UserWarning, match=r".") as seen:
        run = load_run(OLD / "broken-off")
    assert [str(one.message).partition(": ")[2][:14] for one in seen] == [
        "not finished, ",
        "trained before",
    ]
    assert run.classes == {"digit": tuple("0123456789")}
    assert run.transform.reader.KIND == "digit"


def change_samples(**values):
    def change(folder):
        path = folder / "samples.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def change_transform(**values):
    def change(folder):
        said = json.loads((folder / "samples.json").read_text())
        change_samples(transform=said["transform"] | values)(folder)

    return change


def change_state(change):
    def save(folder):
        path = folder / "diffstride" / "checkpoints" / "last.ckpt"
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return save


def fill_with_nan(state):
    next(iter(state["state_dict"].values())).fill_(torch.nan)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda run: shutil.rmtree(run), "', which is no folder; allowed: the folder of a run"),
        (lambda run: (run / "config.json").write_text("[]"), "config.json' ("),
        (lambda run: (run / "config.json").write_text('{"config": {}}'), "without 'downsampling'"),
        (
            lambda run: (run / "config.json").write_text('{"config": {"downsampling": ".."}}'),
            "another downsampling than there is",
        ),
        (lambda run: shutil.rmtree(run / "diffstride"), "last.ckpt; allowed: a run with a checkpo"),
        (lambda run: (run / "samples.json").write_text("{"), "samples.json' (JSONDecodeError"),
        (change_samples(classes={"label": ["ant"]}), "other tasks or classes than the network has"),
        (change_samples(classes={"label": [1, 2]}), "classes that are no text"),
        (change_samples(classes=3), "samples.json' ("),
        (change_samples(transform={}), "without 'sample_shape'"),
        (change_transform(std=[[[0.0]]] * 3), "a std of 0, and samples are divided by it"),
        (change_transform(mean=[[[10**400]]] * 3), "samples.json' ("),
        (change_transform(std=[[[-1.0]]] * 3), "a std of -1, and samples are divided by it"),
        (
            lambda run: (run / "diffstride" / "checkpoints" / "last.ckpt").write_bytes(b"x"),
            "last.ckpt' (no tensors and plain values); allowed: a whole checkpoint",
        ),
        (change_state(fill_with_nan), "entries that are not finite"),
        (change_state(lambda state: state["state_dict"].popitem()), "Missing key"),
        (change_state(lambda state: state.pop("hyper_parameters")), "without 'hyper_parameters'"),
        (
            change_state(lambda state: state["hyper_parameters"]["config"].update(width=10**9)),
            "--width: got 1000000000",
        ),
    ],
)
def test_what_is_no_run_is_one_line(run, damage, line):
    damage(run)
    with pytest.raises(RefusedError, match=r"^RUN: got .*; allowed: .*; instead: ") as caught:
        load_run(run)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
