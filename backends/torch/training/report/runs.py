"""Finished runs, read back from their folders: what each was, and what came out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from spectral_stride.torch.training.config import (
    BESIDE,
    LEARNED,
    LEARNED_ONLY,
    OPTIONS,
    Config,
    has_effect,
)
from spectral_stride.torch.training.files import UnreadableError, read_json, read_text
from spectral_stride.torch.training.options import Choice, Text
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.report.run_table import samples_per_second
from spectral_stride.torch.training.results import (
    MOST,
    MOST_PARTS,
    check_result,
    number,
    shown,
    whole,
    word,
)
from spectral_stride.torch.training.run_folder import CONFIG, ERROR, SUMMARY, reason_in
from spectral_stride.torch.training.words import complete

# What tells trainings of one section apart: smaller images are a way to save too. All else is the
# section's: its data, its network, how long it trained, ...
_CHOSEN = ("downsampling", "strides", "size", "seed", *LEARNED_ONLY)
# Words that decide what is drawn.
_COMPUTED_WITH = ("model", "downsampling", "ramp")
# Characters of a command: many times those of one with every option.
_LONGEST_COMMAND = 10_000


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """One training of one network.

    Attributes
    ----------
    folder : Path
        Of the run, which may hold a baseline too.
    config : mapping
        The choices, under the names of their options; the downsampling is that of this training,
        and what does not count for it has its default.
    layers_before, layers_after : list of dict
        Name, stride, size_in and size_out, as in the summary.
    accuracies : dict
        Share of the test samples that are classified rightly, by task.
    accuracy : float
        Their mean.
    macs : int
        Multiply-accumulates per sample, after the training.
    seconds : float
        Of all training steps together, reading included.
    step_seconds : float
        Median time of a training step.
    samples : tuple of int
        For training and for the test.
    threads, most_threads : int
        That computed, which depends on the size of a step; and that were to be had. Runs that did
        not write down the latter have the former.
    parameters : int
    machine, versions, command : str
        Where it ran; with which versions of Python and the packages; what repeats it.
    """

    folder: Path
    config: Mapping[str, Any]
    layers_before: list[dict[str, Any]]
    layers_after: list[dict[str, Any]]
    accuracies: dict[str, float]
    accuracy: float
    macs: int
    seconds: float
    step_seconds: float
    samples: tuple[int, int]
    threads: int
    most_threads: int
    parameters: int
    machine: str
    versions: str
    command: str

    @property
    def learns(self) -> bool:
        """Whether its strides were learned."""
        return bool(self.config["downsampling"] == LEARNED)

    @property
    def setting(self) -> tuple[tuple[str, Any], ...]:
        """What trainings have to share before anybody compares them."""
        kept = {name: value for name, value in self.config.items() if name not in _CHOSEN}
        train, test = self.samples
        samples = ("train samples", train), ("test samples", test)
        machine = ("machine", self.machine), ("threads", self.most_threads)
        return (*kept.items(), *samples, ("tasks", ", ".join(self.accuracies)), *machine)

    @property
    def samples_per_second(self) -> float:
        """Samples that a second of training takes in, on all devices together."""
        return samples_per_second(self.config, self.samples[0], self.step_seconds)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for two trainings that are one and the same."""
        return (*self.setting, *(self.config[name] for name in _CHOSEN))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run folder without a result, and what is known of the reason."""

    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What some folders hold.

    Attributes
    ----------
    runs : list of TrainedRun
        No two of them with the same choices and seed.
    unfinished : list of Unfinished
    repeats : list of tuple of Path
        Folders of a training that is there already, and of the one that counts.
    """

    runs: list[TrainedRun]
    unfinished: list[Unfinished]
    repeats: list[tuple[Path, Path]]


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Give what a file of JSON holds; what goes wrong with it in the block is the file's fault."""
    try:
        yield read_json(path, within=path.parent)
    except KeyError as error:
        _refuse_file(path, f"without {error.args[0]!r}")
    except (AttributeError, TypeError, ValueError) as error:
        _refuse_file(path, str(error))


def _refuse_file(path: Path, reason: str) -> NoReturn:
    allowed = f"a {path.name} as spectral-stride train writes it"
    refuse("RUNS", f"{str(path)!r} ({reason})", allowed, "train it again, or move its folder away")


def _settled(config: Mapping[str, Any], downsampling: str) -> dict[str, Any]:
    """Return the choices of one training, with defaults where they have no effect."""
    default = Config()
    own = complete(_few(config, "options")) | {"downsampling": downsampling}
    for option in BESIDE:
        del own[option]
    for option in own:
        if not has_effect(option, downsampling):
            own[option] = getattr(default, option)
    return {option: _choice(option, value) for option, value in own.items()}


def _choice(name: str, value: Any) -> Any:
    """Return the value of an option, if it can be one.

    Words may be those of another version, but for those with which a report computes.
    """
    one = OPTIONS.get(name)
    if one is not None and (name in _COMPUTED_WITH or not isinstance(one.kind, Text | Choice)):
        return one.kind.check(name, value, one.default)
    if name == "strides":
        return word(value, name)
    if isinstance(value, str | bool | None):
        return value
    return number(value, name, -MOST, MOST) if one is None else word(value, name)


def _machine(about: Mapping[str, Any]) -> str:
    """Say where a run was; the oldest runs do not know the model of their CPU or GPU."""
    known = [about["system"], about["device"], about.get("model", "")]
    return ", ".join(word(one, "machine") for one in known if one)


def _threads(about: Mapping[str, Any], trained: Mapping[str, Any]) -> int:
    return whole(about.get("threads", trained["threads"]), "threads", 1, MOST)


def _versions(about: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {word(one, 'version')}" for name, one in _few(about, "versions").items()
    )


def _few(some: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Return a mapping, unless it has more entries than any training writes."""
    if len(some) > MOST_PARTS:
        raise ValueError(f"{len(some)} {what}, of at most {MOST_PARTS}")
    return some


def _command(text: Any) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_COMMAND:
        allowed = f"a line of up to {_LONGEST_COMMAND} characters"
        raise ValueError(f"command {shown(text)}, and not {allowed}")
    return text


def _runs_of(folder: Path) -> list[TrainedRun]:
    """Read one finished run folder."""
    with _reading(folder / SUMMARY) as summary:
        results = summary["runs"]
        _check_results(results)
        samples = [whole(summary[f"{part}_samples"], part, 1, MOST) for part in ("train", "test")]
        choices = summary["config"]
        epochs = whole(choices["epochs"], "epochs", 1, MOST) if choices.get("steps") else None
    with _reading(folder / CONFIG) as about:
        # As it was started: a run that went on elsewhere has its paths from there. Only how many
        # epochs a number of steps came to was not known then.
        started = about["config"] if epochs is None else about["config"] | {"epochs": epochs}
        return [
            TrainedRun(
                folder=folder,
                config=_settled(started, trained["downsampling"]),
                layers_before=trained["before"]["layers"],
                layers_after=trained["after"]["layers"],
                accuracies=dict(trained["test_accuracies"]),
                accuracy=trained["test_accuracy"],
                macs=trained["after"]["macs"],
                seconds=trained["seconds"],
                step_seconds=trained["step_seconds"],
                samples=(samples[0], samples[1]),
                threads=trained["threads"],
                most_threads=_threads(about["machine"], trained),
                parameters=trained["parameters"],
                machine=_machine(about["machine"]),
                versions=_versions(about["versions"]),
                command=_command(about["command"]),
            )
            for trained in results
        ]


def _check_results(results: Any) -> None:
    """Refuse what no command has trained: each kind of downsampling once, at most."""
    if not isinstance(results, list) or not results:
        raise ValueError("without a training")
    kinds = set()
    for trained in results:
        kind = _choice("downsampling", trained["downsampling"])
        if kind in kinds:
            raise ValueError(f"two trainings of downsampling {kind}")
        kinds.add(kind)
        check_result(trained)


def _unfinished(folder: Path, finished: Mapping[str, Path]) -> Unfinished:
    reason = "not finished: running, or interrupted"
    if (folder / ERROR).is_file():
        reason = reason_in(_read_error(folder / ERROR))
    if (folder / CONFIG).is_file():
        again = finished.get(_fingerprint(folder / CONFIG))
        if again is not None:
            reason = f"{reason}; finished in {again}"
    return Unfinished(folder, reason)


def _read_error(path: Path) -> str:
    try:
        return read_text(path, within=path.parent, errors="replace")
    except UnreadableError as error:
        _refuse_file(path, str(error))


def _fingerprint(path: Path) -> str:
    """Return the choices in a config.json, as text to compare."""
    with _reading(path) as content:
        choices = content.get("config") if isinstance(content, dict) else None
    if isinstance(choices, dict) and not any(isinstance(v, dict | list) for v in choices.values()):
        return json.dumps(choices, sort_keys=True)
    return ""


def _found(folder: Path, name: str) -> set[Path]:
    """Return the folders in a folder that hold a file of some name."""
    try:
        return {path.parent for path in folder.rglob(name)}
    except RecursionError:
        allowed = "folders that do not lie in each other without an end"
        refuse("RUNS", repr(str(folder)), allowed, "name the folders of the runs themselves")


def gather(folders: Sequence[Path]) -> Gathered:
    """Read every run in some folders, and in the folders below them.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, or folders of sweeps.

    Returns
    -------
    Gathered

    Raises
    ------
    RefusedError
        For a folder without any run, and a file that cannot be read: it names the file.
    """
    finished: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for folder in folders:
        done = _found(folder, SUMMARY)
        begun = (_found(folder, CONFIG) | _found(folder, ERROR)) - done
        if not done and not begun:
            allowed = f"folders with runs in them ({SUMMARY})"
            refuse("RUNS", repr(str(folder)), allowed, "write spectral-stride report runs")
        finished.update(dict.fromkeys(sorted(done)))
        others.update(dict.fromkeys(sorted(begun)))
    runs: dict[tuple[Any, ...], TrainedRun] = {}
    repeats = []
    for folder in finished:
        for run in _runs_of(folder):
            first = runs.setdefault(run.key, run)
            if first is not run:
                repeats.append((run.folder, first.folder))
    known = {_fingerprint(folder / CONFIG): folder for folder in finished}
    unfinished = [_unfinished(folder, known) for folder in others]
    return Gathered(list(runs.values()), unfinished, repeats)
