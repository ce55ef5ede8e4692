"""Journeys: instruments used as people use them, in JupyterLab in a real browser, checked on page and in kernel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbkit.plots.pictures import browser_path
from tests.journeys.laboratory import BROWSER, Journey, Lab

ROOT = Path(__file__).parents[2]
HOW = "no browser: on Debian and Ubuntu `apt-get install chromium`, elsewhere Chrome"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if browser_path() is None:
        pytest.skip(HOW)
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks" / "explore", folder / "explore")
    server = Lab(folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def chromium(lab: Lab) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def journey(lab: Lab, chromium: Any) -> Iterator[Callable[..., Journey]]:
    """Opens and runs a notebook of ``explore``; at the end the page must have had nothing to complain about."""
    opened: list[Journey] = []

    def start(name: str, *, width: int = 1280, height: int = 900) -> Journey:
        lab.fresh()
        page = chromium.new_context(viewport={"width": width, "height": height}).new_page()
        begun = Journey(lab, page, f"explore/{name}.ipynb")
        opened.append(begun)
        begun.open()
        return begun

    yield start
    for each in opened:
        each.close()
        each.page.context.close()
        assert not each.complaints, each.complaints
