"""The denoising player in a browser: scrubbed by keys, played, coloured, a point chosen by a click."""

from __future__ import annotations

from collections.abc import Callable

from tests.journeys.laboratory import Journey

FIRST = "() => document.querySelector('.nbkit-instrument .js-plotly-plot').data[0].x[0]"


def test_items_move_from_noise_to_structure(journey: Callable[..., Journey]) -> None:
    lab = journey("denoising_player")
    page = lab.page
    page.locator(".nbkit-card.hit").wait_for()
    lab.shot("player-first")
    last = lab.value("shown.frames") - 1
    before = page.evaluate(FIRST)
    reach = "() => JSON.stringify(document.querySelector('.nbkit-instrument .js-plotly-plot').layout.xaxis.range)"
    fixed = page.evaluate(reach)

    lab.press(lab.slider("frame"), "ArrowRight", 2)
    assert lab.until("player.state.frame", lambda frame: frame == 2) == 2
    page.wait_for_function(f"was => ({FIRST})() !== was", arg=before)
    lab.press(lab.slider("frame"), "End")
    lab.until("player.state.frame", lambda frame: frame == last)
    page.locator(".nbkit-instrument", has_text="step 0 of").wait_for()
    assert page.evaluate(reach) == fixed, "the map never moves"
    lab.shot("player-last")

    page.locator('.widget-dropdown:has(label:text-is("colour")) select').select_option(index=2)
    wanted = lab.value("list(player.labels)[2]")
    lab.until("player.state.label", lambda label: label == wanted)
    page.locator('.widget-toggle-buttons button:has-text("prediction")').click()
    lab.until("player.state.table", lambda table: table != "x_t")

    lab.press(lab.slider("frame"), "Home")
    lab.until("player.state.frame", lambda frame: frame == 0)
    page.locator(".widget-play button").first.click()
    lab.until("player.state.frame", lambda frame: frame >= 3)


def test_a_click_on_a_point_chooses_it(journey: Callable[..., Journey]) -> None:
    lab = journey("denoising_player", width=1600)
    page = lab.page
    page.locator(".nbkit-card.hit").wait_for()
    where = """() => {
        const plot = document.querySelector('.nbkit-instrument .js-plotly-plot');
        const {xaxis: x, yaxis: y} = plot._fullLayout, trace = plot.data[0];
        plot.scrollIntoView({block: 'center'});
        const now = plot.getBoundingClientRect();
        return {x: now.left + x._offset + x.l2p(trace.x[3]), y: now.top + y._offset + y.l2p(trace.y[3])};
    }"""
    place = page.evaluate(where)
    page.mouse.move(place["x"] - 40, place["y"] - 40)
    page.mouse.move(place["x"], place["y"], steps=5)
    page.wait_for_timeout(300)
    page.mouse.click(place["x"], place["y"])
    chosen = lab.until("player.state.point", lambda point: point != 0)
    item = lab.value(f"int(shown.items[{chosen}])")
    page.locator(f'.nbkit-card.hit[data-item="{item}"]').wait_for()
    lab.theme("JupyterLab Dark")
    lab.until("player.dark", bool)
    lab.shot("player-dark-1600")
