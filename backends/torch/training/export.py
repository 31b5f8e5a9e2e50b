"""A trained network as one file, with the names of its classes: for ONNX, or PyTorch alone."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import torch

from spectral_stride.torch.deploy.freeze import freeze
from spectral_stride.torch.training.macs import multiply_accumulates
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.trained import LoadedRun

# What writes and what runs each format, besides PyTorch, by the names to import.
FORMATS: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
# How far logits of a file may lie from those of the network, in shares of the largest one.
TOLERANCE = 1e-4
# Samples that a file is written by, and other ones that it is tried on: the batch is free.
_WRITTEN_BY, _TRIED_ON = 2, 5
INPUT = "samples"


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A file's content, what it costs, and how far its logits lie from those of the network.

    Attributes
    ----------
    content : bytes
    outputs : list of str
        Names of the logits of each task.
    macs, macs_learned : int
        Multiply-accumulates of one sample, by the file and by the network that was trained.
    difference : float
        Largest difference between logits of the file and of the network, on samples of noise.
    """

    content: bytes
    outputs: list[str]
    macs: int
    macs_learned: int
    difference: float


def export_run(run: LoadedRun, form: str) -> ExportedRun:
    """Write a trained network in a format that needs no part of this library, and try it.

    The file takes a batch of any size of what ``run.transform`` gives. It holds the names of the
    classes, and the transform as plain data.

    Parameters
    ----------
    run : LoadedRun
    form : {"onnx", "pt2"}

    Returns
    -------
    ExportedRun

    Raises
    ------
    RefusedError
        Without the packages for a format, for a network that it cannot hold, and where what was
        written computes something else.
    """
    missing = [name for name in FORMATS[form] if find_spec(name) is None]
    if missing:
        allowed = f"an environment with {', '.join(FORMATS[form])}"
        remedy = "pip install 'spectral-stride[export]', or write --format pt2"
        refuse("--format", f"{form}, without {', '.join(missing)}", allowed, remedy)
    outputs = [f"logits/{task}" for task in run.classes]
    about = {name: json.dumps(words) for name, words in run.described().items()}
    try:
        with _quiet(), torch.no_grad():
            samples = _noise(run, _WRITTEN_BY)
            frozen = freeze(run.net, samples)
            program = torch.export.export(
                frozen,
                (samples,),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
            macs = multiply_accumulates(frozen, samples.shape[1:])
            macs_learned = multiply_accumulates(run.net, samples.shape[1:])
            content = (_as_onnx if form == "onnx" else _as_pt2)(program, outputs, about)
    except Exception as error:  # an exporter's errors have no common kind
        reason = " ".join(str(error).split())[:300]
        got = f"{form}, which cannot hold this network ({type(error).__name__}: {reason})"
        other = next(name for name in FORMATS if name != form)
        refuse("--format", got, ", ".join(FORMATS), f"write --format {other}")
    return ExportedRun(content, outputs, macs, macs_learned, _tried(run, form, content))


def _noise(run: LoadedRun, count: int) -> torch.Tensor:
    """Draw samples as a normalized one is: of mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, *run.transform.sample_shape, generator=generator)


def _as_onnx(program: Any, outputs: Sequence[str], about: dict[str, str]) -> bytes:
    written: Any = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=[INPUT], output_names=list(outputs)
    )
    written.model.metadata_props.update(about)
    content: bytes = written.model_proto.SerializeToString()
    return content


def _as_pt2(program: Any, _: Sequence[str], about: dict[str, str]) -> bytes:
    content = BytesIO()
    files = {f"{name}.json": words for name, words in about.items()}
    torch.export.save(program, content, extra_files=files)
    return content.getvalue()


def _tried(run: LoadedRun, form: str, content: bytes) -> float:
    """Compare what a file computes with the network; refuse what is something else."""
    samples = _noise(run, _TRIED_ON)
    with _quiet(), torch.no_grad():
        if form == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            found = [torch.from_numpy(one) for one in session.run(None, {INPUT: samples.numpy()})]
        else:
            found = list(torch.export.load(BytesIO(content)).module()(samples))
        wanted = run.net(samples)
    pairs = list(zip(found, wanted, strict=True))
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    largest = max(1.0, *(float(one.abs().max()) for one in wanted))
    if not difference <= TOLERANCE * largest:
        got = f"{form}, whose logits differ by {difference:.2g} from those of the network"
        allowed = f"differences up to {TOLERANCE * largest:.2g}"
        refuse("--format", got, allowed, "write another format, and report this as a fault")
    return difference


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of exporters off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
