"""A run, on few images: what it leaves behind, and that it can be repeated."""

import csv
import io
import json
import re
import shlex
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from rich.console import Console

from spectral_stride import make_plan
from spectral_stride.torch.training import fit, load_run
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.data.digits import FACTOR, STRONGEST, Digits
from spectral_stride.torch.training.fit import run_job, train
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.run_picture import draw
from spectral_stride.torch.training.report.run_table import result_table
from spectral_stride.torch.training.run_folder import discard, resumed
from spectral_stride.torch.training.words import parse

LIMIT = 96
TINY = {
    "limit": str(LIMIT),
    "epochs": "2",
    "width": "2",
    "batch_size": "16",
    "stride_lr": "0.1",
    "penalty": "1",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole job once: its folder, its summary, and what was on the screen."""
    folder = tmp_path_factory.mktemp("run") / "new"
    console = Console(record=True, width=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "draw", draw)
        run_job(parse(TINY), str(folder), console)
    return folder, json.loads((folder / "summary.json").read_text()), console.export_text()


def test_all_files_are_there(finished):
    folder, _, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "run.lock",
        "samples.json",
        "summary.json",
        "strides.png",
        "diffstride",
        "strided",
        "spectral",
    }
    for kind in ("diffstride", "strided", "spectral"):
        assert (folder / kind / "metrics.csv").is_file()
        assert [path.name for path in (folder / kind / "checkpoints").iterdir()] == ["last.ckpt"]
        assert list(folder.glob(f"{kind}/events.out.tfevents.*"))
    assert (folder / "strides.png").read_bytes().startswith(b"\x89PNG")


def test_the_strides_have_moved_and_the_cost_with_them(finished):
    _, summary, _ = finished
    learned, strided, spectral = summary["runs"]
    for before, after in zip(learned["before"]["layers"], learned["after"]["layers"], strict=True):
        assert before["stride"] != after["stride"]
    assert learned["after"]["macs"] < learned["before"]["macs"]
    assert learned["after"]["complexity"] < learned["before"]["complexity"]
    assert strided["before"] == strided["after"]
    assert spectral["before"] == spectral["after"]


def test_what_is_beside_it_starts_at_the_same_strides_and_maps(finished):
    _, summary, _ = finished
    learned, strided, spectral = (run["before"]["layers"] for run in summary["runs"])
    assert learned == strided == spectral


def test_the_screen_shows_the_table_and_where_the_files_are(finished):
    folder, summary, shown = finished
    for word in ("stem", "stage4", "diffstride:", "strided:", "test accuracy", "MACs per sample"):
        assert word in shown
    assert "spectral:" in shown
    poor = "The strides start at 1,1,3,2,3: a poor choice on purpose, so that there is something to"
    assert f"{poor} learn. The usual ones: --strides 1,1,2,2,2" in " ".join(shown.split())
    for epoch in ("1/2", "2/2"):
        assert len(re.findall(rf"^Epoch {epoch}: loss \d\.\d{{4}}, accuracy 0", shown, re.M)) == 3
    for run in summary["runs"]:
        assert f"{100 * run['test_accuracy']:.2f} %" in shown
        assert f"{run['before']['macs'] / 1e6:.2f} M" in shown
    assert str(folder / "strides.png") in shown


def test_three_trainings_are_whole_on_a_usual_terminal(finished):
    _, summary, _ = finished
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(result_table(summary))
    assert "…" not in console.export_text()


def test_the_screen_says_why_a_stage_that_keeps_its_size_is_not_listed(finished):
    _, summary, shown = finished
    said = "No stage1: at a stride of 1 it begins with an identity, and has no stride to learn."
    assert summary["config"]["strides"].split(",")[1] == "1"
    assert said in " ".join(shown.split())
    summary = deepcopy(summary)  # of a network with a place for every stride, however named
    for run in summary["runs"]:
        for survey in (run["before"], run["after"]):
            survey["layers"].insert(1, survey["layers"][0] | {"name": "stage5"})
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(result_table(summary))
    assert "No stage1" not in console.export_text()


def test_the_metrics_begin_at_the_start_and_hold_every_step(finished):
    folder, _, _ = finished
    with (folder / "diffstride" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == list(range(12))
    assert float(rows[0]["stride/stem/height"]) == 1
    assert float(rows[0]["stride/stage2/width"]) == 3
    assert float(rows[-1]["stride/stem/height"]) > 1


def test_the_configuration_repeats_the_run(finished, tmp_path):
    """Read back as options of the command line, with the same seed: the same strides."""
    folder, summary, _ = finished
    stored = json.loads((folder / "config.json").read_text())
    words = shlex.split(stored["command"])[2:]
    switches = {"--baseline": True, "--spectral": True, "--no-flip": False, "--no-hard": False}
    assert switches.keys() <= set(words)
    pairs = [word for word in words if word not in switches]
    options = dict(zip(pairs[::2], pairs[1::2], strict=True))
    config = parse({name[2:].replace("-", "_"): value for name, value in options.items()})
    assert config == parse(stored["config"]) == parse(TINY)
    again = train(config, tmp_path, "cpu", progress=False)
    for first, second in zip(summary["runs"], again["runs"], strict=True):
        assert [tuple(layer["stride"]) for layer in first["after"]["layers"]] == [
            layer["stride"] for layer in second["after"]["layers"]
        ]
        assert first["test_accuracy"] == second["test_accuracy"]


def test_the_configuration_names_the_versions(finished):
    folder, _, _ = finished
    versions = json.loads((folder / "config.json").read_text())["versions"]
    assert versions["torch"] == torch.__version__
    assert {"python", "spectral-stride", "lightning", "scikit-learn", "scipy"} <= set(versions)


@pytest.mark.parametrize("kind", ["diffstride", "strided", "spectral"])
def test_a_checkpoint_loads_into_a_new_network_with_the_same_accuracy(finished, kind):
    folder, summary, _ = finished
    path = folder / kind / "checkpoints" / "last.ckpt"
    module = Classifier.load_from_checkpoint(path, weights_only=True).eval()
    assert module.config.downsampling == kind
    images, labels = Digits(16, seed=0, limit=LIMIT).test_set.tensors
    with torch.no_grad():
        (logits,) = module(images)
    accuracy = (logits.argmax(dim=1) == labels[:, 0]).float().mean().item()
    (run,) = (run for run in summary["runs"] if run["downsampling"] == kind)
    assert accuracy == pytest.approx(run["test_accuracy"])


@pytest.mark.parametrize("kind", ["", "strided"])
def test_a_run_that_is_used_has_the_accuracy_of_its_summary(finished, kind):
    """On files of the test samples, and those it names by their classes."""
    folder, summary, _ = finished
    run = load_run(folder / kind)
    assert run.notes == ()
    samples, labels = Digits(16, seed=0, limit=LIMIT).test_set.tensors
    x = torch.stack([run.transform(picture(sample)) for sample in samples])
    with torch.no_grad():
        (logits,) = run.net(x)
    named = [run.classes["digit"][place] for place in logits.argmax(dim=1)]
    right = [name == str(label) for name, label in zip(named, labels[:, 0].tolist(), strict=True)]
    accuracies = {one["downsampling"]: one["test_accuracy"] for one in summary["runs"]}
    assert sum(right) / len(right) == pytest.approx(accuracies[kind or "diffstride"])


def picture(sample):
    """One of the digits as an image, of the size and the levels that it has in scikit-learn."""
    pixels = sample[0, ::FACTOR, ::FACTOR].numpy() * 255 / STRONGEST
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "choices",
    [
        {"downsampling": "spectral", "strides": "1,1,3x2.5,2,2"},
        {"downsampling": "strided"},
        {"model": "resnet56", "baseline": False},
        {"ramp": "outside", "strides": "1,1,2.5,2,2"},
        {"smoothness": "0", "baseline": False},
        {"crop": "0.3", "flip": True, "shift": "0.1", "baseline": False},
    ],
    ids=str,
)
def test_other_choices_train_without_a_baseline_and_are_drawn(choices, tmp_path):
    config = parse(TINY | {"limit": "32"} | choices)
    summary = train(config, tmp_path, "cpu", progress=False)
    assert [run["downsampling"] for run in summary["runs"]] == [config.downsampling]
    assert draw(tmp_path, summary).is_file()


@pytest.mark.long
def test_sizes_that_move_at_every_epoch_stay_compiled(tmp_path, monkeypatch):
    """More often than PyTorch compiles a function by default; the test has the final sizes."""
    compiled = []

    def traced(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=traced))
    monkeypatch.setattr(Classifier, "_compiles", lambda self: True)
    torch._dynamo.reset()
    words = {"ramp": "outside", "stride_lr": "0.5", "limit": "32"}
    config = parse(TINY | words | {"baseline": False})
    with torch._dynamo.config.patch(recompile_limit=1):
        (trained,) = train(config, tmp_path, "cpu", progress=False)["runs"]
    assert len(compiled) > 1
    for layer in trained["after"]["layers"]:
        assert (
            layer["size_out"]
            == make_plan(layer["size_in"], layer["stride"], ramp="outside").out_sizes
        )


def test_one_step_alone_is_enough(tmp_path):
    config = parse(
        TINY | {"limit": "32", "batch_size": "1000", "stride_lr": "0", "baseline": False}
    )
    summary = train(config, tmp_path, "cpu", progress=False)
    assert summary["runs"][0]["seconds"] > 0


def test_a_learning_rate_that_diverges_is_refused_in_one_sentence(tmp_path):
    config = parse(TINY | {"lr": "1e6", "epochs": "3"})
    with pytest.raises(RefusedError, match=r"^training: got .* instead: write a smaller --lr"):
        train(config, tmp_path, "cpu", progress=False)


def test_what_is_refused_leaves_the_folder_free(tmp_path):
    folder, console = tmp_path / "run", Console(quiet=True)
    config = parse(TINY | {"model": "audio", "strides": "1,1,1,1,1,1"})
    with pytest.raises(RefusedError, match="--model: got 'audio'"):
        run_job(config, str(folder), console)
    assert not folder.exists()
    folder.mkdir()  # an empty one that was there stays
    with pytest.raises(RefusedError, match="--model: got 'audio'"):
        run_job(config, str(folder), console)
    assert list(folder.iterdir()) == []
    words = {"epochs": "1", "limit": "32", "baseline": False}
    run_job(parse(TINY | words), str(folder), console)
    assert (folder / "summary.json").exists()
    told = Console(record=True, file=io.StringIO(), width=200)
    run_job(resumed(str(folder)), None, told, resume=str(folder))
    shown = told.export_text()
    assert "Trained before: 1 of 1: resnet18, diffstride" in shown
    assert "Epoch" not in shown


def test_nothing_is_left_of_what_is_refused_as_the_training_begins(tmp_path, monkeypatch):
    """The budget is refused when the loggers have written already; the folder is one of runs/."""
    monkeypatch.chdir(tmp_path)
    words = TINY | {"limit": "32", "budget": "1.5", "baseline": False}
    config = parse({name: word for name, word in words.items() if name != "penalty"})
    with pytest.raises(RefusedError, match=r"--budget: got 1\.5"):
        run_job(config, None, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(RefusedError, match=r"--budget: got 1\.5"):
        run_job(config, None, Console(quiet=True))
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "mine"]


def test_a_refused_run_takes_nothing_with_it_that_it_did_not_write(tmp_path):
    for number, name in enumerate(("diffstride/metrics.csv", "notes.txt")):
        folder = tmp_path / str(number)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("")
        (folder / "config.json").write_text("{}")
        discard(folder, [folder])
        assert (folder / name).exists()
        assert (folder / "config.json").exists()


def test_recordings_are_not_changed_and_it_says_so(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(5):
            wave = np.random.default_rng(index).uniform(-0.5, 0.5, 800)
            soundfile.write(tmp_path / "data" / name / f"{index}.wav", wave, 8000)
    words = {"data": str(tmp_path / "data"), "model": "audio", "seconds": "0.1", "crop": "0.5"}
    config, told = parse(TINY | words | {"epochs": "1", "limit": "0", "baseline": False}), []
    train(config, tmp_path / "run", "cpu", progress=False, tell=told.append)
    assert "Without effect on recordings: --crop." in told


def test_a_part_of_images_is_none_and_it_says_so(tmp_path):
    words = {"epochs": "1", "baseline": False, "spectral": False, "part": "1"}
    told = []
    train(parse(TINY | words), tmp_path, "cpu", progress=False, tell=told.append)
    assert "Without effect on images: --part." in told
