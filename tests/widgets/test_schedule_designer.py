"""The schedule designer without a page: closed forms, who is recognised under noise, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbkit.data.dataset import MultimodalDataset
from nbkit.diffusion.schedules import linear_variance
from nbkit.errors import UserError
from nbkit.widgets.schedules import (
    PUBLISHED,
    ScheduleDesigner,
    ScheduleState,
    noised_item,
    recognised,
    schedule_table,
    standardised,
)
from tests.conftest import planted

SCHEDULE = linear_variance(10, scale=1.0, gamma_min=0.01, gamma_max=0.99)


@pytest.fixture(scope="module")
def data() -> MultimodalDataset:
    return planted()


@pytest.fixture
def rows() -> np.ndarray:
    return standardised(np.random.default_rng(0).normal(3, 5, (200, 32)))


def test_features_become_what_a_schedule_is_made_for() -> None:
    table = np.random.default_rng(0).normal(3, 5, (200, 4))
    table[:, 2] = 7
    found = standardised(table)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), [1, 1, 0, 1], atol=1e-5)


def test_the_table_holds_every_step_and_its_closed_forms() -> None:
    table = schedule_table(SCHEDULE)
    np.testing.assert_allclose(table["alpha_bar"], [1, *(1 - np.linspace(0.01, 0.99, 10))], rtol=1e-5)
    np.testing.assert_allclose(table["snr"][1:], (table["alpha_bar"] / (1 - table["alpha_bar"]))[1:], rtol=1e-4)


def test_clean_data_is_itself_and_noise_is_the_same_at_every_step(rows: np.ndarray) -> None:
    clean = noised_item(rows, 3, SCHEDULE, 0)
    np.testing.assert_array_equal(clean.noisy, clean.clean)
    assert clean.nearest[0] == 3
    assert clean.cosines[0] == pytest.approx(1)
    draws = [noised_item(rows, 3, SCHEDULE, t) for t in (4, 9)]
    noises = [
        (d.noisy - float(SCHEDULE.signal[t]) * d.clean) / float(SCHEDULE.sigma[t])
        for d, t in zip(draws, (4, 9), strict=True)
    ]
    np.testing.assert_allclose(*noises, atol=1e-4)


def test_an_item_is_recognised_until_nothing_is_left_of_it(rows: np.ndarray) -> None:
    table = recognised(rows, 3, SCHEDULE, draws=40)
    assert table["itself"].iloc[0] == 1.0
    assert table["itself"].iloc[-1] < 0.5
    assert ((table["low"] <= table["itself"]) & (table["itself"] <= table["high"])).all()
    torch.testing.assert_close(table["high"].iloc[0], 1.0)


@pytest.mark.parametrize(
    ("item", "t", "said"), [(200, 1, "item = 200; expected a row from 0 to 199"), (0, 11, "t = 11; expected a step")]
)
def test_what_is_not_there_is_refused(rows: np.ndarray, item: int, t: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        noised_item(rows, item, SCHEDULE, t)


def test_published_numbers_are_put_in_whole(data: MultimodalDataset) -> None:
    designer = ScheduleDesigner(data)
    assert designer.view is not None
    for name, values in PUBLISHED.items():
        designer.publish(name)
        assert {key: getattr(designer.state, key) for key in values} == values
        assert designer.error == ""
        assert designer.state.t <= designer.state.steps


def test_the_controls_of_a_kind_are_shown_and_moved_by_the_state(data: MultimodalDataset) -> None:
    designer = ScheduleDesigner(data, kind="cosine")
    assert designer.view is not None
    shown = {name for name, control in designer._controls.items() if control.layout.display != "none"}
    assert shown == {"kind", "steps", "offset", "beta_max", "t", "item", "modality"}
    designer._controls["t"].value = 17
    assert designer.state.t == 17
    designer.state.item = 5
    assert designer._controls["item"].value == 5
    assert 'data-item="5"' in designer._cards.value


def test_an_impossible_schedule_is_said_and_the_picture_stays(data: MultimodalDataset) -> None:
    designer = ScheduleDesigner(data)
    assert designer.view is not None
    curves = designer._curves.widget.data[0].y
    with designer.together():
        designer.state.gamma_min, designer.state.gamma_max = 0.3, 0.2
    assert "expected variances that rise strictly" in designer.error
    np.testing.assert_array_equal(designer._curves.widget.data[0].y, curves)


def test_a_picture_is_there_without_a_page(data: MultimodalDataset) -> None:
    fig = ScheduleDesigner(data, steps=7).to_static()
    assert [len(trace.x) for trace in fig.data[:3]] == [7, 7, 7]


def test_a_step_beyond_the_last_is_no_state_for_long(data: MultimodalDataset) -> None:
    designer = ScheduleDesigner(data, steps=50, t=40)
    assert designer.view is not None
    designer.state.steps = 20
    assert designer.state.t == 20
    assert designer.error == ""


def test_state_alone_draws_nothing() -> None:
    state = ScheduleState(kind="linear_beta", steps=3)
    assert state.schedule().steps == 3
