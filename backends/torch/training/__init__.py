"""Training of networks that learn their strides: the tool ``spectral-stride`` and its rooms.

`load_run` loads what was trained, with all that it takes to use it. Nothing else is here, and
nothing is imported before it is asked for, so that ``spectral-stride`` can say what is missing
where the training tools are not installed. Import from the modules: `commands` (the words of the
command line), `config` (the table of options), `recipes`, `networks`, `fit` (a run, from its
configuration to its folder), `trained` (a run that is used), `classifier` (the loss and the
optimizer), `run_folder`, `macs` (sizes and cost); and from the rooms `data` (where samples come
from), `sweep` (grids of runs) and `report` (what comes out).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectral_stride.torch.training.trained import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spectral_stride.torch.training.trained import load_run

    return load_run
