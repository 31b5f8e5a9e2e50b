"""The whole of ``spectral-stride train``: prepare, train, show, and say where the files are."""

from pathlib import Path
from typing import Any

from rich.console import Console

from spectral_stride.torch.training.config import Config
from spectral_stride.torch.training.device import find_device
from spectral_stride.torch.training.folder import PICTURE, make_folder
from spectral_stride.torch.training.picture import draw
from spectral_stride.torch.training.report import result_table
from spectral_stride.torch.training.run import train


def run(
    config: Config, out: str | None, console: Console, *, limit: int | None = None
) -> tuple[Path, dict[str, Any]]:
    """Run one job from checked choices to the last line on the screen.

    Parameters
    ----------
    config : Config
        From `config.read`.
    out : str or None
        The run folder, as `make_folder` takes it.
    console : rich.console.Console
        Where to show things.
    limit : int, optional
        Use only the first so many images; for trials.

    Returns
    -------
    folder : Path
    summary : dict

    Raises
    ------
    RefusedError
        For a device or a folder that cannot be had; before anything is trained.
    """
    device = find_device(config.device)
    folder = make_folder(out, config)
    if not config.baseline and config.downsampling != "strided":
        console.print("No baseline of strided convolutions.")
    summary = train(
        config, folder, device, limit=limit, progress=console.is_terminal, tell=console.print
    )
    draw(folder, summary)
    console.print(result_table(summary))
    console.print(f"Picture  {folder / PICTURE}", soft_wrap=True, highlight=False)
    console.print(f"Files    {folder}", soft_wrap=True, highlight=False)
    return folder, summary
