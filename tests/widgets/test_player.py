"""The denoising player without a page: a fixed map, frames in place, purity once a label, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.studies.films import Film
from nbkit.widgets import player as players
from nbkit.widgets.player import TABLES, DenoisingPlayer, Places
from tests.conftest import ITEMS, planted


@pytest.fixture(scope="module")
def world() -> MultimodalDataset:
    return planted()


@pytest.fixture(scope="module")
def film() -> Film:
    """Items go in four frames in a straight line from noise to where their group is."""
    generator = np.random.default_rng(0)
    clean = np.eye(8)[np.arange(ITEMS) % 8] + 0.05 * generator.standard_normal((ITEMS, 8))
    noise = generator.standard_normal((ITEMS, 8))
    states = np.stack([share * clean + (1 - share) * noise for share in (0, 1 / 3, 2 / 3, 1)])
    predicted = np.stack([clean] * 4)
    steps, snr = (3, 2, 1, 0), np.array([0.1, 1, 10, np.inf])
    return Film("made", "text", steps, states, predicted, clean, np.arange(ITEMS)[::-1].copy(), snr)


@pytest.fixture
def player(film: Film, world: MultimodalDataset) -> DenoisingPlayer:
    made = DenoisingPlayer(film, world)
    made.labels["group"] = np.array([f"group {n % 4}" for n in range(ITEMS)])
    assert made.view is not None
    assert made.error == ""
    return made


def drawn(player: DenoisingPlayer) -> dict[int, tuple[float, float]]:
    """Where each point is on the page."""
    found = {}
    for trace in player._cloud.widget.data[:-2]:
        found |= {int(n): (x, y) for n, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)}
    return found


def test_the_map_is_fitted_on_clean_rows_and_places_every_frame(film: Film) -> None:
    places = Places(film)
    np.testing.assert_allclose(places.of["x_t"][-1], places.map.place(film.clean))
    np.testing.assert_allclose(places.of[TABLES[1]][0], places.map.place(film.clean))
    left, right, bottom, top = places.reach
    assert left < places.of["x_t"][..., 0].mean() < right
    assert bottom < places.of["x_t"][..., 1].mean() < top


@pytest.mark.parametrize("frame", [0, 2, 3])
def test_a_frame_shows_every_point_where_the_film_has_it(player: DenoisingPlayer, film: Film, frame: int) -> None:
    reach = player._cloud.widget.layout.xaxis.range
    player.state.frame = frame
    on_page = drawn(player)
    for point, xy in enumerate(player.places.of["x_t"][frame]):
        np.testing.assert_allclose(on_page[point], xy)
    assert player._cloud.widget.layout.xaxis.range == reach
    assert [shape.x0 for shape in player._curves.widget.layout.shapes] == [frame, frame]
    left = "no noise left" if frame == 3 else f"SNR {film.snr[frame]:.3g}"
    assert player._where.value == f"step <b>{film.steps[frame]}</b> of 3 · {left}"


def test_choosing_a_point_draws_its_way_and_shows_its_item(player: DenoisingPlayer, film: Film) -> None:
    player.state.point = 5
    way, ring = player._cloud.widget.data[-2:]
    np.testing.assert_allclose(np.stack([way.x, way.y], 1), player.places.of["x_t"][:, 5])
    np.testing.assert_allclose((ring.x[0], ring.y[0]), player.places.of["x_t"][0, 5])
    assert f'hit" data-item="{film.items[5]}"' in player._cards.value


def test_at_the_end_a_point_is_nearest_to_itself(player: DenoisingPlayer, film: Film) -> None:
    player.state.frame, player.state.point = 3, 7
    assert player.near()[0] == film.items[7]
    assert len(set(player.near(6))) == 6


def test_a_click_on_a_point_chooses_it(player: DenoisingPlayer) -> None:
    trace = player._cloud.widget.data[1]

    class Hit:
        point_inds = (2,)
        trace_indexes = (1,)

    for handler in trace._click_callbacks if hasattr(trace, "_click_callbacks") else trace._on_click:
        handler(trace, Hit, None)
    assert player.state.point == int(trace.customdata[2])


def test_purity_is_computed_once_a_label(player: DenoisingPlayer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = players.purity

    def counted(film: Film, labels: dict[str, np.ndarray], **more: int) -> object:
        asked.append(list(labels))
        return real(film, labels, **more)

    monkeypatch.setattr(players, "purity", counted)
    other = list(player.labels)[-1]
    player._purity.clear()
    for frame in (1, 2, 3):
        player.state.frame = frame
    assert asked == [], "a frame more is no reason"
    player.state.label = other
    player.state.frame = 0
    assert asked == [[other]]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("frame", 4, "frame = 4; expected 0 … 3"), ("point", ITEMS, f"point = {ITEMS}; expected 0 … {ITEMS - 1}")],
)
def test_what_is_not_there_is_said(film: Film, world: MultimodalDataset, name: str, value: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        DenoisingPlayer(film, world, **{name: value}).to_static()


def test_an_unknown_label_is_said_above(player: DenoisingPlayer) -> None:
    player.state.label = "popularitie"
    assert "did you mean 'popularity'" in player.error


def test_without_a_page_there_is_a_picture_of_the_frame(film: Film, world: MultimodalDataset) -> None:
    fig = DenoisingPlayer(film, world, frame=3).to_static()
    assert sum(len(trace.x) for trace in fig.data[:-2]) == ITEMS
