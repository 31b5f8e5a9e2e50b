"""Where to compute: a device that this machine has, and a number of threads that suits the work."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from spectral_stride.torch.training.refusal import refuse

# A smaller training step is many short operations. Several threads would gain a third at best, and
# where another process wants a core too they wait for each other for most of the time.
WORTH_THREADS = 5 * 10**9
# What Linux says about the processors, where Python knows no more than their kind.
CPUS = Path("/proc/cpuinfo")


def find_device(name: str) -> str:
    """Return the device to train on: "cpu", "cuda" or "mps".

    Raises
    ------
    RefusedError
        If this machine does not have it.
    """
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present.insert(0, "cuda")
    if name == "auto":
        return present[0]
    if name not in present:
        allowed = f"auto, {', '.join(present)} (what PyTorch finds on this machine)"
        refuse("--device", repr(name), allowed, "write --device auto")
    return name


def hardware(device: str) -> str:
    """Return the model of the GPU, or of the CPU where there is none to name.

    Parameters
    ----------
    device : str
        From `find_device`.
    """
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        text = CPUS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


@contextmanager
def suitable_threads(macs_per_step: int) -> Iterator[int]:
    """Use one CPU thread for small training steps, and PyTorch's choice for large ones.

    Parameters
    ----------
    macs_per_step : int
        Multiply-accumulates in one forward pass of a batch.

    Yields
    ------
    int
        The number of threads.
    """
    usual = torch.get_num_threads()
    count = usual if macs_per_step >= WORTH_THREADS else 1
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(usual)


def is_first_process() -> bool:
    """Whether this is the one process, over all machines, that writes files and prints."""
    # Lightning takes its rank from RANK, LOCAL_RANK or SLURM_PROCID. Where the second or nothing is
    # set, that is 0 on every machine: so the machine's own number is asked for too.
    machine = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return bool(getattr(rank_zero_only, "rank", 0) == 0) and machine == "0"
