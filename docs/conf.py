"""How Sphinx builds these pages; `make docs` runs it. Nothing is fetched from the network."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_sphinx"))

import api  # noqa: E402
import gallery  # noqa: E402

import bayesgmm  # noqa: E402

project = "bayesgmm"
author = "The bayesgmm developers"
project_copyright = author
release = version = bayesgmm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "mathml",
]
exclude_patterns = ["_sphinx", "decisions/README.md"]
templates_path = ["_templates"]
root_doc = "index"
# Titles of notebooks may skip a level; widgets (progress bars) have a text form beside them.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

# Notebooks are shown with the outputs that are committed with them.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_context = {"own_methods": api.own_methods_of_all()}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False
toc_object_entries_show_parents = "hide"
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = "bayesgmm"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "logo": {"text": "bayesgmm"},
    "navbar_end": ["theme-switcher"],
    "navbar_align": "left",
    "show_prev_next": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {
    "index": [],
    "quickstart": [],
    "how_it_works": [],
    "gallery/*": [],
    "coming_from/*": [],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = False

gallery.write(HERE.parent / "notebooks", HERE / "gallery")
api.write(HERE / "api")
