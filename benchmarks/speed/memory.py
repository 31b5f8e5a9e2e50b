"""How much memory a step takes over its input.

Counted is what a step allocates, at its peak: outputs, gradients and all in between. Its input, the
cotangent and the weights were there before. Work space that a library does not take from the
allocator that is watched (inside MKL, oneDNN or pocketfft) is not seen.
"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], Any]


def torch_peak(step: Step, device: str) -> int:
    """Bytes of PyTorch's allocator at the peak of a step that has run before."""
    if device == "cpu":
        return _cpu_peak(step)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _cpu_peak(step: Step) -> int:
    """Sum up the allocations and releases that PyTorch's profiler saw, in their order."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = step()
    del kept
    events = seen.profiler.kineto_results.events()
    changes = sorted((one.start_ns(), one.nbytes()) for one in events if one.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def numpy_peak(step: Step) -> int:
    """Bytes of NumPy's arrays at the peak of a step."""
    tracemalloc.start()
    try:
        kept = step()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
        return peak
    finally:
        tracemalloc.stop()


def jax_peak(compiled: Any) -> int:
    """Bytes that XLA planned for a compiled function: its outputs and its temporaries."""
    plan = compiled.memory_analysis()
    return int(plan.temp_size_in_bytes + plan.output_size_in_bytes)
