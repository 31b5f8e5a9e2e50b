"""What ships: one wheel, whichever way it is built, with every adapter in it exactly once."""

import email
import importlib
import importlib.metadata
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
ADAPTERS = sorted(
    path.name for path in (ROOT / "backends").iterdir() if path.is_dir() and path.name[0] != "_"
)


def files_under(folder: Path) -> list[Path]:
    """Every file in ``folder``, caches and pages of the site aside, without following links."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name == "__pycache__" or path == ROOT / "docs" / "generated":
            continue
        found += files_under(path) if path.is_dir() else [path]
    return found


def build(what: str, source: Path, target: Path) -> Path:
    """Build the "wheel" or the "sdist" of the project in ``source``, and return its file."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", what, "--directory", target],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl" if what == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory):
    target = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, target)) as archive:
        for member in archive.getmembers():
            assert member.isfile(), f"{member.name}: an sdist holds plain files, and no links"
            path = target / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
    (folder,) = (path for path in target.iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_file_once_and_nothing_else(wheel):
    expected = [path.relative_to(ROOT).as_posix() for path in files_under(ROOT / "spectral_stride")]
    for adapter in ADAPTERS:
        for path in files_under(ROOT / "backends" / adapter):
            inside = path.relative_to(ROOT / "backends").as_posix()
            expected.append(f"spectral_stride/{inside}")
    with zipfile.ZipFile(wheel) as archive:
        packed = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(packed) == sorted(expected)
    assert "spectral_stride/__init__.py" in packed
    assert "spectral_stride/py.typed" in packed
    assert "spectral_stride/torch/__init__.py" in packed


def test_the_wheel_built_from_the_sdist_is_the_wheel_built_from_the_checkout(
    wheel, unpacked_sdist, tmp_path
):
    contents = []
    for path in (wheel, build("wheel", unpacked_sdist, tmp_path)):
        with zipfile.ZipFile(path) as archive:
            contents.append({info.filename: info.CRC for info in archive.infolist()})
    assert contents[0] == contents[1]


def test_the_sdist_holds_what_building_and_checking_need(unpacked_sdist):
    packed = {path.relative_to(unpacked_sdist).as_posix() for path in files_under(unpacked_sdist)}
    names = ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md"]
    expected = {*names, "CITATION.cff", "constraints.txt", "pyproject.toml"}
    for folder in (".ci", "spectral_stride", "backends", "tests", "benchmarks", "docs"):
        files = files_under(ROOT / folder)
        expected |= {path.relative_to(ROOT).as_posix() for path in files}
    assert packed - {".gitignore", "PKG-INFO"} == expected  # hatchling adds these two


def test_an_unpacked_wheel_can_be_imported(wheel, tmp_path):
    pytest.importorskip("torch", reason="the torch adapter needs PyTorch")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import spectral_stride as core, spectral_stride.torch as adapter;"
        "print(core.__file__, adapter.__file__, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [Path(line) for line in done.stdout.splitlines()] == [
        tmp_path / "spectral_stride" / "__init__.py",
        tmp_path / "spectral_stride" / "torch" / "__init__.py",
    ]


def test_the_metadata_asks_for_the_core_alone_and_offers_the_extras(metadata):
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    needed = {line.name for line in requirements if "extra" not in str(line.marker)}
    assert needed == {"array-api-compat", "numpy"}
    extras = {
        "cuda",
        "cupy",
        "dev",
        "docs",
        "export",
        "jax",
        "mutants",
        "test",
        "testing",
        "torch",
        "train",
        *ADAPTERS,
    }
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_command_names_a_function_that_exists():
    pytest.importorskip("lightning", reason="the command needs the train extra")
    module, _, function = PROJECT["scripts"]["spectral-stride"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_linked_and_packed(adapter):
    assert (ROOT / "backends" / adapter / "__init__.py").is_file()
    link = ROOT / "spectral_stride" / adapter
    assert link.is_symlink(), f"make it: ln -s ../backends/{adapter} spectral_stride/{adapter}"
    assert link.readlink().as_posix() == f"../backends/{adapter}"
    hatch = PYPROJECT["tool"]["hatch"]["build"]
    assert f"backends/{adapter}" in hatch["targets"]["wheel"]["only-include"]
    assert f"/spectral_stride/{adapter}" in hatch["exclude"]
    assert f"spectral_stride/{adapter}" in PYPROJECT["tool"]["ruff"]["extend-exclude"]


def test_every_link_leads_to_an_adapter():
    links = [path for path in (ROOT / "spectral_stride").iterdir() if path.is_symlink()]
    assert links
    for link in links:
        assert link.is_dir(), f"{link} leads nowhere"
        assert link.resolve() == ROOT / "backends" / link.name


# --- The pins ----------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    """The version of each package in constraints.txt, by its normalised name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def required_by_the_project() -> list[Requirement]:
    """Requirements of the build, of the core and of every extra, this project itself aside."""
    groups = PROJECT["optional-dependencies"].values()
    lines = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    lines += [line for group in groups for line in group]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def test_pins_resolve_on_every_machine():
    found = pins()
    assert found["torch"] == "2.13.0"
    assert [version for version in found.values() if "+" in version] == []
    assert PROJECT["name"] not in found


@pytest.mark.parametrize("requirement", required_by_the_project(), ids=str)
def test_a_pin_satisfies_each_requirement(requirement):
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_the_whole_tree_is_pinned():
    tree = set()
    todo = [(requirement.name, requirement.extras) for requirement in required_by_the_project()]
    while todo:
        name, extras = todo.pop()
        tree.add(canonicalize_name(name))
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this machine: CuPy, or colorama outside Windows
        for requirement in map(Requirement, lines):
            chosen = [{"extra": extra} for extra in ("", *extras)]
            applies = requirement.marker is None or any(map(requirement.marker.evaluate, chosen))
            if applies and canonicalize_name(requirement.name) not in tree:
                todo.append((requirement.name, requirement.extras))
    # PyTorch and JAX name the exact versions of the CUDA packages that their builds need.
    prefixes = ("cuda-", "nvidia-", "jax-cuda")
    cuda = {name for name in tree if name.startswith(prefixes) or name == "triton"}
    assert tree - cuda <= pins().keys()
