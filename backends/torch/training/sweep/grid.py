"""The grid of a sweep: a YAML file, read as the configurations that it stands for."""

import hashlib
import json
import math
import os
import re
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from spectral_stride.torch.training.config import (
    BESIDE,
    DIGITS,
    OPTIONS,
    Config,
    has_effect,
    parse_strides,
    shown_value,
)
from spectral_stride.torch.training.files import UnreadableError, read_text
from spectral_stride.torch.training.refusal import RefusedError, refuse
from spectral_stride.torch.training.words import parse

# Each point is one training: what is to be beside it is a point of its own.
SWEPT = tuple(option for option in OPTIONS if option not in BESIDE)

_EXAMPLE = "downsampling: [diffstride, strided]"
# Options of which a value has commas, for which people write a list of YAML's.
_IN_COMMAS = {"strides": '["1,1,2,2,2", "1,1,3,2,3"]', "labels": '["A,B"]'}
# In braces a comma ends a value, and what follows is taken for other options.
_QUOTES = 'put a value with commas in quotes: strides: "1,1,2,2,2"'
# Words that say by themselves what they choose; every other value follows its option's name.
_SELF_EVIDENT = ("data", "model", "downsampling", "ramp")
# Names of folders may have 255 bytes, on every usual file system.
_LONGEST_NAME = 150
# Trainings of a grid.
MOST_POINTS = 100_000
# Of what the file holds, as much as a message has room for. An alias may stand for all of itself.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = 200


@dataclass(frozen=True, slots=True)
class Point:
    """One training of a sweep.

    Attributes
    ----------
    name : str
        Of its folder: the choices that the grid names, and eight digits of a hash of all choices,
        which keep two trainings apart where a later grid names other options.
    config : Config
        With ``baseline=False``: each point is one training. Options that do not count for its
        downsampling have their defaults.
    """

    name: str
    config: Config


def _merges(key: Any) -> bool:
    """Whether a key is YAML's ``<<``, which takes in another mapping."""
    return bool(key.tag == "tag:yaml.org,2002:merge")


def _spelled(key: Any) -> Any:
    """Return the name of an option as the table has it, with a hyphen or without."""
    return key.replace("-", "_") if isinstance(key, str) else key


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the base has no annotations
    """YAML without a key that silently replaces an earlier one."""

    def flatten_mapping(self, node: Any) -> None:
        """Take in what ``<<`` names, under what the mapping says itself; each option once."""
        own = [self.construct_object(key, deep=True) for key, _ in node.value if not _merges(key)]
        # One that is not, PyYAML names with its place.
        hashable = [key for key in own if isinstance(key, Hashable)]
        for key, count in Counter(map(_spelled, hashable)).items():
            if count > 1:
                remedy = f"write {key}: [A, B]" if isinstance(key, str) else _QUOTES
                refuse("grid", f"{key!r} twice", "each option once", remedy)
        if len(own) == len(node.value):
            return
        for key, value in node.value:
            if _merges(key) and isinstance(value, yaml.SequenceNode):
                value.value = list({id(one): one for one in value.value}.values())
        super().flatten_mapping(node)  # what is taken in comes first
        last = {
            _spelled(self.construct_object(key, deep=True)): (key, value)
            for key, value in node.value
        }
        node.value = list(last.values())

    def construct_number(self, node: Any) -> int:
        """Return a whole number, if it can be written in decimal digits."""
        number: int = self.construct_yaml_int(node)
        str(number)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)


def _load(path: Path) -> Any:
    """Read what a file of YAML says, in which no option may stand twice."""
    try:
        return yaml.load(read_text(path), _Loader)
    except RefusedError:
        raise
    except UnreadableError as error:
        got = f"{str(path)!r} ({error})"
        refuse("grid", got, "a YAML file that can be read", "write spectral-stride sweep grid.yaml")
    except RecursionError:
        reason = "too many brackets in each other"
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        # PyYAML's own, and what its readers of dates and numbers raise.
        reason = " ".join(str(error).split())
    refuse("grid", f"{str(path)!r} ({reason})", "a YAML file", f"write {_EXAMPLE}")


def _shown(value: Any) -> str:
    """Write a value for a message: as a grid has it, or the beginning of one that is long."""
    if isinstance(value, list | dict | set | tuple):
        return _SHORT.repr(value)
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHORT.maxstring else f"{text[: _SHORT.maxstring]}..."


def _values(option: str, value: Any) -> list[Any]:
    """Return an option's values as words, as `words.parse` takes them from a command line."""
    values = value if isinstance(value, list) else [value]
    if option == "strides":
        _refuse_lists(values)
    for each in values:
        if OPTIONS[option].is_switch:
            if not isinstance(each, bool):
                got = f"{_shown(each)} for {option}"
                refuse("grid", got, "true or false, or a list of them", f"write {option}: true")
            continue
        # A number is taken as it was written down: YAML's true is no 1, and 2.5 epochs no 2.
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            got = f"{_shown(each)} for {option}"
            allowed = "a word or a number, or a list of them"
            refuse("grid", got, allowed, f"write {option}: {_IN_COMMAS.get(option, '[A, B]')}")
    if not values:
        refuse("grid", f"no value for {option}", "one or more", f"leave {option} out, or write one")
    return values if OPTIONS[option].is_switch else [str(each) for each in values]


def _refuse_lists(values: list[Any]) -> None:
    """Refuse strides with a list in the place of a word: a list has the values of an option."""
    words = [each for each in values if isinstance(each, str) and "," in each]
    lists = [each for each in values if isinstance(each, list)]
    written: str | list[str] = _in_commas(values)
    if len(words) + len(lists) == len(values):
        written = [each if isinstance(each, str) else _in_commas(each) for each in values]
    elif len(values) > 1 and not words:
        lists = [values]
    if lists:
        try:
            parse_strides(written if isinstance(written, str) else ",".join(written))
            text = json.dumps(written)
        except RefusedError:
            text = ""
        remedy = text if 0 < len(text) <= _SHORT.maxstring else _IN_COMMAS["strides"]
        got = f"{_shown(lists[0])} for strides"
        allowed = "numbers between commas, in quotes, or a list of such words"
        refuse("grid", got, allowed, f"write strides: {remedy}")


def _in_commas(places: list[Any]) -> str:
    """Write strides as their option takes them: a pair with an x; what is no number as "?"."""
    pairs = [place if isinstance(place, list) else [place] for place in places]
    return ",".join(
        "x".join(str(one) if isinstance(one, str | int | float) else "?" for one in pair)
        for pair in pairs
    )


def _option(name: Any) -> str:
    """Return the field of `Config` that a key names; it may be written as on the command line."""
    option = str(name).replace("-", "_")
    if option in BESIDE:
        allowed = f"options of spectral-stride train but {option}: each point is one training"
        refuse("grid", option, allowed, f"write downsampling: [diffstride, {BESIDE[option]}]")
    if option in ("devices", "nodes"):
        allowed = "trainings in one process each"
        refuse("grid", option, allowed, "start one worker for each device: --workers, --scheduler")
    if option not in SWEPT:
        near = get_close_matches(option, SWEPT, 1)
        remedy = f"write {near[0]}" if near else f"write {_EXAMPLE}"
        if not isinstance(name, str):
            remedy = _QUOTES
        refuse("grid", f"an option {_SHORT.repr(str(name))}", ", ".join(SWEPT), remedy)
    return option


def _choices(number: int, content: Any) -> dict[str, list[Any]]:
    """Read one part of a grid: the values of each of its options."""
    if not isinstance(content, Mapping) or not content:
        got = f"{_shown(content)} as part {number}"
        refuse("grid", got, "option: value, or option: [values]", f"write {_EXAMPLE}")
    choices: dict[str, list[Any]] = {}
    for name, value in content.items():
        option = _option(name)
        if option in choices:
            refuse("grid", f"{option!r} twice", "each option once", f"write {option}: [A, B]")
        choices[option] = _values(option, value)
    return choices


def _parse(words: Mapping[str, Any], folder: Path) -> Config:
    """Parse one combination of values; a path in it is that of the grid's folder."""
    settled = {**words, **dict.fromkeys(BESIDE, False)}
    data = words.get("data", DIGITS)
    if data != DIGITS:
        # Whole, for the processes that train may have been started anywhere.
        path = os.path.abspath(folder / Path(data).expanduser())
        # It may name one of its configurations.
        if os.path.exists(path) or os.path.isdir(path.rpartition(":")[0]):
            settled["data"] = path
        elif os.path.exists(data):
            got = f"{data}, a path from where the command was started"
            remedy = f"write data: {os.path.relpath(data, folder)}"
            refuse("data", got, "a path from the folder that holds the grid", remedy)
    return parse(settled)


def _combinations(
    choices: Mapping[str, list[Any]], folder: Path
) -> Iterator[tuple[dict[str, str], Config]]:
    """Yield the words of each combination that have an effect, and its configuration."""
    for values in product(*choices.values()):
        words = dict(zip(choices, values, strict=True))
        # Of the whole combination first: a wrong value is refused where it does not count, too.
        downsampling = _parse(words, folder).downsampling
        words = {option: word for option, word in words.items() if has_effect(option, downsampling)}
        yield words, _parse(words, folder)


def _name(words: Mapping[str, str], config: Config) -> str:
    """Name a point's folder: its values for the eye, and a digest of its whole configuration."""
    content = asdict(config)
    shown = content | {"data": words.get("data")}  # as it was written: a whole path may be long
    parts = [
        ("" if option in _SELF_EVIDENT else option) + shown_value(shown[option])
        for option in SWEPT
        if option in words
    ]
    text = re.sub(r"[^A-Za-z0-9_.,+-]", "-", "-".join(parts))
    # A command takes a dash at the front for an option's, and a listing hides what has a dot there.
    text = text.lstrip("-.")[:_LONGEST_NAME]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return "-".join(filter(None, [text, digest[:8]]))


def read_grid(path: Path) -> list[Point]:
    r"""Read a grid: every combination of its values, each checked before anything runs.

    Parameters
    ----------
    path : Path
        A YAML mapping from options of ``spectral-stride train`` (but ``baseline``) to one value or
        a list of values; or a list of such mappings, whose points are joined. A relative path in
        it is that of the grid's own folder.

    Returns
    -------
    list of Point
        In the order of the file, the last option varying fastest. Options that do not count for a
        downsampling do not multiply its points, and no point is there twice.

    Raises
    ------
    RefusedError
        For a file that is no such YAML, an unknown option, or a value that ``train`` refuses.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from spectral_stride.torch.training.sweep.grid import read_grid
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "grid.yaml")
    ...     _ = path.write_text("downsampling: [diffstride, strided]\npenalty: [0.1, 0.3]")
    ...     points = read_grid(path)
    >>> [(point.config.downsampling, point.config.penalty) for point in points]
    [('diffstride', 0.1), ('diffstride', 0.3), ('strided', 0.0)]
    """
    content = _load(path)
    parts = content if isinstance(content, list) else [content]
    grids = [_choices(number, part) for number, part in enumerate(parts, 1)]
    count = sum(math.prod(map(len, choices.values())) for choices in grids)
    if count > MOST_POINTS:
        got = f"{str(path)!r} with {count} combinations of its values"
        refuse("grid", got, f"at most {MOST_POINTS}", "write fewer values for some options")
    points: dict[Config, Point] = {}
    for choices in grids:
        try:
            for words, config in _combinations(choices, path.parent):
                points.setdefault(config, Point(_name(words, config), config))
        except RefusedError as error:
            # The message of `words.parse`, which names the option as the command line does.
            raise RefusedError(f"grid {str(path)!r}: {error}") from error
    if not points:
        refuse(
            "grid", f"{str(path)!r} with nothing in it", "one point or more", f"write {_EXAMPLE}"
        )
    return list(points.values())
