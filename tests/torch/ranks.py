"""Ranks of a distributed training: processes that are forked where everything is imported.

To import takes longer than all that they do.
"""

import os
import sys
from contextlib import ExitStack

import torch

from tests.training.processes import started

RANKS = 2


def run(code, *words, folder):
    """Run code in every rank, which finds its number in ``rank``; return what they print."""
    with ExitStack() as stack:
        ranks = []
        for rank in range(RANKS):
            place = folder / f"rank{rank}"
            place.mkdir()
            ranks.append(stack.enter_context(started(work, rank, code, *words, folder=place)))
        codes = [one.wait() for one in ranks]
        assert codes == [0] * RANKS, "\n".join(one.err for one in ranks)
        return "".join(one.out for one in ranks)


def work(rank, code, *words):
    """Do what one rank does."""
    sys.argv[1:] = map(str, words)
    exec(code, {"__name__": __name__, "rank": rank})
    torch.distributed.barrier()
    sys.stdout.flush()
    # Now and then a thread of the process group aborts the interpreter's own way out.
    os._exit(0)
