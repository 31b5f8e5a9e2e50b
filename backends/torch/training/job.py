"""The whole of ``spectral-stride train``: prepare, train, show, and say where the files are."""

from pathlib import Path
from typing import Any

from rich.console import Console

from spectral_stride.torch.training.config import Config, RefusedError
from spectral_stride.torch.training.device import find_device, is_first_process
from spectral_stride.torch.training.fit import train
from spectral_stride.torch.training.report.run_picture import draw
from spectral_stride.torch.training.report.run_table import result_table
from spectral_stride.torch.training.run_folder import PICTURE, discard, make_folder, write_config


def run(
    config: Config,
    out: str | None,
    console: Console,
    *,
    resume: str | None = None,
    keep: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Run one job from checked choices to the last line on the screen.

    Parameters
    ----------
    config : Config
        From `config.read`, or from `folder.resumed`.
    out : str or None
        The run folder, as `make_folder` takes it.
    console : rich.console.Console
        Where to show things; the other processes of a run on several devices show nothing.
    resume : str, optional
        The folder of a run that goes on, in place of ``out``.
    keep : bool, optional
        Leave the choices of a run that is refused in its folder, for a report to name them; without
        it the folder is free for the next try.

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
    folder = make_folder(out, config) if resume is None else Path(resume)
    first = is_first_process()
    if not first:
        console = Console(quiet=True)
    elif resume is None:
        write_config(folder, config, device)
    if not config.baseline and config.downsampling != "strided":
        console.print("No baseline of strided convolutions.")
    try:
        summary = train(config, folder, device, progress=console.is_terminal, tell=console.print)
    except RefusedError:
        if first and resume is None and not keep:
            discard(folder)
        raise
    if first:
        draw(folder, summary)
    console.print(result_table(summary))
    console.print(f"Picture  {folder / PICTURE}", soft_wrap=True, highlight=False)
    console.print(f"Files    {folder}", soft_wrap=True, highlight=False)
    return folder, summary
