"""How Sphinx makes the site: `make docs`.

The source folder is the repository itself. So pages keep the relative links that they have on
GitHub, to code, to measurements and to each other, and no page is written twice.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What is described is this checkout, whatever is installed.
sys.path.insert(0, str(ROOT))

import spectral_stride  # noqa: E402

project = "spectral_stride"
author = "The spectral_stride authors"
project_copyright = author
version = release = spectral_stride.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_gallery.gen_gallery",
]

# --- Which files are pages ------------------------------------------------------------------------

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**.md",
    "docs/api/*.rst",
    "docs/generated/**.rst",
    "benchmarks/**.md",
    "tests/data/README.md",
    "tests/survivors.md",
]
# Folders are named so that Sphinx does not walk through them.
exclude_patterns = [
    ".*",
    "data",
    "dist",
    "runs",
    "site",
    "sweeps",
    "docs/gallery",
    "docs/generated/**/sg_execution_times.rst",
]

# --- Markdown -------------------------------------------------------------------------------------

# Links to headings, as GitHub names them.
myst_heading_anchors = 6
myst_enable_extensions = ["colon_fence"]

# --- Docstrings -----------------------------------------------------------------------------------

default_role = "autolink"
# Docstrings tell types in words that help; annotations would tell them a second time.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# CuPy has no build for some machines. What its adapter takes can be told without it.
autodoc_mock_imports = [] if importlib.util.find_spec("cupy") else ["cupy"]
numpydoc_show_class_members = False
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False

# The site builds without a net, so that it builds anywhere and the same way each time. Links to
# other projects' pages need their lists of names, which come over the net: ask for them with this
# variable. (Lists that are checked in would be megabytes, and stale with each of their releases.)
if os.environ.get("SPECTRAL_STRIDE_DOCS_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
    }
else:
    intersphinx_mapping = {}
    # Without those lists such names have nothing to lead to.
    nitpick_ignore_regex = [(r"py:.*", r"(cupy|jax|numpy|optax|torch)(\..*)?")]

# --- Gallery --------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "docs/gallery",
    "gallery_dirs": "docs/generated/gallery",
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    # A picture that cannot be drawn is an error at once.
    "abort_on_example_error": True,
    "min_reported_time": 1000,
}

# --- Looks ----------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "spectral_stride"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
# Docstrings hold code in plain text, whose quotation marks are to stay what they are.
smartquotes = False
# The first page lies in a folder; this leads there from the top.
html_extra_path = ["site/top"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
