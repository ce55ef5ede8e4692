"""The notebook machinery: strict parameters, headless runs, stripped files with goldens, house rules."""

from __future__ import annotations

from nbkit.notebooks.cleaning import clean
from nbkit.notebooks.linting import lint
from nbkit.notebooks.parameter_cell import Parameter, check_parameters, cli_help, parameters
from nbkit.notebooks.running import regold, run_notebook

__all__ = [
    "Parameter",
    "check_parameters",
    "clean",
    "cli_help",
    "lint",
    "parameters",
    "regold",
    "run_notebook",
]
