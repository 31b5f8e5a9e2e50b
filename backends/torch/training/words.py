"""What a user's words come to: the defaults that follow from other words, and what clashes."""

from collections.abc import Mapping
from dataclasses import MISSING
from difflib import get_close_matches
from typing import Any

from spectral_stride.torch.models.downsampling import WHOLE
from spectral_stride.torch.training.config import (
    BUDGETED,
    DIGITS,
    OPTIONS,
    RANDOM,
    Config,
    Pair,
    parse_strides,
)
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.options import flag_of
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import refuse

# What decides on the defaults of others.
_DECIDING = ("recipe", "model", "data")
# What strides have where no budget moves them: who names it means such strides.
_UNBUDGETED = ("penalty", "stride_lr")


def default_of(name: str, recipe: str, model: str, data: str) -> Any:
    """Return the value of an option where a user gives none.

    Examples
    --------
    >>> from spectral_stride.torch.training.words import default_of
    >>> default_of("width", "small", "resnet56", "digits")
    8
    >>> default_of("width", "small", "resnet56", "pictures")
    16
    """
    one, by_recipe = OPTIONS[name], RECIPES[recipe].defaults
    own = one.demo if data == DIGITS and one.demo is not MISSING else one.default
    return _settled(name, by_recipe.get(name, own), model)


def _settled(name: str, value: Any, model: str) -> Any:
    """Put the published width of a network in the place of 0."""
    return MODELS[model].width if name == "width" and value == 0 else value


def _are_integers(pairs: list[Pair]) -> bool:
    return all(number == int(number) for pair in pairs for number in pair)


def _check_strides(config: Config) -> str:
    """Return the strides to use, refusing what the chosen model cannot take."""
    kind = MODELS[config.model]
    usual = kind.poor_strides if config.data == DIGITS else kind.good_strides
    text = config.strides or usual
    if text == RANDOM:
        if config.downsampling in WHOLE or config.baseline:
            allowed = f"{RANDOM} for strides that need not be whole numbers"
            remedy = "write --downsampling diffstride or spectral, and --no-baseline"
            refuse("--strides", repr(text), allowed, remedy)
        return text
    pairs, count = parse_strides(text), kind.places
    if len(pairs) != count:
        allowed = f"{count} for --model {config.model}: one for each place where it gets smaller"
        refuse("--strides", f"{len(pairs)} strides {text!r}", allowed, f"write --strides {usual}")
    if config.downsampling in WHOLE and not _are_integers(pairs):
        remedy = "write whole numbers, or --downsampling diffstride (or spectral)"
        allowed = f"whole numbers for --downsampling {config.downsampling}"
        refuse("--strides", repr(text), allowed, remedy)
    if config.baseline and not _are_integers(pairs):
        remedy = "write whole numbers, or --no-baseline"
        allowed = "whole numbers with --baseline, whose convolutions are strided"
        refuse("--strides", repr(text), allowed, remedy)
    return text


def parse(words: Mapping[str, Any]) -> Config:
    """Build a configuration from a user's words.

    Parameters
    ----------
    words : mapping of str to str, number or bool
        Names of options, as in the table, and their values; what is missing or None takes its
        default.

    Returns
    -------
    Config
        With strides, width, and what is trained beside it settled.

    Raises
    ------
    RefusedError
        For a name that is no option, and a value out of range: what was got, what is allowed, what
        to write instead.

    Examples
    --------
    >>> from spectral_stride.torch.training.words import parse
    >>> parse({"epochs": "3"}).epochs
    3
    """
    for name in words:
        if name not in OPTIONS:
            near = get_close_matches(name, OPTIONS, 1)
            remedy = f"write {near[0]}" if near else "leave it out"
            refuse("options", repr(name), ", ".join(OPTIONS), remedy)
    # These first, and the recipe before the rest: others have their defaults from them.
    first = {name: _value(name, words, OPTIONS[name].default) for name in _DECIDING}
    for name in _DECIDING:
        first[name] = _value(name, words, default_of(name, **first))
    values = {
        name: _settled(name, _value(name, words, default_of(name, **first)), first["model"])
        for name in OPTIONS
    }
    if values["data"] == DIGITS and values["size"] and words.get("size") is None:
        got = f"{DIGITS} with --recipe {values['recipe']}, for images of {values['size']} pixels"
        refuse("--data", got, "images of any size", "name them: --data FOLDER")
    values["strides"] = _check_strides(Config(**values))
    if words.get("steps") is None and words.get("epochs") is not None:
        values["steps"] = 0  # the recipe's own
    if values["steps"]:
        values["epochs"] = OPTIONS["epochs"].default  # the data say how many they are
    if words.get("budget") is None and (
        values["ramp"] == "outside" or any(words.get(name) is not None for name in _UNBUDGETED)
    ):
        values["budget"] = 0.0  # the demo's own
    if values["budget"]:
        if words.get("penalty") and values["penalty"]:
            remedy = "leave --penalty out: a budget needs none"
            refuse("--penalty", f"{values['penalty']:g} with --budget", "one of the two", remedy)
        values["penalty"] = 0.0
    else:
        for name in BUDGETED:
            values[name] = OPTIONS[name].default
    if values["downsampling"] == "strided":
        values["baseline"] = False  # it would be the same training twice
    elif values["baseline"] is None:
        values["baseline"] = _are_integers(Config(**values).stride_pairs)
    if values["downsampling"] == "spectral":
        values["spectral"] = False
    elif values["spectral"] is None:
        values["spectral"] = values["data"] == DIGITS and values["baseline"]
    return Config(**values)


def _value(name: str, words: Mapping[str, Any], default: Any) -> Any:
    """Read an option's value from the words given, or take the default."""
    word = words.get(name)
    return default if word is None else OPTIONS[name].kind.check(flag_of(name), word, default)


def complete(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the choices of an earlier run those that its version did not have.

    Parameters
    ----------
    choices : mapping of str to object
        Under "config" in a run's ``config.json``.

    Returns
    -------
    dict
        The choices, in the order of the table; after them options that this version does not have.

    Raises
    ------
    KeyError
        For an option that every version had.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> from spectral_stride.torch.training.config import Config
    >>> from spectral_stride.torch.training.words import complete
    >>> choices = asdict(Config(crop=0.5))
    >>> del choices["crop"]
    >>> complete(choices)["crop"]
    0.0
    """
    known = {}
    for name, one in OPTIONS.items():
        if name not in choices and one.before is MISSING:
            raise KeyError(name)
        known[name] = choices.get(name, one.before)
    return known | dict(choices)
