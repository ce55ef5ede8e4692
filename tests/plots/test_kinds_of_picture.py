"""Each kind of picture by its specification: what is drawn, in which units, and what happens without data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from nbkit import plots
from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError
from nbkit.plots.colors import BAD, GOOD, NEUTRAL
from nbkit.plots.paired import p_text

MODELS = ["bpr", "freedom", "DiffCL"]


def history(epochs: int = 6, every: int = 1, best: int = 4) -> pd.DataFrame:
    e = np.arange(1, epochs + 1)
    valid = np.where(e % every == 0, 0.1 - 0.01 * abs(e - best), np.nan)
    parts = {"loss_bpr": 1 / e, "loss_reg": 0.1 / e}
    return pd.DataFrame(
        {
            "epoch": e,
            "loss": 1.1 / e,
            **parts,
            "lr": 0.1,
            "seconds": 2.0,
            "valid_recall@20": valid,
            "valid_ndcg@20": valid / 2,
            "valid_seconds": 1.0,
        }
    )


def scores(models: list[str] = MODELS, metrics: tuple[str, ...] = ("recall@20", "ndcg@20")) -> pd.DataFrame:
    rows = [(m, k, 0.1 + 0.01 * i, 0.09 + 0.01 * i, 0.12 + 0.01 * i) for k in metrics for i, m in enumerate(models)]
    return pd.DataFrame(rows, columns=["model", "metric", "mean", "low", "high"])


def differences() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["freedom", "DiffCL", "vbpr"],
            "other": "bpr",
            "difference": [0.02, 0.001, -0.01],
            "low": [0.01, -0.002, -0.02],
            "high": [0.04, 0.004, -0.005],
            "p_holm": [0.0001, 0.6, 0.02],
            "verdict": ["better", "no difference shown", "worse"],
            "win": [30, 10, 5],
            "tie": [60, 80, 60],
            "loss": [10, 10, 35],
        }
    )


def groups() -> pd.DataFrame:
    rows = [(g, m, 0.1, 0.09, 0.11, n) for g, n in (("1–4", 1200), ("5 and more", 30)) for m in MODELS]
    frame = pd.DataFrame(rows, columns=["group", "model", "mean", "low", "high", "n"])
    return frame.assign(group=pd.Categorical(frame["group"], categories=["1–4", "5 and more"], ordered=True))


def costs() -> pd.DataFrame:
    columns = {
        "seconds": [10.0, 30.0, 100.0],
        "peak_mb": [9.0, 5.0, 70.0],
        "value": [0.1, 0.09, 0.12],
        "parameters": [100, 400, 900],
    }
    return pd.DataFrame({"model": MODELS, **columns}).assign(
        low=lambda f: f.value - 0.01, high=lambda f: f.value + 0.01
    )


def interactions() -> pd.DataFrame:
    items = [0] * 8 + [1] * 4 + [2] * 2 + [3, 4]
    return pd.DataFrame(
        {
            "user": np.arange(16) % 4,
            "item": items,
            "timestamp": np.arange(16) * 86_400,
            "split": ["train"] * 12 + ["valid"] * 4,
        }
    )


def truth() -> pd.DataFrame:
    rows = [
        ("training pairs", "clean", 75),
        ("training pairs", "noise", 25),
        ("training pairs", "missing", 10),
        ("text features", "clean", 9),
        ("text features", "noise", 1),
    ]
    return pd.DataFrame(rows, columns=["part", "kind", "count"])


def spectrum() -> pd.DataFrame:
    return plots.spectra({"text": np.diag([3.0, 2.0, 1.0, 0.5])})


def points() -> pd.DataFrame:
    rows = [(panel, item, item, -item, "ab"[item % 2]) for panel in ("raw", "fused") for item in range(6)]
    return pd.DataFrame(rows, columns=["panel", "item", "x", "y", "category"])


def moves() -> pd.DataFrame:
    return points().assign(x_to=lambda f: f.x + f.item, y_to=lambda f: f.y)


KINDS: dict[str, tuple[Callable[..., go.Figure], Callable[[], pd.DataFrame]]] = {
    "training_curves": (plots.training_curves, history),
    "metric_comparison": (plots.metric_comparison, scores),
    "difference_forest": (plots.difference_forest, differences),
    "win_tie_loss": (plots.win_tie_loss, differences),
    "group_comparison": (plots.group_comparison, groups),
    "pareto": (plots.pareto, costs),
    "degree_distribution": (plots.degree_distribution, interactions),
    "popularity_curve": (plots.popularity_curve, interactions),
    "interactions_over_time": (plots.interactions_over_time, interactions),
    "feature_spectrum": (plots.feature_spectrum, spectrum),
    "noise_truth": (plots.noise_truth, truth),
    "item_map": (partial(plots.item_map, color="category"), points),
    "movement_map": (plots.movement_map, moves),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def axis_titles(fig: go.Figure) -> list[str]:
    axes = [*fig.select_xaxes(), *fig.select_yaxes()]
    return [axis.title.text for axis in axes if axis.visible is not False and axis.title.text]


@every_kind
def test_a_picture_is_a_pure_function_of_its_table(kind: str) -> None:
    draw, table = KINDS[kind]
    frame = table()
    before = frame.copy(deep=True)
    first, again = draw(frame), draw(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert first.to_json() == again.to_json()
    read = json.loads(pio.from_json(first.to_json()).to_json())
    assert read == json.loads(first.to_json()), "it survives being written and read"


@every_kind
def test_a_picture_has_a_title_titled_axes_and_the_house_template(kind: str) -> None:
    draw, table = KINDS[kind]
    fig = draw(table(), title="What is seen")
    assert fig.layout.title.text == "What is seen"
    assert len(axis_titles(fig)) >= 1
    assert fig.layout.template.layout.font.size == 13


@every_kind
@pytest.mark.parametrize("empty", ["no rows", "no columns"])
def test_an_empty_table_gives_a_picture_that_says_no_data(kind: str, empty: str) -> None:
    draw, table = KINDS[kind]
    fig = draw(table().iloc[:0] if empty == "no rows" else pd.DataFrame())
    assert [a.text for a in fig.layout.annotations] == ["no data"]


@every_kind
def test_a_missing_column_is_refused_with_one_line(kind: str) -> None:
    draw, table = KINDS[kind]
    with pytest.raises(UserError, match=f"{kind}: column '[a-z]+' is missing"):
        draw(table().rename(columns=lambda name: name + "s"))


def traces(fig: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in fig.data}


def test_one_run_shows_its_total_its_parts_and_its_validation() -> None:
    fig = plots.training_curves(history())
    assert list(traces(fig)) == [
        "total loss",
        "bpr",
        "reg",
        "Recall@20",
        "best Recall@20",
        "NDCG@20",
        "best NDCG@20",
        "best epoch",
    ]
    assert "epoch" in axis_titles(fig)
    assert traces(fig)["best Recall@20"].x == (4,)


def test_an_epoch_without_validation_is_left_out_of_the_metric_and_not_of_the_loss() -> None:
    fig = traces(plots.training_curves(history(every=2)))
    assert list(fig["Recall@20"].x) == [2, 4, 6]
    assert len(fig["total loss"].x) == 6


def test_a_run_without_validation_and_a_single_part_is_one_line() -> None:
    frame = history()[["epoch", "loss", "loss_bpr", "seconds"]]
    assert list(traces(plots.training_curves(frame))) == ["total loss"]


def test_models_are_drawn_in_their_colours_and_seeds_share_a_legend_entry() -> None:
    frame = pd.concat([history().assign(model=m, run=f"{m}{s}") for m in MODELS for s in (0, 1)])
    fig = plots.training_curves(frame, x="seconds")
    losses = [t for t in fig.data if t.xaxis == "x"]
    assert [t.line.color for t in losses] == [plots.model_color(m) for m in MODELS for _ in (0, 1)]
    assert [t.showlegend for t in losses] == [True, False] * 3
    assert list(losses[0].x) == [2, 4, 6, 8, 10, 12]
    assert "training time (s)" in axis_titles(fig)
    with pytest.raises(UserError, match="valid_recal@20"):
        plots.training_curves(frame, metrics=["recal@20"])


def test_a_model_has_the_same_colour_in_every_picture() -> None:
    bars = plots.metric_comparison(scores())
    dots = traces(plots.group_comparison(groups()))
    costly = traces(plots.pareto(costs()))
    for place, model in enumerate(MODELS):
        assert (
            bars.data[0].marker.color[place]
            == dots[model].marker.color
            == costly[model].marker.color
            == plots.model_color(model)
        )


def test_bars_have_a_panel_a_metric_and_limits_as_distances() -> None:
    fig = plots.metric_comparison(scores())
    assert [list(t.x) for t in fig.data] == [MODELS, MODELS]
    np.testing.assert_allclose(fig.data[0].error_y.array, 0.02)
    np.testing.assert_allclose(fig.data[0].error_y.arrayminus, 0.01)
    assert {"Recall@20, mean over users", "NDCG@20, mean over users"} <= set(axis_titles(fig))
    assert not fig.layout.shapes


def test_perfect_knowledge_is_a_line_over_its_own_panel() -> None:
    frame = scores().assign(bound=lambda f: np.where(f.metric == "ndcg@20", 0.3, np.nan))
    (line,) = plots.metric_comparison(frame).layout.shapes
    assert (line.y0, line.y1, line.yref) == (0.3, 0.3, "y2")


def test_one_metric_may_be_named_beside_the_table() -> None:
    fig = plots.metric_comparison(scores(metrics=("recall@20",)).drop(columns="metric"), metric="recall@50")
    assert axis_titles(fig) == ["Recall@50, mean over users"]


def test_the_forest_colours_verdicts_and_never_says_p_is_zero() -> None:
    fig = plots.difference_forest(differences(), metric="recall@20")
    found = traces(fig)
    assert [list(found[name].y) for name in ("favours the first", "no difference shown", "favours the second")] == [
        [0],
        [1],
        [2],
    ]
    assert [found[n].marker.color for n in found] == [GOOD, BAD, NEUTRAL]
    assert list(fig.layout.yaxis.ticktext) == ["freedom − bpr", "DiffCL − bpr", "vbpr − bpr"]
    assert [a.text for a in fig.layout.annotations] == ["p < 0.001", "p = 0.60", "p = 0.020"]
    assert axis_titles(fig) == ["difference of Recall@20, mean over users"]
    assert [p_text(p) for p in (0.0, 0.05, 1.0)] == ["p < 0.001", "p = 0.050", "p = 1.00"]
    unshown = differences().assign(verdict="no difference shown")
    assert plots.difference_forest(unshown).layout.showlegend, "one entry alone has no legend unless it is asked for"


def test_wins_ties_and_losses_are_shares_of_all_users() -> None:
    found = traces(plots.win_tie_loss(differences()))
    total = sum(np.asarray(found[name].x, dtype=float) for name in ("first better", "equal", "second better"))
    np.testing.assert_allclose(total, 100)
    np.testing.assert_allclose(found["first better"].x, [30, 10, 5])
    assert list(found["second better"].text) == ["10", "10", "35"]


def test_groups_keep_their_order_and_show_their_size() -> None:
    fig = plots.group_comparison(groups())
    shown = [str(label) for label in fig.layout.xaxis.categoryarray]
    assert [label.split("<br>")[0] for label in shown] == ["1–4", "5 and more"]
    assert "n = 1,200" in shown[0]
    assert set(fig.data[0].x) == set(shown)


def test_the_front_joins_what_nothing_beats_in_both() -> None:
    fig = plots.pareto(costs())
    front = traces(fig)["best for its cost"]
    assert list(front.x) == [10, 100]
    assert fig.layout.xaxis.type == "log"
    by_memory = plots.pareto(costs(), cost="peak_mb")
    assert list(traces(by_memory)["best for its cost"].x) == [5, 9, 70]
    assert "MB" in by_memory.layout.xaxis.title.text
    with pytest.raises(UserError, match="seconds = 0"):
        plots.pareto(costs().assign(seconds=[0.0, 1.0, 2.0]))


def test_the_degree_curve_is_the_share_with_at_least_k() -> None:
    items = traces(plots.degree_distribution(interactions()))["items (5)"]
    assert list(items.x) == [1, 2, 4, 8]
    np.testing.assert_allclose(items.y, [100, 60, 40, 20])


def test_the_popularity_curve_and_gini_are_those_of_the_definition() -> None:
    fig = plots.popularity_curve(interactions())
    np.testing.assert_allclose(traces(fig)["items"].y, [0, 50, 75, 87.5, 93.75, 100])
    counts = np.array([8, 4, 2, 1, 1])
    gini = np.abs(counts[:, None] - counts).sum() / (2 * 5 * counts.sum())
    said = re.search(r"Gini (\S+)", fig.layout.annotations[0].text)
    assert said is not None
    assert float(said[1]) == pytest.approx(gini, abs=0.0051)
    assert "20 % of the items hold 50 %" in fig.layout.annotations[0].text
    level = plots.popularity_curve(pd.DataFrame({"item": np.arange(10)}))
    assert "Gini 0.00" in level.layout.annotations[0].text


@pytest.mark.parametrize(("days", "unit"), [(1, "day"), (20, "week"), (200, "month")])
def test_time_is_cut_into_units_that_fit_the_span(days: int, unit: str) -> None:
    frame = interactions().assign(timestamp=lambda f: f.timestamp * days)
    fig = plots.interactions_over_time(frame, by="split")
    assert axis_titles(fig) == ["date (UTC)", f"interactions a {unit}"]
    assert sum(sum(t.y) for t in fig.data) == len(frame)
    assert [t.name for t in fig.data] == ["train", "valid"]


def test_splits_may_be_put_together_without_a_new_index() -> None:
    frame = pd.concat([interactions().assign(split="a"), interactions().assign(split="b")])
    fig = plots.interactions_over_time(frame, by="split")
    assert [sum(t.y) for t in fig.data] == [16, 16]


def test_an_order_is_not_called_a_date() -> None:
    fig = plots.interactions_over_time(pd.DataFrame({"timestamp": [1, 1, 2]}), clock="order")
    assert axis_titles(fig) == ["position within the user's history", "interactions"]
    assert list(fig.data[0].y) == [2, 1]


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_spectra_are_those_of_the_singular_values(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(0).normal(size=shape) + 5
    found = plots.spectra({"text": table}).share.to_numpy()
    values = np.linalg.svd(table - table.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(found, values / values.sum(), atol=1e-6)


def test_large_features_give_the_same_leading_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbkit.plots.features._DENSE", 50)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 100)) * 5 + rng.normal(size=(120, 100))
    found = plots.spectra({"image": table}, components=4).share.to_numpy()
    values = np.linalg.svd(table - table.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(found[:3], (values / values.sum())[:3], rtol=0.01)
    np.testing.assert_allclose(found, (values / values.sum())[:4], rtol=0.1)


def test_constant_features_have_no_variance_to_share() -> None:
    assert plots.spectra({"text": np.ones((5, 3))}).share.sum() == 0
    assert plots.spectra({}).empty


def test_noise_is_a_share_of_what_is_observed_and_missing_comes_on_top() -> None:
    fig = traces(plots.noise_truth(truth()))
    np.testing.assert_allclose(fig["clean"].x, [75, 90])
    np.testing.assert_allclose(fig["noise"].x, [25, 10])
    np.testing.assert_allclose(fig["missing"].x, [10])


def test_the_truth_of_a_data_set_is_counted(make_planted: Callable[..., MultimodalDataset]) -> None:
    clean = make_planted()
    assert plots.truth_table(clean).empty
    pairs = clean.train.pairs()
    rows = np.zeros(clean.num_items, dtype=bool)
    rows[:5] = True
    known = clean.replace(truth=Truth(noisy_pairs=pairs[:7], missing_pairs=pairs[:3], noisy_rows={"text": rows}))
    counted = plots.truth_table(known).set_index(["part", "kind"])["count"]
    assert counted["training pairs", "noise"] == 7
    assert counted["training pairs", "clean"] == len(pairs) - 7
    assert counted["training pairs", "missing"] == 3
    assert counted["text features", "noise"] == 5
