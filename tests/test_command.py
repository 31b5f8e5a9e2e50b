"""The command ``spectral-stride`` in front of its tool."""

import subprocess
import sys

from spectral_stride import __version__
from spectral_stride.__main__ import main


def test_as_a_module():
    command = [sys.executable, "-m", "spectral_stride", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"spectral-stride {__version__}\n"


def test_without_pytorch_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("spectral_stride.__main__.find_spec", lambda _: None)
    assert main(["train"]) == 1
    assert "pip install 'spectral-stride[train]'" in capsys.readouterr().err
