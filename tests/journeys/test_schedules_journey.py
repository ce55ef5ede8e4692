"""The schedule designer in a browser: sliders by keyboard, a published schedule, an impossible one, both themes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.journeys.laboratory import Journey


def test_a_schedule_is_designed_by_hand(journey: Callable[..., Journey]) -> None:
    lab = journey("schedules")
    page = lab.page
    page.locator(".nbkit-card.hit").wait_for()
    lab.shot("schedules-light")
    assert lab.value("designer.state.beta_max") == 0.999, "what a page sends back late undoes no newer change"
    before, numbers = lab.value("designer.state.t"), page.locator(".nbkit-instrument table").inner_text()

    lab.press(lab.slider("step t"), "ArrowLeft", 3)
    assert lab.until("designer.state.t", lambda t: t == before - 3) == before - 3
    page.wait_for_function("text => document.querySelector('.nbkit-instrument table').innerText !== text", arg=numbers)

    page.locator('.widget-dropdown:has(label:text-is("published")) select').select_option("DiffRec, DiffMM, DiffCL")
    assert lab.until("designer.state.steps", lambda steps: steps == 5) == 5
    assert lab.value("float(designer.state.schedule().alpha_bar[-1])") == pytest.approx(0.998)
    assert page.locator('.widget-slider:has(label:text-is("β max"))').is_hidden(), "not a number of this kind"

    lab.press(lab.slider("γ min"), "End")
    alert = page.locator('.jp-OutputArea-output:has(.nbkit-instrument) [role="alert"]')
    alert.wait_for()
    assert "expected variances that rise strictly" in alert.inner_text()
    lab.shot("schedules-error", ".jp-OutputArea-output:has(.nbkit-instrument)")
    lab.press(lab.slider("γ min"), "Home")
    alert.wait_for(state="hidden")


def test_it_follows_the_page_into_the_dark_and_fits_a_small_one(journey: Callable[..., Journey]) -> None:
    lab = journey("schedules", width=1024, height=768)
    lab.theme("JupyterLab Dark")
    assert lab.until("designer.dark", bool)
    lab.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.nbkit-instrument .js-plotly-plot .main-svg')).background"
        ".includes('rgb(20, 24, 29)')"
    )
    lab.shot("schedules-dark-1024")
    wide = lab.page.evaluate(
        "() => { const x = document.querySelector('.nbkit-instrument'); return x.scrollWidth - x.clientWidth; }"
    )
    assert wide <= 1, "nothing sticks out"
