"""What a file may say of a finished training: which fields, and which numbers can be true.

It may be cut, edited by hand, or somebody else's; what computes and draws with it is to meet no
number that no training has.
"""

from collections.abc import Mapping
from typing import Any

from spectral_stride.torch.training.config import LONGEST_STRIDE

# No training is near them: what is counted; seconds; samples along an axis of a map; places where
# a network gets smaller, each a column of pictures; tasks, options or packages.
MOST = 10**18
LONGEST = 1e12
LARGEST_MAP = 10**5
MOST_LAYERS = 20
MOST_PARTS = 100
# Characters of a name.
LONGEST_NAME = 200
_DIGITS = 30


def shown(value: object) -> str:
    """Write what a file holds in few characters, for a message.

    Examples
    --------
    >>> from spectral_stride.torch.training.results import shown
    >>> shown(0.5), shown(10**400), shown({"a": 1})
    ('0.5', 'a whole number of 1329 bits', 'dict')
    """
    if isinstance(value, int) and value.bit_length() > 3 * _DIGITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= 2 * _DIGITS else f"{text[: 2 * _DIGITS]}..."
    return type(value).__name__


def number(value: Any, name: str, least: float, most: float) -> float:
    """Return a number of a range; a word, a truth value and NaN are none.

    Raises
    ------
    ValueError
        Naming what it stands for.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} {shown(value)}, and not a number from {least:g} to {most:g}")
    return float(value)


def whole(value: Any, name: str, least: int, most: int) -> int:
    """Return a whole number of a range; see `number`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        allowed = f"a whole number from {least} to {most:g}"
        raise ValueError(f"{name} {shown(value)}, and not {allowed}")
    return value


def word(value: Any, name: str) -> str:
    """Return a name of one line; see `number`."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_NAME:
        allowed = f"one line of up to {LONGEST_NAME} characters"
        raise ValueError(f"{name} {shown(value)}, and not {allowed}")
    return value


def accuracy(value: Any, name: str) -> float:
    """Return a share of the test samples; see `number`."""
    return number(value, name, 0.0, 1.0 + 1e-6)  # the mean of float32 may round up


def macs(value: Any, name: str) -> int:
    """Return a number of multiply-accumulates; see `number`."""
    return whole(value, name, 1, MOST)


def check_result(trained: Any) -> None:
    """Refuse what no `fit.Result` can be, as it was written to a file.

    Parameters
    ----------
    trained : object
        A ``result.json``, or one of the runs in a ``summary.json``.

    Raises
    ------
    KeyError
        Without one of its fields.
    TypeError, ValueError
        For a field of another type, or a number that no training has.
    """
    word(trained["downsampling"], "downsampling")
    for when in ("before", "after"):
        _check_survey(trained[when], when)
    names = [[layer["name"] for layer in trained[when]["layers"]] for when in ("before", "after")]
    if names[0] != names[1]:
        raise ValueError("other layers after the training than before it")
    accuracy(trained["test_accuracy"], "test_accuracy")
    tasks = trained["test_accuracies"]
    if not isinstance(tasks, Mapping) or not 1 <= len(tasks) <= MOST_PARTS:
        raise ValueError(f"test_accuracies {shown(tasks)}, and not 1 to {MOST_PARTS} tasks")
    for task, share in tasks.items():
        accuracy(share, f"the accuracy of {shown(task)}")
    whole(trained["parameters"], "parameters", 0, MOST)
    number(trained["seconds"], "seconds", 0.0, LONGEST)
    number(trained["step_seconds"], "step_seconds", 1.0 / LONGEST, LONGEST)
    whole(trained["threads"], "threads", 1, MOST)


def _check_survey(survey: Any, when: str) -> None:
    """Refuse strides, map sizes and costs that no network has."""
    layers = survey["layers"]
    if not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
        raise ValueError(f"{when} {shown(layers)}, and not 1 to {MOST_LAYERS} layers")
    for layer in layers:
        name = word(layer["name"], "the name of a layer")
        for field in ("stride", "size_in", "size_out"):
            pair = layer[field]
            if not isinstance(pair, list) or len(pair) != 2:
                raise ValueError(f"{field} {shown(pair)} of {name}, and not two numbers")
            for value in pair:
                if field == "stride":
                    number(value, f"stride of {name}", 1.0 / LONGEST_STRIDE, LONGEST_STRIDE)
                else:
                    whole(value, f"{field} of {name}", 1, LARGEST_MAP)
    macs(survey["macs"], f"macs {when}")
