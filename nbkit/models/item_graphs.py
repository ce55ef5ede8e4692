"""The frozen item graph of FREEDOM and of models after it: nearest neighbours in the features, modalities weighted."""

from __future__ import annotations

from typing import Annotated, Literal

from nbkit.config import Range, Rate
from nbkit.errors import UserError
from nbkit.graphs import SparseGraph, combine_graphs, neighbour_graph
from nbkit.models.base import Inputs
from nbkit.neighbours import alike

# Settings of every model that has such a graph.
Neighbours = Annotated[int, Range(1, 1000), "k of the item graph, the item itself counted"]
ImageWeight = Annotated[Rate, "weight of the image graph beside text; other modalities share equally"]
Source = Annotated[Literal["features", "published"], "where neighbours come from"]


def frozen_item_graph(
    inputs: Inputs, k: int, image_weight: float, source: Literal["features", "published"]
) -> SparseGraph:
    """S = Σ_m w_m S_m ``(I, I)``, S_m the mean over the k items most alike in modality m, the item itself among them.

    Image and text weigh ``image_weight`` and the rest; any other set of modalities weighs alike.
    Source: FREEDOM (Zhou & Shen, MM 2023, eq. 3-6).

    Raises:
        UserError: published neighbours are asked for and the data set does not ship them for every modality.
    """
    names = sorted(inputs.features)
    if source == "published":
        if set(inputs.neighbours) != set(names):
            there = sorted(inputs.neighbours) or "no modality"
            raise UserError(f"item_graph = 'published': the data ship neighbours of {there}; expected {names}")
        near = [inputs.neighbours[m][:, :k] for m in names]
    else:
        near = [alike(inputs.features[m], k)[0] for m in names]
    weights = [1 / len(names)] * len(names)
    if names == ["image", "text"]:
        weights = [image_weight, 1 - image_weight]
    return combine_graphs([neighbour_graph(n) for n in near], weights)
