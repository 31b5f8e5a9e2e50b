"""The house rule: imports go one way, tests and benchmarks -> backends -> core -> array-api-compat.

CONTRIBUTING.md says which line lives where; this file keeps it so. `complaints` reads one file
without running it and says what is wrong with its imports, as a list of sentences.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE_MODULES = {path.stem for path in (ROOT / "spectral_stride").glob("*.py")}
# The property suite stands on the core and on the adapters, and neither knows it.
SUITE = "testing"
# What only speed needs stands on the core, and adapters alone know it.
FAST = "fast"

# Every adapter that has a place, written or not: a folder outside this list does not ship.
ADAPTERS = {
    PurePosixPath(packed).name
    for packed in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    if packed.startswith("backends/")
}

# These parts of array_api_compat import the framework that they wrap.
FRAMEWORK_NAMESPACES = {"array_api_compat.cupy", "array_api_compat.dask", "array_api_compat.torch"}

# Whose networks the training tool converts, where a user has them. No extra installs them.
BROUGHT = {"timm", "transformers"}

# Where the name to import is not the name to install.
IMPORT_NAMES = {
    "cupy_cuda13x": "cupy",
    "markdown_it_py": "markdown_it",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit_learn": "sklearn",
}


def packages_of(*extras: str) -> set[str]:
    """Top-level names that the given extras install, through extras of this project too."""
    project = PYPROJECT["project"]
    found = set()
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                found |= packages_of(*requirement.extras)
            else:
                name = requirement.name.replace("-", "_")
                found.add(IMPORT_NAMES.get(name, name))
    return found


RUN_TIME = "<a name made at run time>"


def imports(path: PurePosixPath, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every import in a file, wherever it stands: its line, and the full dotted name."""
    package = list(path.parent.parts)
    if package[0] == "backends" and len(package) > 1:
        package[0] = "spectral_stride"  # the name that adapters ship as
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            prefix = [*start, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*prefix, alias.name])
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in {"__import__", "import_module"}:
                yield node.lineno, RUN_TIME


def part_of_core(name: str) -> str:
    """The core module that an import of ``spectral_stride...`` reaches."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in CORE_MODULES else "__init__"


def core_complaint(module: str, name: str) -> str | None:
    """What is wrong with the import of ``name`` by the core module ``module``."""
    top, _, rest = name.partition(".")
    if top == "spectral_stride":
        if module == "checks":
            return "checks.py imports nothing of the core: every module may import checks"
        if rest.split(".")[0] in ADAPTERS:
            return "the core knows no adapter: adapters import the core"
        if rest.split(".")[0] == SUITE:
            return "the suite tests the core, which knows nothing of it"
        if rest.split(".")[0] == FAST:
            return None if module == FAST else "no result needs fast/: adapters alone import it"
        if module != "__init__" and part_of_core(name) == "__init__":
            return "import from the module that defines the name, not from the package"
        return None
    if module == "__main__" and name == RUN_TIME:
        return None  # the command finds its tool by name, so that the core runs without it
    if top == "array_api_compat":
        if module == "plan":
            return "plan.py speaks of integers and floats: arrays belong in another core module"
        if name in FRAMEWORK_NAMESPACES or name.rpartition(".")[0] in FRAMEWORK_NAMESPACES:
            return "that loads a framework: take array_namespace(x) instead"
        return None
    if top == "numpy":
        return "take array_namespace(x), or array_api_compat.numpy where there is no array"
    if top not in sys.stdlib_module_names:
        return "the core imports the standard library, array_api_compat and itself"
    return None


# What a room of the PyTorch adapter does not know, although it could: by the beginning of a name.
UNKNOWN = {
    "": ("deploy", "models", "training"),
    "adopt": ("deploy", "models", "training"),
    "deploy": ("models", "training"),
    "layers": ("adopt", "deploy", "models", "training"),
    "models": ("deploy", "training"),
    "training.data": ("training.report", "training.sweep"),
    "training.sweep": (),
    "training.report": ("training.sweep",),
}
# All that a sweep knows of the training tool.
KNOWN_TO_SWEEPS = (
    "config",
    "files",
    "fit",
    "refusal",
    "results",
    "run_folder",
    "sweep",
    "words",
)


def room_complaint(room: str, name: str) -> str | None:
    """What is wrong with the import of ``name`` by a file in a room of the same adapter."""
    part, _, rest = name.partition(".")
    if room == "training.sweep" and part == "training":
        known = rest.split(".")[0] in KNOWN_TO_SWEEPS
        return None if known else "a sweep starts a training through fit alone"
    for other in UNKNOWN.get(room, ()):
        if name == other or name.startswith(f"{other}."):
            return f"{room or 'what stands outside of the rooms'} does not know {other}"
    return None


def adapter_complaint(path: PurePosixPath, name: str) -> str | None:
    """What is wrong with the import of ``name`` by the adapter's file ``path``."""
    adapter, is_training = path.parts[1], path.parts[2] == "training"
    room = ".".join(path.parts[2:-1])
    top, _, rest = name.partition(".")
    if top == "spectral_stride":
        other = rest.split(".")[0]
        if other in ADAPTERS and other != adapter:
            return "an adapter knows no other adapter: what both need belongs in the core"
        if other == SUITE:
            return "the suite tests the adapters, which know nothing of it"
        # The package itself offers what its rooms hold.
        offers = path.parts[2:] == ("__init__.py",)
        return None if offers else room_complaint(room, rest.partition(".")[2])
    allowed = packages_of(adapter)
    if is_training:
        allowed |= packages_of("train", "export") | {"numpy"} | BROUGHT
    if top in allowed or top in sys.stdlib_module_names:
        return None
    return f"here that is the core and what the extra installs: {', '.join(sorted(allowed))}"


def suite_complaint(path: PurePosixPath, name: str) -> str | None:
    """What is wrong with the import of ``name`` by a file of the property suite."""
    top, _, rest = name.partition(".")
    allowed = packages_of("testing") | {"numpy", "array_api_compat"}
    if path.stem == "plugin":
        allowed |= {"pytest"}
    if top == "spectral_stride":
        if rest.split(".")[0] in ADAPTERS:
            return "an adapter is found at run time, by known.py"
        if rest.split(".")[0] == FAST:
            return "no result needs fast/: adapters alone import it"
        return None
    if name == RUN_TIME:
        return None if path.stem == "known" else "only known.py looks for libraries at run time"
    if top in allowed or top in sys.stdlib_module_names:
        return None
    return f"here that is the core and what the extra installs: {', '.join(sorted(allowed))}"


def complaints(path: PurePosixPath, source: str) -> list[str]:
    """Everything wrong with the imports of one file; ``path`` is relative to the repository."""
    found = []
    for line, name in imports(path, ast.parse(source)):
        room, top = path.parts[0], name.partition(".")[0]
        why = None
        if top in {"backends", "tests", "benchmarks"} and room in {"spectral_stride", "backends"}:
            why = "imports go one way: tests and benchmarks -> backends -> core"
        elif top == "backends":
            why = "an adapter has one name: import spectral_stride.<name>"
        elif path.parts[:2] == ("spectral_stride", SUITE):
            why = suite_complaint(path, name)
        elif room == "spectral_stride":
            why = core_complaint(path.stem if len(path.parts) == 2 else FAST, name)
        elif room == "backends" and len(path.parts) > 2:
            why = adapter_complaint(path, name)
        if why:
            found.append(f"{path}:{line} imports {name}; {why}")
    return found


def python_files() -> list[PurePosixPath]:
    """Every Python file of the project, adapters under backends/ and not again by their links."""
    files = list((ROOT / "spectral_stride").glob("*.py"))
    for room in (
        f"spectral_stride/{SUITE}",
        f"spectral_stride/{FAST}",
        "backends",
        "tests",
        "benchmarks",
    ):
        files += (ROOT / room).rglob("*.py")
    return sorted(PurePosixPath(path.relative_to(ROOT).as_posix()) for path in files)


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_imports_go_one_way(path):
    assert complaints(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_the_rooms_that_have_rules_of_their_own_exist():
    assert {"__init__", "checks", "plan"} <= CORE_MODULES
    assert (ROOT / "spectral_stride" / FAST / "__init__.py").is_file()
    for room in filter(None, {*UNKNOWN, *(one for names in UNKNOWN.values() for one in names)}):
        assert (ROOT / "backends/torch" / room.replace(".", "/") / "__init__.py").is_file()


def test_core_modules_do_not_import_each_other_in_a_circle():
    reaches = {}
    for module in CORE_MODULES:
        path = PurePosixPath(f"spectral_stride/{module}.py")
        names = [name for _, name in imports(path, ast.parse((ROOT / path).read_text("utf-8")))]
        reaches[module] = {
            part_of_core(name) for name in names if name.partition(".")[0] == "spectral_stride"
        }
    TopologicalSorter(reaches).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("path", "source", "why"),
    [
        ("spectral_stride/mask.py", "import torch", "the core imports"),
        ("spectral_stride/mask.py", "def f():\n    from scipy import fft", "the core imports"),
        ("spectral_stride/mask.py", "import numpy as np", "array_namespace"),
        ("spectral_stride/mask.py", "from numpy.fft import rfft", "array_namespace"),
        ("spectral_stride/mask.py", "import array_api_compat.torch", "loads a framework"),
        ("spectral_stride/mask.py", "from array_api_compat import cupy", "loads a framework"),
        ("spectral_stride/mask.py", "from array_api_compat.dask import array", "loads a framework"),
        ("spectral_stride/mask.py", "from spectral_stride import torch", "no adapter"),
        ("spectral_stride/mask.py", "from .torch import DiffStride", "no adapter"),
        ("spectral_stride/mask.py", "from spectral_stride import diffstride", "that defines"),
        ("spectral_stride/mask.py", "import importlib\nimportlib.import_module(n)", "run time"),
        ("spectral_stride/mask.py", "__import__('torch')", "run time"),
        ("spectral_stride/mask.py", "import backends.torch", "one way"),
        ("spectral_stride/mask.py", "from tests.testing.mutants import MUTANTS", "one way"),
        ("spectral_stride/checks.py", "from spectral_stride import plan", "nothing of the core"),
        ("spectral_stride/checks.py", "from . import plan", "nothing of the core"),
        ("spectral_stride/plan.py", "import array_api_compat", "integers and floats"),
        ("spectral_stride/mask.py", "from spectral_stride.testing import oracles", "nothing of it"),
        ("spectral_stride/mask.py", "from spectral_stride.fast import taps", "adapters alone"),
        ("spectral_stride/mask.py", "from .fast.taps import Taps", "adapters alone"),
        ("spectral_stride/fast/taps.py", "import torch", "the core imports"),
        ("spectral_stride/fast/taps.py", "import numpy", "array_namespace"),
        ("spectral_stride/fast/taps.py", "from spectral_stride import torch", "no adapter"),
        ("spectral_stride/testing/suite.py", "import spectral_stride.fast.taps", "adapters alone"),
        ("spectral_stride/testing/suite.py", "import torch", "the extra installs"),
        ("spectral_stride/testing/suite.py", "import pytest", "the extra installs"),
        ("spectral_stride/testing/known.py", "import spectral_stride.jax", "at run time"),
        ("spectral_stride/testing/suite.py", "__import__('torch')", "only known.py"),
        ("spectral_stride/testing/suite.py", "from tests.testing import mutants", "one way"),
        ("backends/torch/layers.py", "import spectral_stride.testing", "nothing of it"),
        ("backends/torch/layers.py", "import jax", "the extra installs: torch"),
        ("backends/torch/layers.py", "import numpy as np", "the extra installs: torch"),
        ("backends/torch/layers.py", "import lightning", "the extra installs: torch"),
        ("backends/torch/layers.py", "from backends.torch import x", "one way"),
        ("backends/torch/layers.py", "import spectral_stride.jax", "no other adapter"),
        ("backends/torch/layers.py", "from ..jax import diffstride", "no other adapter"),
        ("backends/cupy/functional.py", "import numpy as np", "the extra installs: cupy"),
        ("backends/torch/training/data.py", "import pandas", "the extra installs: PIL"),
        (
            "backends/torch/kernels.py",
            "from spectral_stride.torch import models",
            "not know models",
        ),
        ("backends/torch/layers/x.py", "import spectral_stride.torch.models.mel", "know models"),
        ("backends/torch/models/x.py", "import spectral_stride.torch.training.fit", "training"),
        ("backends/torch/adopt/x.py", "from ..deploy import freeze", "not know deploy"),
        ("backends/torch/deploy/x.py", "from ..models import mel", "not know models"),
        ("backends/torch/training/data/x.py", "from ..report import runs", "not know training.rep"),
        ("backends/torch/training/data/x.py", "from ..sweep import grid", "not know training.sw"),
        ("backends/torch/training/sweep/x.py", "from ..report import runs", "through fit alone"),
        ("backends/torch/training/sweep/x.py", "from .. import classifier", "through fit alone"),
        ("backends/torch/layers/__init__.py", "import spectral_stride.torch.models.mel", "models"),
        ("backends/torch/training/report/x.py", "from ..sweep import grid", "not know training.s"),
        ("benchmarks/cost.py", "import backends.torch", "has one name"),
        ("tests/test_layers.py", "from backends.torch import layers", "has one name"),
    ],
)
def test_the_rule_refuses(path, source, why):
    (complaint,) = complaints(PurePosixPath(path), source)
    assert complaint.startswith(f"{path}:")
    assert why in complaint


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("spectral_stride/mask.py", "import math\nfrom collections.abc import Sequence"),
        ("spectral_stride/mask.py", "from array_api_compat import array_namespace"),
        ("spectral_stride/mask.py", "from array_api_compat import numpy as xp"),
        ("spectral_stride/mask.py", "from spectral_stride import checks"),
        ("spectral_stride/mask.py", "from .plan import Plan"),
        ("spectral_stride/__init__.py", "from spectral_stride.plan import Plan"),
        ("spectral_stride/testing/plugin.py", "import pytest, hypothesis, numpy"),
        ("spectral_stride/testing/known.py", "import importlib\nimportlib.import_module(n)"),
        ("spectral_stride/fast/taps.py", "from spectral_stride.axis import AxisMap"),
        ("spectral_stride/fast/taps.py", "from spectral_stride.fast import from_output"),
        ("backends/torch/kernels.py", "from spectral_stride.fast.taps import Taps"),
        ("backends/torch/__init__.py", "from spectral_stride.torch.models.resnet import ResNet"),
        ("backends/torch/models/x.py", "from spectral_stride.torch.layers import DiffStride"),
        ("backends/torch/training/sweep/x.py", "from spectral_stride.torch.training import fit"),
        ("backends/torch/layers.py", "import torch.nn\nfrom spectral_stride import vjp"),
        ("backends/torch/layers.py", "from .functional import diffstride"),
        ("backends/torch/training/data.py", "import lightning, numpy\nfrom sklearn import x"),
        ("benchmarks/cost.py", "import jax\nfrom spectral_stride.torch import DiffStride"),
        ("tests/test_layers.py", "import scipy\nfrom tests.testing.mutants import MUTANTS"),
    ],
)
def test_the_rule_allows(path, source):
    assert complaints(PurePosixPath(path), source) == []


def assert_loads_itself_alone(module: str, allowed: str) -> None:
    """In a fresh interpreter it loads no package that ``allowed`` has not, as names to import.

    The standard library is aside.
    """
    code = f"""
import sys
def loaded():
    return {{name.partition(".")[0] for name in sys.modules}} - sys.stdlib_module_names
import {allowed}
before = loaded()
import {module}
print(*loaded() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["spectral_stride"]


def test_importing_the_core_loads_no_framework():
    assert_loads_itself_alone("spectral_stride", "numpy, array_api_compat.numpy")


def test_importing_the_torch_adapter_loads_torch_alone():
    pytest.importorskip("torch", reason="the torch adapter needs PyTorch")
    allowed = "array_api_compat.torch, array_api_compat.numpy"
    assert_loads_itself_alone("spectral_stride.torch", allowed)


def test_importing_the_cupy_adapter_loads_cupy_alone():
    pytest.importorskip("cupy", reason="the CuPy adapter needs CuPy")
    allowed = "cupy, array_api_compat.cupy, array_api_compat.numpy"
    assert_loads_itself_alone("spectral_stride.cupy", allowed)


def test_importing_the_jax_adapter_loads_jax_alone():
    """Flax waits until a layer is asked for."""
    pytest.importorskip("jax", reason="the JAX adapter needs JAX")
    allowed = "jax.numpy, array_api_compat, array_api_compat.numpy"
    assert_loads_itself_alone("spectral_stride.jax", allowed)
