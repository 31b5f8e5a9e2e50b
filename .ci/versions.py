"""Run the core's tests on every Python that is supported, and with the oldest packages allowed.

    python .ci/versions.py                     # all environments, each in .versions/NAME
    python .ci/versions.py 3.13 oldest         # some of them
    python .ci/versions.py --skip-missing      # a Python that is not on this machine is no error

3.11, 3.12 and 3.13 take the newest of everything, "oldest" takes the lower bounds of pyproject.toml
on the oldest Python. PyTorch is in none of them, nor what brings it: `make test` has it. Nor is
cubed in the oldest: it calls a function that NumPy has since 2.1, while it asks for 2.0. Of all
else that these tests load, a missing one is a failure.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

PYTHONS = [
    name.rpartition(" ")[2]
    for name in PROJECT["classifiers"]
    if re.search(r":: Python :: 3\.\d+$", name)
]
OLDEST = "oldest"

# PyTorch takes gigabytes where an index chooses its build. The first one is an extra with it.
WITH_TORCH = {"spectral-stride", "torch-pruning", "torchao", "transformers"}
NOT_OLDEST = {"cubed"}

ROOMS = ("tests/core", "tests/fast", "tests/testing")
CHOSEN = "not long and not gpu"


def name_of(requirement: str) -> str:
    """Return the package that a requirement names.

    >>> name_of("dask[array]>=2026.8")
    'dask'
    """
    return re.split(r"[^\w.-]", requirement)[0]


def at_bound(requirement: str) -> str:
    """Ask for the lower bound itself.

    >>> at_bound("dask[array]>=2026.8")
    'dask[array]==2026.8'
    """
    return requirement.replace(">=", "==")


def requirements(environment: str) -> list[str]:
    """List what is installed beside the core itself."""
    extras = ("testing", "export", "test", "jax")
    asked = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    without = WITH_TORCH | NOT_OLDEST if environment == OLDEST else WITH_TORCH
    kept = [one for one in asked if name_of(one) not in without]
    return [at_bound(one) for one in kept] if environment == OLDEST else kept


def find_python(version: str) -> str | None:
    """Find an interpreter of a version: on the path, or where pyenv keeps its own."""
    shelves = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = [str(path) for path in sorted(shelves.glob(f"{version}.*/bin/python"))]
    for python in [shutil.which(f"python{version}"), *kept]:
        if python and answers(python, "import ensurepip, venv"):
            return python
    return None


def answers(python: str, program: str) -> bool:
    """Whether an interpreter runs a program: pyenv puts names on the path that run nothing."""
    return subprocess.run([python, "-c", program], capture_output=True, check=False).returncode == 0


def check(environment: str, python: str, workers: int) -> bool:
    """Make one environment anew, run the tests in it, and say which versions it has."""
    folder = ROOT / ".versions" / environment
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    own = str(folder / "bin" / "python")
    install = [own, str(ROOT / ".ci" / "install.py"), *requirements(environment), "-e", str(ROOT)]
    if subprocess.run(install, check=False).returncode:
        return False
    tests = [own, "-m", "pytest", "-q", "-n", str(workers), "-m", CHOSEN, *ROOMS]
    settings = {
        "HYPOTHESIS_PROFILE": "ci",
        "OMP_NUM_THREADS": "1",
        "SPECTRAL_STRIDE_REQUIRE_ALL": "1",
        "SPECTRAL_STRIDE_REQUIRE_ALL_BUT": "torch cubed" if environment == OLDEST else "torch",
    }
    done = subprocess.run(tests, cwd=ROOT, env=os.environ | settings, check=False)
    packages = sorted({name_of(one) for one in requirements(environment)})
    program = (
        "import platform; from importlib.metadata import version; "
        f"found = [f'{{name}} {{version(name)}}' for name in {packages}]; "
        "print('Python', platform.python_version(), *found, sep=', ')"
    )
    subprocess.run([own, "-c", program], check=True)
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the chosen environments, one after the other, and return how many are not well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    everyone = [*PYTHONS, OLDEST]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(everyone)}")
    parser.add_argument("--skip-missing", action="store_true", help="a missing Python is no error")
    parser.add_argument("--workers", type=int, default=2, help="processes that test (default: 2)")
    asked = parser.parse_args(arguments)
    for name in asked.names:
        if name not in everyone:
            parser.error(
                f"NAME: got {name!r}; allowed: {', '.join(everyone)}; instead: leave it out"
            )
    outcomes = {}
    for name in asked.names or everyone:
        print(f"==> {name}", flush=True)
        python = find_python(PYTHONS[0] if name == OLDEST else name)
        if python is None:
            outcomes[name] = "there is no such Python on this machine"
        else:
            outcomes[name] = "passed" if check(name, python, asked.workers) else "FAILED"
    print("==> In short")
    for name, outcome in outcomes.items():
        print(f"    {name:6} {outcome}")
    if asked.skip_missing:
        return sum(outcome == "FAILED" for outcome in outcomes.values())
    return sum(outcome != "passed" for outcome in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
