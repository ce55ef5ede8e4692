"""The model arena in a browser: models chosen, losers lassoed by mouse, everybody let go."""

from __future__ import annotations

from collections.abc import Callable

from tests.journeys.laboratory import Journey


def test_the_losers_are_lassoed(journey: Callable[..., Journey]) -> None:
    lab = journey("model_arena")
    page = lab.page
    page.locator(".nbkit-instrument", has_text="after Holm over 3 pairs").wait_for()
    page.locator('.nbkit-instrument button:has-text("nobody")').click()
    lab.until("arena.state.selected", lambda selected: selected == [])
    lab.shot("arena-light")

    plot = page.locator(".nbkit-instrument .js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    box = plot.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    zero = page.evaluate(
        "() => { const axis = document.querySelector('.nbkit-instrument .js-plotly-plot')._fullLayout.yaxis;"
        " return axis.l2p(0); }"
    )
    left, right = box["x"] + 2, box["x"] + box["width"] - 2
    top, bottom = box["y"] + zero + 6, box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
    chosen = lab.until("arena.state.selected", lambda selected: len(selected) > 10)
    losers = set(lab.value("arena.users().query(\"outcome == 'second better'\")['user'].tolist()"))
    assert set(chosen) <= losers
    assert len(chosen) > 0.9 * len(losers), "below zero lie the losers, and nobody else"
    page.locator(".nbkit-instrument", has_text=f"{len(chosen)} selected users").wait_for()
    page.locator(".nbkit-instrument td", has_text="share of accidental clicks").wait_for()
    lab.shot("arena-lassoed")

    page.locator('.widget-dropdown:has(label:text-is("second")) select').select_option("lightgcn")
    alert = page.locator('.jp-OutputArea-output:has(.nbkit-instrument) [role="alert"]')
    alert.wait_for()
    assert "against itself" in alert.inner_text()
    page.locator('.widget-dropdown:has(label:text-is("second")) select').select_option("vbpr")
    alert.wait_for(state="hidden")
    page.locator(".nbkit-instrument", has_text="lightgcn less vbpr").wait_for()
    lab.theme("JupyterLab Dark")
    lab.until("arena.dark", bool)
    lab.shot("arena-dark")
