"""What all instruments share: state, then compute, then view; errors on the page; a picture where nobody watches."""

from __future__ import annotations

import math
import os
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from nbkit.errors import UserError
from nbkit.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget


def headless() -> bool:
    """Whether nobody is watching: papermill, nbval or a plain script (``NBKIT_HEADLESS=1`` says so outright)."""
    if os.environ.get("NBKIT_HEADLESS"):
        return True
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is None


class Instrument(ABC):
    """A widget in three parts: ``state`` says what is looked at, pure functions compute it, the view shows it.

    The state is traitlets and draws nothing, so a program may set it as well as a hand. Whatever goes wrong after a
    change is shown above the instrument. Where nobody watches, a picture (``to_static``) takes its place, and no state
    of widgets gets into the notebook.
    """

    def __init__(self, state: traitlets.HasTraits) -> None:
        self.state = state
        self.dark = False
        self.error = ""  # what is shown above the instrument
        self._lock = threading.RLock()
        self._depth, self._failed = 0, False
        self._waiting: set[str] | None = None  # traits changed together, to be drawn once
        self._view: Widget | None = None

    @abstractmethod
    def content(self) -> Widget:
        """The controls and pictures, made once; ``draw`` fills them."""

    @abstractmethod
    def draw(self, changed: frozenset[str]) -> None:
        """Bring the view up to date with the state; ``changed`` names the traits that did, all of them at first."""

    @abstractmethod
    def to_static(self) -> go.Figure:
        """The state as a figure, for pages without a kernel."""

    @property
    def view(self) -> Widget:
        """What is shown in a notebook: one widget, however often it is asked for."""
        if self._view is None:
            from ipywidgets import HTML, Layout, VBox

            from nbkit.widgets.page import PageTheme

            self._message = HTML(layout=Layout(display="none"))
            page = PageTheme()
            content = self.content()
            content.add_class("nbkit-instrument")
            self._view = VBox([page, self._message, content])
            self.redraw(frozenset(self.state.trait_names()))
            self.state.observe(lambda change: self._changed(change["name"]))
            page.observe(lambda change: self._turn(change["new"]), "dark")
        return self._view

    def redraw(self, changed: frozenset[str]) -> None:
        """``draw`` in the page's colours, one caller at a time, errors shown."""
        with self.guard(), theme.look(dark=self.dark):
            self.draw(changed)

    def _changed(self, name: str) -> None:
        if self._waiting is None:
            self.redraw(frozenset({name}))
        else:
            self._waiting.add(name)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Several changes of the state that are drawn once, when all are made."""
        with self._lock:
            self._waiting = set()
            try:
                with self.state.hold_trait_notifications():
                    yield
            finally:
                changed, self._waiting = self._waiting, None
            if changed and self._view is not None:
                self.redraw(frozenset(changed))

    def _turn(self, dark: bool) -> None:
        self.dark = dark
        self.redraw(frozenset(self.state.trait_names()))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Shows what goes wrong inside above the instrument: one line of a UserError, else its traceback to unfold."""
        with self._lock:
            self._failed = self._failed and self._depth > 0
            self._depth += 1
            try:
                yield
            except UserError as error:
                self._say(str(error))
            except Exception as error:
                self._say(f"{type(error).__name__}: {error}", traceback.format_exc())
            finally:
                self._depth -= 1
                if not self._depth and not self._failed:
                    self._say("")

    def guarded(self, act: Callable[[], Any]) -> Callable[..., None]:
        """A handler for buttons and events that runs ``act`` and shows what goes wrong."""

        def handler(*_: Any) -> None:
            with self.guard(), theme.look(dark=self.dark):
                act()

        return handler

    def _say(self, text: str, detail: str = "") -> None:
        self.error, self._failed = text, bool(text)
        if self._view is not None:
            self._message.value = message_html(text, detail)
            self._message.layout.display = "block" if text else "none"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if headless():
            display(self.to_static())
        else:
            display(self.view)


def link(state: traitlets.HasTraits, name: str, control: Any) -> None:
    """Tie a control's value to a trait, both ways.

    A page rounds the numbers that a slider is given and sends them back, after the cell at hand. That would undo a
    newer change and put .0200000004 where .02 was set. So a number that comes back as it was given is not taken for a
    hand, once for each time it was given, until a hand has moved the control.
    """
    given: list[float] = []

    def to_control(value: Any) -> None:
        if not _near(control.value, value):
            if isinstance(value, float):
                given.append(value)
            with suppress(traitlets.TraitError):  # what a control cannot show, drawing will say more of
                control.value = value

    def to_state(change: Mapping[str, Any]) -> None:
        new, now = change["new"], getattr(state, name)
        if _near(new, now):
            return
        back = next((n for n, old in enumerate(given) if _near(new, old)), None)
        if back is None:
            given.clear()
            state.set_trait(name, new)
        else:
            del given[: back + 1]
            control.value = now

    to_control(getattr(state, name))
    state.observe(lambda change: to_control(change["new"]), name)
    control.observe(to_state, "value")


def _near(a: Any, b: Any) -> bool:
    return bool(math.isclose(a, b, rel_tol=1e-9)) if isinstance(a, float) and isinstance(b, float) else a == b


def message_html(text: str, detail: str = "") -> str:
    """An error as people see it, with what is behind it to unfold."""
    if not text:
        return ""
    more = f"<details><summary>where</summary><pre>{escape(detail)}</pre></details>" if detail else ""
    style = "border-left:4px solid #D55E00;padding:6px 12px;line-height:1.4"
    return f'<div role="alert" style="{style}"><b>{escape(text)}</b>{more}</div>'


class Picture:
    """A plotly figure on the page that is drawn anew in place, so that zoom and hover survive."""

    def __init__(self, label: str) -> None:
        from plotly.graph_objects import FigureWidget

        self.widget = FigureWidget()
        self.widget._config = dict(theme.CONFIG)
        self.label = label

    def show(self, figure: go.Figure) -> None:
        """Draw a figure; traces of the same kinds in the same order are changed, else all are replaced.

        It should be as high as the one before: told of a new height, plotly no longer fills the width of its place.
        """
        old, new = self.widget.data, figure.data
        with self.widget.batch_update():
            if [trace.type for trace in old] == [trace.type for trace in new]:
                for trace, like in zip(old, new, strict=True):
                    _change(trace, like.to_plotly_json())
            else:
                self.widget.data = []
                self.widget.add_traces(new)
            _change(self.widget.layout, figure.layout.to_plotly_json())

    def lines_to(self, x: float) -> None:
        """Move the figure's lines to x and leave all else: for a cursor, which follows a hand."""
        with self.widget.batch_update():
            for shape in self.widget.layout.shapes:
                shape.x0 = shape.x1 = x


def _change(part: Any, wanted: Mapping[str, Any]) -> None:
    """Make a trace or layout what is wanted, leaving alone what is the same: only differences travel to the page."""
    has = part.to_plotly_json()
    gone = {key: None for key in has if key not in wanted and key not in ("type", "uid")}
    for key, value in {**gone, **{key: value for key, value in wanted.items() if key != "type"}}.items():
        if not _same(has.get(key), value):
            part[key] = value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
