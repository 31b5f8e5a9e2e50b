"""Networks of transformers and timm by their names, built from what is on this machine."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from spectral_stride.torch.adopt.conversion import Conversion, conversion, convert
from spectral_stride.torch.training.files import write_whole
from spectral_stride.torch.training.refusal import RefusedError, refuse

# What a network takes that does not say it itself.
USUAL_CHANNELS, USUAL_SIZE = 3, 224
_MODEL = "MODEL"
_ALLOWED = (
    "the folder or config.json of an image classifier of transformers, an id of the hub that has "
    "been downloaded, a model type of transformers such as resnet, or a name of timm such as "
    "resnet18"
)


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A network of another library.

    Attributes
    ----------
    net : Module
        In evaluation mode.
    weights : str
        Where its weights are from.
    shape : tuple of int
        (channels, height, width) of an image that it takes.
    """

    net: nn.Module
    weights: str
    shape: tuple[int, int, int]


def find_network(name: str) -> ForeignNetwork:
    """Build a network by its name, without a download.

    Parameters
    ----------
    name : str
        A folder or a ``config.json`` as transformers saves them; an id of the Hugging Face hub,
        of which a copy is on this machine; a model type of transformers, built with its default
        configuration; or the name of a network in timm.

    Raises
    ------
    RefusedError
        For a name of nothing that is here, and a library that is not installed.
    """
    if "/" in name or Path(name).exists():
        return _saved(name)
    found = _by_type(name) or _in_timm(name)
    if found is None:
        missing = [one for one in ("transformers", "timm") if find_spec(one) is None]
        remedy = f"pip install {' '.join(missing)}" if missing else "check the name"
        refuse(_MODEL, repr(name), _ALLOWED, remedy)
    return found


def convert_network(
    foreign: ForeignNetwork,
    size: int,
    include: Sequence[str],
    exclude: Sequence[str],
    out: Path | None,
) -> Conversion:
    """Say what converting a network changes, and save it converted where that is asked for.

    Parameters
    ----------
    foreign : ForeignNetwork
    size : int
        Of images, in pixels a side; 0 is what the network says.
    include, exclude : sequence of str
        As in `spectral_stride.torch.convert`; none are all, and none.
    out : Path or None
        File for the network itself, as `torch.save` writes it.

    Raises
    ------
    RefusedError
        For what `convert` refuses, and a network that cannot be saved.
    """
    channels, height, width = foreign.shape
    sample = torch.zeros(1, channels, size or height, size or width)
    chosen = {"include": list(include) or None, "exclude": list(exclude) or None}
    try:
        found = conversion(foreign.net, sample, **chosen)
        if out is not None:
            with _quiet():  # the table tells what is left, and why
                _save(convert(foreign.net, sample, **chosen), out)
    except RefusedError:
        raise
    except (TypeError, ValueError) as error:  # in the words of the library
        raise RefusedError(str(error)) from error
    return found


def _saved(name: str) -> ForeignNetwork:
    """Build a network of transformers from a folder, a ``config.json``, or what the hub gave."""
    is_here = Path(name).exists()
    if find_spec("transformers") is None:
        refuse(_MODEL, f"{name!r}, without transformers", _ALLOWED, "pip install transformers")
    from transformers import AutoConfig

    with _quiet():
        try:
            # Without trust it asks whether to run what a repository brings.
            config = AutoConfig.from_pretrained(
                name, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # of whatever is wrong with a file
            if is_here:
                _refuse(name, error)
            got, remedy = f"{name!r}, which is not here", f"check it, or: hf download {name}"
            refuse(_MODEL, got, _ALLOWED, remedy)
        return _built(name, config, None if Path(name).is_file() else name)


def _by_type(name: str) -> ForeignNetwork | None:
    """Build a network of transformers from the default configuration of its type, if it has one."""
    if find_spec("transformers") is None:
        return None
    from transformers import CONFIG_MAPPING

    with _quiet():
        return _built(name, CONFIG_MAPPING[name](), None) if name in CONFIG_MAPPING else None


def _built(name: str, config: Any, source: str | None) -> ForeignNetwork:
    """Build an image classifier, with the weights of a source where it has some."""
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING as CLASSIFIERS
    from transformers import AutoModelForImageClassification as Auto

    if type(config) not in CLASSIFIERS:
        got = f"{name!r}, a {type(config).__name__} without an image classifier"
        refuse(_MODEL, got, _ALLOWED, "name another one")
    net, weights = None, "drawn at random"
    try:
        if source is not None:
            with suppress(OSError):  # there are none
                net = Auto.from_pretrained(source, local_files_only=True, trust_remote_code=False)
                weights = f"those in {source}"
        net = Auto.from_config(config) if net is None else net
    except Exception as error:  # of what a configuration or a file of weights has that is wrong
        _refuse(name, error)
    size = getattr(config, "image_size", None) or USUAL_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    channels = getattr(config, "num_channels", USUAL_CHANNELS)
    return ForeignNetwork(net.eval(), weights, (channels, height, width))


def _in_timm(name: str) -> ForeignNetwork | None:
    """Build a network of timm, if it is there and has one of this name."""
    if find_spec("timm") is None:
        return None
    import timm

    if not timm.is_model(name):
        return None
    net = timm.create_model(name, pretrained=False).eval()
    shape = net.pretrained_cfg.get("input_size", (USUAL_CHANNELS, USUAL_SIZE, USUAL_SIZE))
    return ForeignNetwork(net, "drawn at random", tuple(shape))


def _save(network: nn.Module, out: Path) -> None:
    """Write a network as it is; its classes are found by their names when it is loaded."""
    content = BytesIO()
    try:
        torch.save(network, content)
    except Exception as error:  # what cannot be pickled has no common kind
        got = f"a network that cannot be saved ({_reason(error)})"
        refuse("--out", got, "one that pickle takes", "leave --out away and call convert yourself")
    write_whole(out, content.getbuffer())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks and bars of these libraries off the screen: what is wrong is an exception."""
    with warnings.catch_warnings(action="ignore"):
        if find_spec("transformers") is None:
            yield
            return
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        try:
            logging.set_verbosity(logging.CRITICAL)
            logging.disable_progress_bar()
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def _refuse(name: str, error: Exception) -> NoReturn:
    refuse(_MODEL, f"{name!r} ({_reason(error)})", _ALLOWED, "put it right, or name another one")


def _reason(error: Exception) -> str:
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line[:200]}"
