"""Fixtures and Hypothesis profiles; HYPOTHESIS_PROFILE names one of dev, ci and nightly."""

import gc
import json
import math
import os
import re
from contextlib import suppress
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType

import pytest
from hypothesis import Phase, settings

from tests.libraries import Backend

# Compiling is most of what tests of JAX do. What it compiles is kept in files: each worker, each
# process that a test starts, and the next run takes what another has compiled. And it optimizes
# nothing, which takes half the time: it is not XLA that is tested here.
XLA_FLAGS = "--xla_backend_optimization_level=0"
with suppress(PackageNotFoundError):
    if version("jaxlib").startswith("0.10."):  # another one may not know it, and end the process
        XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"
for name, value in {
    "XLA_FLAGS": XLA_FLAGS,
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}.items():
    os.environ.setdefault(name, value)

# Dask knows a task by what it calls, which it pickles each time. For a function that was made by
# another one it looks through all modules that are loaded: once is enough.
with suppress(ImportError):
    from dask.tokenize import normalize_object, normalize_token

    normalize_token.register(FunctionType, lru_cache(256)(normalize_object))

# The fixture check_property, as any user of the suite gets it.
pytest_plugins = ["spectral_stride.testing.plugin"]

# No deadlines: the first call of a library, or of a size under a compiler, takes long.
settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
# A mutant that was killed once stays killed: nothing is drawn anew, nor kept from the run before.
# The first example that fails is enough; nobody reads the smallest.
settings.register_profile(
    "mutants",
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


# Eager JAX compiles each operation anew for each size. The property suite asks it everything; here
# the compiled core stands for both.
WAYS = [
    pytest.param(way, id=str(way), marks=[pytest.mark.long] if way is Backend.JAX else [])
    for way in Backend
]


@pytest.fixture(params=WAYS)
def xp(request):
    """Every way of calling the core. A library that is missing is a skip with its reason."""
    assert request.param.namespace
    return request.param


# Coverage is asked of the core, and to watch doubles the time of a test. These rooms test the core
# and its command. What a slow library or a mutant does there, one property of each library shows.
WATCHED = tuple(
    Path(__file__).parent / room
    for room in (
        "core",
        "fast",
        "testing",
        "training/test_cli.py",
        "torch/test_graph_node.py",
        "torch/test_layers.py",
    )
)
SLOW = (
    "jax",
    "[array_api_strict",
    "[cubed",
    "[dask",
    "[ndonnx",
    "[torch",
    "[spectral_stride",
    "suite_rejects",
    "agrees",
    "_lazy_",
    "larger_than_memory",
)
SHOWN_BY = "inputs_are_never_written_to"


def pytest_configure(config):
    """Let a worker watch once: pytest-cov 7 first starts a master there, which no mark pauses."""
    plugin = config.pluginmanager.getplugin("_cov")
    if hasattr(config, "workerinput") and plugin and plugin.cov_controller:
        plugin.cov_controller.cov.stop()


def pytest_collection_modifyitems(config, items):
    """Watch only the tests that cover the core; of a mutant's tests run the quick ones first."""
    measured = config.rootpath / "mutmut-stats.json"  # only where mutmut calls
    if measured.is_file():
        took = json.loads(measured.read_text("utf-8"))["duration_by_test"]
        # A mutant's run ends at the first test that fails.
        items.sort(key=lambda item: took.get(item.nodeid, math.inf))
    for item in items:
        slow = any(word in item.name for word in SLOW) and SHOWN_BY not in item.name
        if slow or not any(map(item.path.is_relative_to, WATCHED)):
            item.add_marker("no_cover")


def pytest_collection_finish():
    """Search for garbage less often, and not among the libraries that are loaded by now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Send tests that share what takes long to make to one worker, which then makes it once.

    That is a fixture of a file, or the server from which processes are forked.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path, _, _ = nodeid.partition("::")
            if forks(config.rootpath / path):
                return "processes"
            return path if shares_a_fixture(config.rootpath / path) else nodeid

    return ByWhatIsShared(config, log)


FORKS = re.compile(r"^from tests\.(training|torch)\b.*\b(processes|ranks)\b", re.M)


@cache
def forks(path):
    """Whether tests of a file start processes by `tests.training.processes`."""
    return FORKS.search(path.read_text("utf-8")) is not None


@cache
def shares_a_fixture(path):
    """Whether a file of tests has a fixture that is made for all of them, or its folder has one."""
    files = path, path.parent / "conftest.py"
    return any('scope="module"' in one.read_text("utf-8") for one in files if one.is_file())
