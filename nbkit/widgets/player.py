"""Denoising player: the items of a shop on one fixed map, from noise to structure, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets

from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError, nearest
from nbkit.plots.diffusion import cloud, film_curves
from nbkit.plots.projection import FixedMap, Method
from nbkit.studies.films import Film, item_labels, purity
from nbkit.widgets.base import Instrument, Picture, link
from nbkit.widgets.cards import Card, cards_html, title_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget

TABLES = ("x_t", "x̂_0")  # the state at a step, and the clean rows that the model predicts from it


class PlayerState(traitlets.HasTraits):
    """Which frame is seen, of which table, coloured by what, and whose way is drawn."""

    frame = traitlets.Int(0, min=0)
    table = traitlets.Enum(TABLES, "x_t")
    label = traitlets.Unicode("")
    point = traitlets.Int(0, min=0)


class Places:
    """A film's points on the map, which is fitted on the clean rows and never moves.

    Shapes: by table ``(K + 1, P, 2)``; ``reach`` is the left, right, bottom and top that hold all but the outermost of
    any frame.
    """

    def __init__(self, film: Film, method: Method = "pca") -> None:
        self.map = FixedMap.fit(film.clean, method)
        frames = dict(zip(TABLES, (film.states, film.predicted), strict=True))
        self.of = {name: np.stack([self.map.place(x) for x in table]) for name, table in frames.items()}
        everything = np.concatenate([self.map.place(film.clean), *self.of["x_t"], self.of[TABLES[1]][-1]])
        low, high = np.quantile(everything, [0.002, 0.998], axis=0)
        margin = 0.05 * (high - low)
        self.reach = tuple(float(v) for v in np.stack([low - margin, high + margin]).T.ravel())

    def path(self, table: str, point: int) -> pd.DataFrame:
        """The way of one point, one row a frame: x, y."""
        return pd.DataFrame(self.of[table][:, point], columns=["x", "y"])


class DenoisingPlayer(Instrument):
    """A film of a trained model's denoising, to be scrubbed from T to 0.

    Choosing a point draws its way and shows its card beside the items it is nearest to at that step.
    """

    state: PlayerState

    def __init__(self, film: Film, dataset: MultimodalDataset, *, method: Method = "pca", **state: Any) -> None:
        self.labels = item_labels(dataset)
        super().__init__(PlayerState(**state))
        self.state.label = self.state.label or next(iter(self.labels))
        self.film, self.dataset = film, dataset
        self.places = Places(film, method)
        self.names = [title_of(dataset, int(item)) for item in film.items]
        self.snr = pd.DataFrame({"frame": range(film.frames), "t": film.steps, "snr": film.snr})
        self._purity: dict[str, pd.DataFrame] = {}

    def purity(self) -> pd.DataFrame:
        """Neighbour purity of the chosen label at every frame, computed once a label."""
        label = self._label()
        if label not in self._purity:
            self._purity[label] = purity(self.film, {label: self.labels[label]}, k=min(10, len(self.film.items) - 1))
        return self._purity[label]

    def points(self) -> pd.DataFrame:
        """Where every point is: point, x, y, label, name."""
        self._check()
        x, y = self.places.of[self.state.table][self.state.frame].T
        label = self.labels[self._label()][self.film.items]
        return pd.DataFrame({"point": np.arange(len(x)), "x": x, "y": y, "label": label, "name": self.names})

    def near(self, k: int = 5) -> np.ndarray:
        """The items nearest to the chosen point's row at this step, by cosine with clean rows, best first."""
        self._check()
        state, film = self.state, self.film
        row = (film.states if state.table == TABLES[0] else film.predicted)[state.frame, state.point]
        lengths = np.linalg.norm(film.clean, axis=1) * max(float(np.linalg.norm(row)), 1e-12)
        order = film.items[np.argsort(-(film.clean @ row) / np.maximum(lengths, 1e-12), kind="stable")]
        _, first = np.unique(order, return_index=True)
        return np.asarray(order[np.sort(first)[:k]])

    def _label(self) -> str:
        if self.state.label not in self.labels:
            raise UserError(f"label = {self.state.label!r}; {nearest(self.state.label, self.labels)}")
        return self.state.label

    def _check(self) -> None:
        for name, value, most in (
            ("frame", self.state.frame, self.film.frames),
            ("point", self.state.point, len(self.film.items)),
        ):
            if value >= most:
                raise UserError(f"{name} = {value}; expected 0 … {most - 1}")

    def to_static(self) -> go.Figure:
        """The cloud at the chosen frame."""
        points, state = self.points(), self.state
        path = self.places.path(state.table, state.point)
        return cloud(points, self._label(), path, chosen=state.point, reach=self.places.reach)

    def content(self) -> Widget:
        from ipywidgets import HTML, BoundedIntText, Dropdown, HBox, IntSlider, Layout, Play, ToggleButtons, VBox

        film, last = self.film, self.film.frames - 1
        style, wide = {"description_width": "56px"}, Layout(width="230px")
        self._play = Play(min=0, max=last, interval=max(60, 3000 // film.frames), show_repeat=False)
        self._slider = IntSlider(
            min=0, max=last, description="frame", readout=False, style=style, layout=Layout(flex="1 1 240px")
        )
        self._where = HTML(layout=Layout(width="170px"))
        self._label_choice = Dropdown(options=list(self.labels), description="colour", style=style, layout=wide)
        self._table = ToggleButtons(
            options=[("state x_t", TABLES[0]), ("prediction x̂_0", TABLES[1])], style={"button_width": "116px"}
        )
        self._point = BoundedIntText(
            min=0, max=len(film.items) - 1, description="point", style=style, layout=Layout(width="150px")
        )
        for name, control in (
            ("frame", self._play),
            ("frame", self._slider),
            ("label", self._label_choice),
            ("table", self._table),
            ("point", self._point),
        ):
            link(self.state, name, control)
        self._cloud, self._curves, self._cards = Picture("cloud"), Picture("curves"), HTML()
        top = HBox([self._play, self._slider, self._where], layout=Layout(align_items="center"))
        below = HBox(
            [self._label_choice, self._table, self._point], layout=Layout(flex_flow="row wrap", align_items="center")
        )
        left = VBox([self._cloud.widget], layout=Layout(flex="3 1 480px", min_width="0"))
        right = VBox([self._cards, self._curves.widget], layout=Layout(flex="2 1 320px", min_width="0"))
        return VBox([top, below, HBox([left, right], layout=Layout(width="100%"))])

    def draw(self, changed: frozenset[str]) -> None:
        state, film = self.state, self.film
        points = self.points()
        if changed & {"label"} or not self._cloud.widget.data:
            self._cloud.show(self.to_static())
            self._listen()
            self._curves.show(
                film_curves(self.snr, self.purity(), frame=state.frame, label=self._label().partition(" (")[0])
            )
        else:
            self._move(points)
            self._curves.lines_to(state.frame)
        step, snr = film.steps[state.frame], film.snr[state.frame]
        left = f"SNR {snr:.3g}" if step else "no noise left"
        self._where.value = f"step <b>{step}</b> of {film.steps[0]} · {left}"
        item = int(film.items[state.point])
        own = [Card(item, "the chosen one", "hit")]
        near = [Card(int(other), "itself" if other == item else "") for other in self.near(4)]
        self._cards.value = (
            cards_html(self.dataset, own, width=92)
            + "<p>its row at this step is nearest to</p>"
            + cards_html(self.dataset, near, width=76)
        )

    def _move(self, points: pd.DataFrame) -> None:
        x, y = points["x"].to_numpy(), points["y"].to_numpy()
        path = self.places.path(self.state.table, self.state.point)
        widget = self._cloud.widget
        with widget.batch_update():
            *groups, way, ring = widget.data
            for trace in groups:
                at = np.asarray(trace.customdata)
                trace.x, trace.y = x[at], y[at]
            way.x, way.y = path["x"].to_numpy(), path["y"].to_numpy()
            ring.x, ring.y = [x[self.state.point]], [y[self.state.point]]

    def _listen(self) -> None:
        """A click on a point chooses it."""

        def chosen(trace: Any, points: Any, _: Any) -> None:
            if points.point_inds:
                self.state.point = int(trace.customdata[points.point_inds[0]])

        for trace in self._cloud.widget.data[:-2]:
            trace.on_click(chosen)
