"""Pictures: pure functions from a table to a plotly figure, of one look, saved with where they come from."""

from __future__ import annotations

from nbkit.plots.ablation import part_forest
from nbkit.plots.data import (
    degree_distribution,
    interactions_over_time,
    noise_truth,
    popularity_curve,
    truth_table,
)
from nbkit.plots.features import feature_spectrum, spectra
from nbkit.plots.figures import SavedFigure, save_figure
from nbkit.plots.gallery import Mark, write_gallery
from nbkit.plots.maps import item_map, movement_map
from nbkit.plots.paired import difference_forest, win_tie_loss
from nbkit.plots.papers import paper_directions, paper_levels
from nbkit.plots.provenance import provenance_of
from nbkit.plots.ranking import group_comparison, metric_comparison, pareto
from nbkit.plots.robustness import noise_found, quality_curves, retention_areas, retention_curves
from nbkit.plots.sweeps import setting_importance, sweep_curves, trial_slices
from nbkit.plots.theme import model_color, model_style, no_data, use_theme
from nbkit.plots.training import training_curves

__all__ = [
    "Mark",
    "SavedFigure",
    "degree_distribution",
    "difference_forest",
    "feature_spectrum",
    "group_comparison",
    "interactions_over_time",
    "item_map",
    "metric_comparison",
    "model_color",
    "model_style",
    "movement_map",
    "no_data",
    "noise_found",
    "noise_truth",
    "paper_directions",
    "paper_levels",
    "pareto",
    "part_forest",
    "popularity_curve",
    "provenance_of",
    "quality_curves",
    "retention_areas",
    "retention_curves",
    "save_figure",
    "setting_importance",
    "spectra",
    "sweep_curves",
    "training_curves",
    "trial_slices",
    "truth_table",
    "use_theme",
    "win_tie_loss",
    "write_gallery",
]
