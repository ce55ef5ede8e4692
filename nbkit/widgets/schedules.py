"""Schedule designer: drag a schedule's numbers and see what it leaves of the data, and of one real item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import traitlets

from nbkit import repro
from nbkit.data.dataset import TrainingView
from nbkit.diffusion.schedules import Schedule, cosine, linear_beta, linear_variance
from nbkit.errors import UserError
from nbkit.plots.diffusion import row_strip, schedule_panels
from nbkit.widgets.base import Instrument, Picture, link
from nbkit.widgets.cards import Card, cards_html, title_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget

KINDS: Mapping[str, tuple[Callable[..., Schedule], tuple[str, ...]]] = {
    "linear_variance": (linear_variance, ("scale", "gamma_min", "gamma_max")),
    "linear_beta": (linear_beta, ("beta_min", "beta_max")),
    "cosine": (cosine, ("offset", "beta_max")),
}
# What papers and their code use; a name puts all of its numbers in.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "DiffRec, DiffMM, DiffCL": {
        "kind": "linear_variance",
        "steps": 5,
        "scale": 0.1,
        "gamma_min": 1e-4,
        "gamma_max": 0.02,
    },
    "DDPM (Ho et al., 2020)": {"kind": "linear_beta", "steps": 1000, "beta_min": 1e-4, "beta_max": 0.02},
    "cosine (Nichol & Dhariwal, 2021)": {"kind": "cosine", "steps": 1000, "offset": 0.008, "beta_max": 0.999},
}


class ScheduleState(traitlets.HasTraits):
    """A schedule of some kind, the step that is looked at, and the item that is noised."""

    kind = traitlets.Enum(list(KINDS), "linear_variance")
    steps = traitlets.Int(50, min=1, max=1000)
    scale = traitlets.Float(1.0, min=0.001, max=1.0)
    gamma_min = traitlets.Float(1e-4, min=1e-5, max=0.5)
    gamma_max = traitlets.Float(0.98, min=1e-3, max=0.999)
    beta_min = traitlets.Float(1e-4, min=1e-6, max=0.5)
    beta_max = traitlets.Float(0.2, min=1e-3, max=0.999)
    offset = traitlets.Float(0.008, min=0.0, max=0.5)
    t = traitlets.Int(10, min=0, max=1000)
    item = traitlets.Int(0, min=0)
    modality = traitlets.Unicode("image")

    def schedule(self) -> Schedule:
        """The schedule that is set.

        Raises:
            UserError: numbers that make none, such as γ that do not rise.
        """
        make, names = KINDS[self.kind]
        return make(self.steps, **{name: getattr(self, name) for name in names})


class NoisedItem(NamedTuple):
    """An item's row at step t: clean and noisy values ``(D,)``, and the items nearest to it by cosine, best first."""

    clean: np.ndarray
    noisy: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray


def schedule_table(schedule: Schedule) -> pd.DataFrame:
    """A schedule's numbers, one row a step: t, alpha_bar, snr, posterior_variance, beta."""
    columns = {name: getattr(schedule, name).numpy() for name in ("alpha_bar", "snr", "posterior_variance")}
    return pd.DataFrame({"t": np.arange(schedule.steps + 1), **columns, "beta": schedule.betas.numpy()})


def standardised(table: np.ndarray) -> np.ndarray:
    """Feature rows whose columns have mean 0 and variance 1, constant columns 0: what a schedule is made for."""
    values = np.asarray(table, dtype=np.float32)
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 1e-6, spread, 1)


def noised_item(rows: np.ndarray, item: int, schedule: Schedule, t: int, *, k: int = 8, seed: int = 0) -> NoisedItem:
    """x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε of one item, the same ε at every step, and its ``k`` nearest of all clean rows.

    Raises:
        UserError: a step or item that is not there.
    """
    _check(rows, item, schedule, t)
    clean = rows[item]
    noise = repro.numpy_generator(seed, f"schedule {item}").standard_normal(len(clean), dtype=np.float32)
    noisy = float(schedule.signal[t]) * clean + float(schedule.sigma[t]) * noise
    cosines = _cosines(noisy[None], rows)[0]
    order = np.argsort(-cosines, kind="stable")[:k]
    return NoisedItem(clean, noisy, order, cosines[order])


def recognised(
    rows: np.ndarray, item: int, schedule: Schedule, *, draws: int = 12, points: int = 12, seed: int = 0
) -> pd.DataFrame:
    """How often an item's noisy row still has the item itself as its nearest, of ``draws`` draws at some of the steps.

    Columns: t, itself, and the 95 % Wilson interval low, high. A step back from where nobody is recognised has nothing
    to go by but what the network knows beforehand.

    Raises:
        UserError: an item that is not there.
    """
    _check(rows, item, schedule, 0)
    steps = np.unique(np.linspace(1, schedule.steps, min(points, schedule.steps)).round().astype(int))
    noise = repro.numpy_generator(seed, f"recognised {item}").standard_normal((draws, rows.shape[1]), np.float32)
    signal, sigma = schedule.signal[steps].numpy(), schedule.sigma[steps].numpy()
    noisy = signal[:, None, None] * rows[item] + sigma[:, None, None] * noise  # (steps, draws, D)
    found = (_cosines(noisy.reshape(-1, rows.shape[1]), rows).argmax(1) == item).reshape(len(steps), draws).mean(1)
    z = 1.96**2 / draws
    middle, half = (found + z / 2) / (1 + z), np.sqrt(found * (1 - found) * z + z**2 / 4) / (1 + z)
    return pd.DataFrame({"t": steps, "itself": found, "low": middle - half, "high": middle + half})


def _cosines(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1)
    scores = torch.from_numpy(queries) @ torch.from_numpy(rows).T
    return scores.numpy() / np.maximum(np.linalg.norm(queries, axis=1)[:, None] * lengths, 1e-12)


def _check(rows: np.ndarray, item: int, schedule: Schedule, t: int) -> None:
    if not 0 <= item < len(rows):
        raise UserError(f"item = {item}; expected a row from 0 to {len(rows) - 1}")
    if not 0 <= t <= schedule.steps:
        raise UserError(f"t = {t}; expected a step from 0 to {schedule.steps}")


class ScheduleDesigner(Instrument):
    """Controls of a schedule beside its curves, and one item of the data at the step that is chosen."""

    state: ScheduleState

    def __init__(self, data: TrainingView, **state: Any) -> None:
        if not data.features:
            raise UserError(f"data set {data.name!r} has no features; expected at least one modality")
        super().__init__(ScheduleState(**{"modality": data.modalities[0], **state}))
        self.data = data
        self._rows: dict[str, np.ndarray] = {}

    def rows(self) -> np.ndarray:
        """The modality's features, standardised, ``(I, D)``."""
        modality = self.state.modality
        if modality not in self._rows:
            if modality not in self.data.features:
                raise UserError(f"modality = {modality!r}; expected one of {', '.join(self.data.modalities)}")
            self._rows[modality] = standardised(self.data.features[modality])
        return self._rows[modality]

    def publish(self, name: str) -> None:
        """Put a published schedule's numbers in."""
        values = dict(PUBLISHED[name])
        with self.together():
            self.state.set_trait("t", min(self.state.t, values["steps"]))
            for trait, value in values.items():
                self.state.set_trait(trait, value)

    def panels(self) -> go.Figure:
        """The schedule's curves, with a line at the step."""
        schedule, state = self.state.schedule(), self.state
        found = recognised(self.rows(), state.item, schedule)
        return schedule_panels(schedule_table(schedule), found, t=state.t)

    def noised(self) -> NoisedItem:
        return noised_item(self.rows(), self.state.item, self.state.schedule(), self.state.t)

    def to_static(self) -> go.Figure:
        return self.panels()

    def content(self) -> Widget:
        from ipywidgets import HTML, Dropdown, HBox, Layout, VBox

        choices = {"description_width": "96px"}
        self._controls = controls(self.state, self.data)
        published = Dropdown(options=["…", *PUBLISHED], description="published", style=choices)
        published.observe(
            lambda change: change["new"] == "…" or self.guarded(lambda: self.publish(change["new"]))(), "value"
        )
        self._curves, self._strip, self._cards = Picture("schedule"), Picture("item"), HTML()
        self._numbers = HTML()
        left = VBox([published, *self._controls.values(), self._numbers], layout=Layout(width="330px", flex="none"))
        right = VBox([self._curves.widget, self._strip.widget], layout=Layout(flex="1 1 480px", min_width="0"))
        return VBox([HBox([left, right]), self._cards])

    def draw(self, changed: frozenset[str]) -> None:
        state = self.state
        used = {"kind", "steps", "t", "item", "modality", *KINDS[state.kind][1]}
        for name, control in self._controls.items():
            control.layout.display = None if name in used else "none"
        self._controls["t"].max = state.steps
        if not changed & used:
            return
        schedule = state.schedule()
        if changed == {"t"}:
            self._curves.lines_to(state.t)
        else:
            self._curves.show(self.panels())
        found = self.noised()
        self._strip.show(row_strip(pd.Series(found.clean), pd.Series(found.noisy)))
        t = state.t
        self._numbers.value = (
            f'<table class="nbkit-numbers"><tr><td>ᾱ</td><td>{schedule.alpha_bar[t]:.4f}</td></tr>'
            f"<tr><td>signal-to-noise ratio</td><td>{schedule.snr[t]:.4g}</td></tr>"
            f"<tr><td>posterior variance</td><td>{schedule.posterior_variance[t]:.4g}</td></tr></table>"
        )
        cards = [
            Card(int(item), f"cosine {cosine_:.2f}", "hit" if item == state.item else "")
            for item, cosine_ in zip(found.nearest, found.cosines, strict=True)
        ]
        head = f"<p><b>{title_of(self.data, state.item)}</b> at step {t}: the items nearest to what is left of it</p>"
        self._cards.value = head + cards_html(self.data, cards, width=100)


def controls(state: ScheduleState, data: TrainingView) -> dict[str, Any]:
    """A control for each trait, linked to it both ways."""
    from ipywidgets import BoundedIntText, Dropdown, FloatLogSlider, FloatSlider, IntSlider, ToggleButtons

    style, wide = {"description_width": "96px"}, {"width": "320px"}
    common: dict[str, Any] = {"style": style, "layout": wide}
    made: dict[str, Any] = {
        "kind": Dropdown(options=list(KINDS), description="kind", **common),
        "steps": IntSlider(min=1, max=1000, description="steps T", **common),
        "scale": FloatLogSlider(base=10, min=-3, max=0, step=0.01, description="scale s", **common),
        "gamma_min": FloatLogSlider(base=10, min=-5, max=-0.31, step=0.01, description="γ min", **common),
        "gamma_max": FloatSlider(min=0.001, max=0.999, step=0.001, readout_format=".3f", description="γ max", **common),
        "beta_min": FloatLogSlider(base=10, min=-6, max=-0.31, step=0.01, description="β min", **common),
        "beta_max": FloatSlider(min=0.001, max=0.999, step=0.001, readout_format=".3f", description="β max", **common),
        "offset": FloatSlider(min=0, max=0.5, step=0.001, readout_format=".3f", description="offset", **common),
        "t": IntSlider(min=0, max=1000, description="step t", **common),
        "item": BoundedIntText(min=0, max=data.num_items - 1, description="item", **common),
        "modality": ToggleButtons(options=data.modalities, description="modality", **common),
    }
    for name, control in made.items():
        link(state, name, control)
    return made
