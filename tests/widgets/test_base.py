"""What instruments share: state to view and back, errors on the page, a picture where nobody watches."""

from __future__ import annotations

from typing import Any

import ipywidgets
import plotly.graph_objects as go
import pytest
import traitlets

from nbkit.errors import UserError
from nbkit.plots import theme
from nbkit.widgets.base import Instrument, Picture, link


class Numbers(traitlets.HasTraits):
    a = traitlets.Float(1.0)
    b = traitlets.Float(2.0)


class Adder(Instrument):
    """Shows a + b; refuses 13, and cannot add infinity."""

    state: Numbers

    def content(self) -> Any:
        self.drawn: list[frozenset[str]] = []
        self.sum = ipywidgets.Label()
        return ipywidgets.VBox([self.sum])

    def draw(self, changed: frozenset[str]) -> None:
        self.drawn.append(changed)
        self.sum.value = f"{self.total():g} {theme.figure().layout.paper_bgcolor}"
        self.back = theme.figure().layout.template.layout.paper_bgcolor

    def total(self) -> float:
        if self.state.a == 13:
            raise UserError("a = 13; expected a luckier number")
        if self.state.a == float("inf"):
            raise ZeroDivisionError("infinite")
        return float(self.state.a + self.state.b)

    def to_static(self) -> go.Figure:
        return theme.no_data(f"{self.total():g}")


@pytest.fixture
def adder() -> Adder:
    made = Adder(Numbers())
    assert made.view is made.view
    return made


def test_a_change_of_state_is_drawn_and_says_what_changed(adder: Adder) -> None:
    adder.state.a = 5
    assert adder.sum.value.startswith("7")
    assert adder.drawn == [frozenset({"a", "b"}), frozenset({"a"})]


def test_changes_made_together_are_drawn_once(adder: Adder) -> None:
    with adder.together():
        adder.state.a, adder.state.b = 10, 20
    assert adder.drawn[1:] == [frozenset({"a", "b"})]
    assert adder.sum.value.startswith("30")


@pytest.mark.parametrize(
    ("a", "said", "detail"), [(13, "a = 13; expected a luckier number", False), (float("inf"), "infinite", True)]
)
def test_errors_are_shown_above_and_go_when_it_works_again(adder: Adder, a: float, said: str, detail: bool) -> None:
    message = adder.view.children[1]
    adder.state.a = a
    assert said in adder.error
    assert said in message.value
    assert message.layout.display == "block"
    assert ("Traceback" in message.value) is detail, "a user is shown a line, a bug its traceback"
    adder.state.a = 1
    assert adder.error == ""
    assert message.layout.display == "none"


def test_what_goes_wrong_in_a_button_stays_in_sight_though_drawing_works(adder: Adder) -> None:
    def act() -> None:
        adder.state.b = 3  # drawn without a complaint
        raise UserError("the store is gone")

    adder.guarded(act)(None)
    assert adder.error == "the store is gone"
    assert adder.sum.value.startswith("4")


def test_a_refused_change_inside_a_button_is_shown_though_the_button_went_on(adder: Adder) -> None:
    adder.guarded(lambda: adder.state.set_trait("a", 13))(None)
    assert adder.error.startswith("a = 13")


def test_text_from_data_cannot_write_into_the_page(adder: Adder) -> None:
    adder.guarded(lambda: (_ for _ in ()).throw(UserError("<img src=x onerror=alert(1)>")))(None)
    assert "<img" not in adder.view.children[1].value


def test_it_turns_with_the_page(adder: Adder) -> None:
    light = adder.back
    page = adder.view.children[0]
    page.dark = True
    assert adder.dark
    assert adder.back != light


def test_where_nobody_watches_a_picture_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setenv("NBKIT_HEADLESS", "1")
    quiet = Adder(Numbers())
    quiet._ipython_display_()
    assert [type(each) for each in shown] == [go.Figure]
    assert quiet._view is None, "no widget was made"


class Page:
    """A slider's page: it rounds what it is given and sends it back when it is its turn."""

    def __init__(self, control: Any) -> None:
        self.control, self.waiting = control, list[float]()
        control.observe(lambda change: self.waiting.append(change["new"]), "value")

    def answer(self) -> None:
        given, self.waiting = self.waiting, []
        for value in given:
            self.control.value = value * (1 + 1e-12)


@pytest.fixture
def tied() -> tuple[Numbers, Any, Page]:
    state, control = Numbers(), ipywidgets.FloatSlider(min=0, max=100)
    page = Page(control)
    link(state, "a", control)
    return state, control, page


def test_a_page_that_rounds_undoes_no_newer_change(tied: tuple[Numbers, Any, Page]) -> None:
    state, control, page = tied
    state.a = 20.0
    state.a = 50.0
    page.answer()
    assert state.a == 50.0 == pytest.approx(control.value)


def test_a_hand_is_heard_at_once_and_may_go_back_to_where_it_was(tied: tuple[Numbers, Any, Page]) -> None:
    state, control, page = tied
    state.a = 20.0
    page.answer()
    control.value = 30.0
    assert state.a == 30.0
    control.value = 20.0
    assert state.a == 20.0


def test_a_picture_is_changed_in_place_and_only_where_it_differs() -> None:
    picture = Picture("test")
    picture.show(go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), layout={"title": "one"}))
    trace = picture.widget.data[0]
    picture.show(go.Figure(go.Scatter(x=[1, 2], y=[3, 9]), layout={"title": "two"}))
    assert picture.widget.data[0] is trace
    assert list(trace.y) == [3, 9]
    assert picture.widget.layout.title.text == "two"
    picture.show(go.Figure(go.Bar(x=[1], y=[2])))
    assert [each.type for each in picture.widget.data] == ["bar"]
    assert picture.widget.layout.title.text is None


def test_a_cursor_moves_alone() -> None:
    picture = Picture("test")
    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    fig.add_vline(x=1)
    picture.show(fig)
    picture.lines_to(2)
    assert [(shape.x0, shape.x1) for shape in picture.widget.layout.shapes] == [(2, 2)]
