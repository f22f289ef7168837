"""How sphinx builds these pages."""

from importlib import metadata

project = "Orchestrion"
author = "the Orchestrion developers"
project_copyright = f"2026, {author}"
release = metadata.version("orchestrion")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"
html_theme = "furo"
html_title = f"Orchestrion {release}"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
