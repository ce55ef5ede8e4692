"""The recommendation inspector in a browser: another user typed, a stranger refused, a score explained and split."""

from __future__ import annotations

from collections.abc import Callable

from tests.journeys.laboratory import Journey


def test_a_shopper_is_inspected(journey: Callable[..., Journey]) -> None:
    lab = journey("recommendation_inspector")
    page = lab.page
    page.locator(".nbkit-instrument", has_text="held-out items among 8").wait_for()
    lab.shot("inspector-light")
    assert page.locator(".nbkit-instrument .nbkit-card img").count() > 20, "products are seen"

    box = page.locator('.widget-text:has(label:text-is("user")) input')
    box.fill("u0000012")
    box.press("Enter")
    lab.until("inspector.state.user", lambda user: user == 12)
    history = lab.value("len(inspector.inspections['vbpr'].history(12))")
    page.locator(".nbkit-instrument", has_text=f"history, {history} clicks").wait_for()

    box.fill("u99")
    box.press("Enter")
    alert = page.locator('.jp-OutputArea-output:has(.nbkit-instrument) [role="alert"]')
    alert.wait_for()
    assert "no user 'u99'" in alert.inner_text()

    page.locator('.widget-dropdown:has(label:text-is("explain")) select').select_option(index=2)
    item = lab.until("inspector.state.item", lambda item: item >= 0)
    alert.wait_for(state="hidden")
    assert lab.value(f"{item} in set(inspector.lists()['jbm_diff']['item'])")
    page.locator('.widget-checkbox:has-text("split the scores") input').click()
    page.locator(".nbkit-instrument .js-plotly-plot .legendtext", has_text="ids and clicks").wait_for()
    lab.shot("inspector-split")
    lab.theme("JupyterLab Dark")
    lab.until("inspector.dark", bool)
    lab.shot("inspector-dark")
