"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs site``, without any network."""

import sys
from pathlib import Path

import torch
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  sphinx-gallery looks every name up

import skantidistill

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
torch.set_num_threads(1)  # the examples' networks are tiny: more threads only wait for each other

project = "skantidistill"
author = "The skantidistill developers"
copyright = f"2026, {author}"
version = release = skantidistill.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # brings MathJax along, so that formulas need no network
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "floors",
    "forge_links",
    "shown_members",
]
exclude_patterns = ["_extensions", "auto_examples/**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]

# Pages
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# API
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(sklearn|numpy|torch|joblib|art|matplotlib|pandas)\..*")]
autodoc_typehints = "none"  # the docstrings say more
autosummary_generate = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False  # the template lists and documents them
numpydoc_validation_checks = {
    "all",  # but
    "GL01",  # where the first line of a docstring stands: numpydoc has changed its mind
    "ES01",  # an extended summary, where the first line says all
    "EX01",  # an example, and
    "SA01",  # what to see also, for every method
    "PR04",  # a type, where "As in ..." refers to the function that describes the parameters
    "RT02",  # a returned value without its name, as in scikit-learn
}

# Examples
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skantidistill",),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
}

# Looks
html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/favicon.svg"
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": project, "alt_text": f"{project}: home"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    # The table of tools is as wide as a page.
    "secondary_sidebar_items": {"**": ["page-toc"], "guide/searching": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}
html_sidebars = {page: [] for page in ("index", "changes", "from_mlpclassifier", "developing")}
