"""Ranks of a distributed training, which are forked when one process has imported everything.

To import takes longer than all that they do.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RANKS = 2
PREFIX = """
import os
import torch._dynamo  # an optimizer imports it otherwise, in each rank
from torch.distributed import fsdp, optim
"""
# No thread has been started yet.
FORK = f"""
rank = next((one for one in range(1, {RANKS}) if os.fork() == 0), 0)
"""
# Now and then a thread of the process group aborts the interpreter's own way out.
SUFFIX = f"""
torch.distributed.barrier()
sys.stdout.flush()
if rank == 0:
    for _ in range(1, {RANKS}):
        assert os.wait()[1] == 0
os._exit(0)
"""


def run(imports, code, *words):
    """Run code in every rank, which finds its number in ``rank``; return what they print."""
    done = subprocess.run(
        [sys.executable, "-c", PREFIX + imports + FORK + code + SUFFIX, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
