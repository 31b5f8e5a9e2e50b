"""The command ``spectral-stride``: it starts the tool, or says which packages the tool needs."""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line, which lives with the framework that it trains on.

    Parameters
    ----------
    words : sequence of str, optional
        The command line behind the program's name; that of the process by default.

    Returns
    -------
    int
        Exit code: 0, 1 where something is missing or fails, 2 for a wrong value, 130 for an
        interrupt.
    """
    if find_spec("torch") is None:
        remedy = "install it with: python -m pip install 'spectral-stride[train]'"
        print(f"spectral-stride: error: PyTorch is missing; {remedy}", file=sys.stderr)
        return 1
    try:
        tool = importlib.import_module("spectral_stride.torch.training.cli")
        code: int = tool.main(words)
    except KeyboardInterrupt:  # while the tool itself was still being loaded
        print("spectral-stride: error: interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
