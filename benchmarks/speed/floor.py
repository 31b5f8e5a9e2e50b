"""The layer beside a copy that moves the same bytes, the least that any layer can take.

Forward and backward read x and g and write y and dx. A copy of as many bytes as x and y together
have reads and writes just as much.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch

from benchmarks.speed.cases import Case
from benchmarks.speed.peers import (
    OURS,
    PUBLISHED,
    Peer,
    absent_peer,
    image_peers,
    spectral_peer,
    spectral_step,
    to_torch,
    torch_peer,
    torch_step,
)
from benchmarks.speed.rows import Row, Setting, measure
from spectral_stride.torch import diffstride

QUESTION = "How far is the layer from a copy that moves the same bytes?"
SHAPES = ((128, 128, 32, 32), (128, 64, 56, 56), (64, 64, 32, 32), (16, 64, 112, 112))
TINY = ((2, 3, 16, 16),)
RAMPS = ("outside", "inside")
DTYPES = ("bfloat16", "float32")
COPY = "copy of the same bytes"
COMPILED = f"{OURS}, compiled"
REPLAYED = f"{OURS}, CUDA graph"


def copy_peer(case: Case, device: str) -> Peer:
    """The floor."""
    values = case.draw(
        (np.prod(case.shape, dtype=int) + np.prod(case.plan().out_shape, dtype=int),)
    )
    source = to_torch(values, case.dtype, device)
    target = torch.empty_like(source)

    def step() -> Sequence[torch.Tensor]:
        return (target.copy_(source),)

    return torch_peer(COPY, step, lambda: (values,), device, ("y",), "another operator")


def compiled_peer(case: Case, setting: Setting) -> Peer:
    """Ours under PyTorch's compiler, one graph forward and one backward."""
    # The code generator takes too long for a look at whether all runs.
    backend = "aot_eager" if setting.tiny else "inductor"
    plan = case.plan()
    forward = torch.compile(
        partial(diffstride, plan=plan), backend=backend, fullgraph=True, dynamic=False
    )
    strides = to_torch(np.asarray(case.strides), "float32", setting.device).requires_grad_()
    with warnings.catch_warnings():
        # The compiler looks through the caches of array_api_compat, as it should.
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
        step = torch_step(forward, case, strides, case.dtype)
    of = ("y", "dx", "dstrides")
    return torch_peer(COMPILED, step, lambda: case.exact, setting.device, of, backend)


def replayed(step: Callable[[], Sequence[torch.Tensor]]) -> Callable[[], Sequence[torch.Tensor]]:
    """Record a step as a CUDA graph, and return its replay."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is recorded must have run before, on another stream
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step()

    def replay() -> Sequence[torch.Tensor]:
        graph.replay()
        return outputs

    return replay


def replayed_peer(case: Case, device: str) -> Peer:
    """Ours as a CUDA graph, where there are any."""
    if device != "cuda":
        return absent_peer(REPLAYED, f"no CUDA graphs on the {device}")
    step, of = replayed(spectral_step(OURS, case, device)), ("y", "dx", "dstrides")
    note = "its memory was taken when it was recorded"
    return torch_peer(REPLAYED, step, lambda: case.exact, device, of, note)


def run(setting: Setting) -> list[Row]:
    """Measure every shape in both dtypes with both ramps."""
    rows = []
    kinds = product(TINY if setting.tiny else SHAPES, DTYPES, RAMPS[1:] if setting.tiny else RAMPS)
    for shape, dtype, ramp in kinds:
        torch.compiler.reset()  # every case is a graph of its own
        case, device = Case(shape, ramp, dtype), setting.device
        peers = [
            copy_peer(case, device),
            spectral_peer(OURS, case, device),
            compiled_peer(case, setting),
            replayed_peer(case, device),
        ]
        if dtype == "float32":  # there is no FFT in bfloat16
            peers.append(spectral_peer(PUBLISHED, case, device))
        rows += measure([*peers, *image_peers(case, device)], case, COPY, setting)
    return rows
