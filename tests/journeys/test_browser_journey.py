"""The run browser in a browser: a run looked into, two compared, a command copied, a folder deleted meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.journeys.laboratory import Journey


def test_runs_are_looked_into_and_compared(journey: Callable[..., Journey]) -> None:
    lab = journey("run_browser")
    page = lab.page
    rows = page.locator(".nbkit-instrument tbody tr:has(td)", has_text="boutique")
    rows.first.wait_for()
    listed = lab.value("browser._rows")
    rows.nth(0).click()
    lab.until("browser.state.selected", lambda selected: selected == listed[:1])
    page.locator(".nbkit-instrument", has_text="is done").wait_for()
    assert "nbkit train bpr --data boutique:tiny" in page.locator('textarea[aria-label="command"]').input_value()
    page.locator('button:has-text("Copy as command")').click()
    page.locator('button:has-text("Copied")').wait_for()
    lab.shot("browser-one")

    rows.nth(1).click(modifiers=["Control"])
    lab.until("len(browser.state.selected)", lambda number: number == 2)
    page.locator(".nbkit-instrument", has_text="What differs").wait_for()
    lab.theme("JupyterLab Dark")
    lab.until("browser.dark", bool)
    lab.shot("browser-two-dark")

    shutil.rmtree(lab.lab.folder / "runs" / listed[2])
    rows.nth(2).click()
    alert = page.locator('.jp-OutputArea-output:has(.nbkit-instrument) [role="alert"]')
    alert.wait_for()
    assert "is no longer in" in alert.inner_text()
    page.locator('.nbkit-instrument button:has-text("Refresh")').click()
    alert.wait_for(state="hidden")
    lab.until("len(browser._rows)", lambda number: number == len(listed) - 1)
