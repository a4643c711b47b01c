"""Configuration of the documentation site: `make docs` builds it with Sphinx."""

from vl.version import __version__

project = "vl"
author = "the authors of vl"
version = release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
html_theme = "pydata_sphinx_theme"
html_title = "vl"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 8,
}
html_sidebars = {"**": []}  # all pages are in the header
html_show_sourcelink = False
highlight_language = "none"  # most blocks are commands and their output
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 600  # seconds for a cell; the tutorial trains on the drawn world
nb_execution_raise_on_error = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Source", "notes_style")]
nitpicky = False
