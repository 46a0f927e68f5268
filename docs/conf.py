"""The documentation site: `make docs` builds it into build/docs, and takes warnings for errors."""

import sys
from pathlib import Path

import sma

sys.path.insert(0, str(Path(__file__).parent))

project = "Sparse Modular Activation"
version = release = sma.__version__
html_title = f"sma {version}"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_pages.docstrings",
    "site_pages.mathml",
    "site_pages.filling",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site_pages"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4

default_role = "code"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what overrides is described once, in the base class
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
pygments_style = "friendly"
pygments_dark_style = "native"
html_show_search_summary = False  # it fetches pages, which browsers refuse for files
