"""How sphinx builds these pages."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Orchestrion"
author = "the Orchestrion developers"
project_copyright = f"2026, {author}"
release = metadata.version("orchestrion")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_build"]
default_role = "code"
html_theme = "furo"
html_title = f"Orchestrion {release}"
# A line of code of 99 columns has room.
html_theme_options = {"light_css_variables": {"code-font-size": "var(--font-size--small--3)"}}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Every name that these export has its place in the pages, see from_code.py.
public_modules = ["engine", "engine.testing", "monitor", "sshjobs", "sshjobs.sandbox"]
