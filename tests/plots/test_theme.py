"""One look for all figures, colours that mean the same everywhere, and no state on import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio
import pytest

from nbkit.plots import colors, model_color, model_style, no_data, theme, use_theme

PAPERS = (
    "jbmdiff",
    "m3bsr",
    "diffcl",
    "freedom",
    "lightgcn",
    "bpr",
    "vbpr",
    "bm3",
    "mgcn",
    "slmrec",
    "pgl",
    "dualgnn",
    "diffmm",
    "mmgcn",
)


@pytest.fixture(autouse=True)
def plotly_as_it_was() -> Iterator[None]:
    template, renderer = pio.templates.default, pio.renderers.default
    yield
    pio.templates.default, pio.renderers.default = template, renderer


def test_importing_the_plots_changes_nothing_in_plotly() -> None:
    code = (
        "import plotly.io as pio; before = (pio.templates.default, pio.renderers.default);"
        "import nbkit.plots; assert before == (pio.templates.default, pio.renderers.default);"
        "assert 'nbkit' not in pio.templates;"
        "import sys; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_every_paper_model_has_a_colour_of_its_own_however_it_is_spelt() -> None:
    assert len({model_color(name) for name in PAPERS}) == len(PAPERS)
    assert model_color("JBM-Diff") == model_color("jbm_diff") == model_color("jbmdiff")
    assert model_style("LightGCN") == model_style("lightgcn")


def test_an_unknown_model_keeps_its_look_from_process_to_process() -> None:
    code = "from nbkit.plots import model_style; print(tuple(model_style('my model')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tuple(model_style("my model")))


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG contrast ratio."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def simulated(color: str) -> tuple[float, ...]:
    """The colour as a deuteranope sees it (Viénot, Brettel and Mollon, 1999), in linear light."""
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c**2.2 for c in (r, g, b))
    return (0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b)


def test_every_colour_stands_out_from_the_light_and_the_dark_ground() -> None:
    grounds = [t.layout.paper_bgcolor for t in theme.templates().values()]
    for color in colors.PALETTE:
        for ground in grounds:
            assert contrast(color, ground) >= 2, (color, ground)
    for template in theme.templates().values():
        assert contrast(template.layout.font.color, template.layout.paper_bgcolor) >= 7


def test_the_first_colours_differ_for_the_colour_blind() -> None:
    first = [simulated(c) for c in colors.PALETTE[:7]]
    gaps = [sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 for i, a in enumerate(first) for b in first[:i]]
    assert min(gaps) > 0.08


@pytest.mark.parametrize(("dark", "name"), [(False, "nbkit"), (True, "nbkit_dark")])
def test_the_theme_becomes_the_default_and_figures_follow_it(dark: bool, name: str) -> None:
    renderer = pio.renderers.default
    assert use_theme(dark=dark) == name
    assert pio.templates.default == name
    assert theme.figure().layout.template.layout.paper_bgcolor == theme.templates()[name].layout.paper_bgcolor
    assert pio.renderers.default == renderer, "outside of a notebook the renderer is the user's"


def test_a_headless_notebook_keeps_json_and_pictures_only_where_a_browser_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NBKIT_HEADLESS", "1")
    use_theme()
    assert pio.renderers.default == "plotly_mimetype"
    monkeypatch.setattr("nbkit.plots.pictures.browser_path", lambda: None)
    use_theme(pictures=True)
    assert pio.renderers.default == "plotly_mimetype"
    monkeypatch.setattr("nbkit.plots.pictures.browser_path", lambda: "/usr/bin/chromium")
    use_theme(pictures=True)
    assert pio.renderers.default == "plotly_mimetype+png"
    bundle = pio.renderers["plotly_mimetype"].to_mimebundle(go.Figure().to_dict())
    assert bundle["application/vnd.plotly.v1+json"]["config"]["showSendToCloud"] is False


def test_a_figure_without_data_says_so() -> None:
    fig = no_data("Groups")
    assert [a.text for a in fig.layout.annotations] == ["no data"]
    assert fig.layout.title.text == "Groups"
    assert not fig.data


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("recall@20", "Recall@20"),
        ("valid_ndcg@10", "NDCG@10"),
        ("test_map@5", "MAP@5"),
        ("average_popularity@10", "Average popularity@10"),
    ],
)
def test_metrics_are_labelled_as_papers_do(name: str, label: str) -> None:
    assert theme.metric_label(name) == label
