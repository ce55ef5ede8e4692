"""Recommendation inspector: a user's history, what several models recommend, and why."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets

from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.plots.inspection import score_bars
from nbkit.runs import RunFolder
from nbkit.studies.inspection import Inspection
from nbkit.widgets.base import Instrument, Picture, link
from nbkit.widgets.cards import Card, cards_html, title_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget


class InspectorState(traitlets.HasTraits):
    """Which user is inspected, how long the lists are, which item is explained, and whether its scores are split."""

    user = traitlets.Int(0, min=0)
    k = traitlets.Int(8, min=1, max=50)
    item = traitlets.Int(-1)  # -1: the first of the first list
    split = traitlets.Bool(False)


class RecommendationInspector(Instrument):
    """Lists of several runs on the same data for one user, hits of validation marked, and what a score rests on.

    Where noise was planted or injected, accidental clicks of the history are marked, beside how far a model believes
    each of them.
    """

    state: InspectorState

    def __init__(self, runs: Sequence[RunFolder], dataset: MultimodalDataset, **state: Any) -> None:
        if not runs:
            raise UserError("no run to inspect; expected at least one finished run")
        super().__init__(InspectorState(**state))
        self.dataset = dataset
        self.inspections: dict[str, Inspection] = {}
        for run in runs:
            inspection = Inspection(run, dataset)
            seed = run.read_json("settings.json")["seed"]
            known = inspection.name in self.inspections
            self.inspections[f"{inspection.name}, seed {seed}" if known else inspection.name] = inspection
        truth = dataset.truth.noisy_pairs if dataset.truth is not None else np.empty((0, 2), dtype=np.int64)
        self._accidents = {(int(user), int(item)) for user, item in truth}

    def lists(self) -> dict[str, pd.DataFrame]:
        """The list of each model."""
        return {name: each.listed(self.state.user, self.state.k) for name, each in self.inspections.items()}

    def explained(self) -> int:
        """The item whose scores are explained."""
        if self.state.item >= self.dataset.num_items:
            raise UserError(f"item = {self.state.item}; expected a row from 0 to {self.dataset.num_items - 1}")
        return self.state.item if self.state.item >= 0 else int(next(iter(self.lists().values()))["item"].iloc[0])

    def parts(self) -> pd.DataFrame:
        """What the explained item's score rests on, model by model: model, part, value."""
        item = self.explained()
        tables = [each.score_parts(self.state.user, item).assign(model=n) for n, each in self.inspections.items()]
        return pd.concat(tables, ignore_index=True)

    def history_cards(self) -> list[Card]:
        """The history, each click with what models believe of it, accidents marked."""
        first = next(iter(self.inspections.values()))
        history = first.history(self.state.user)
        judged = {name: each.credibility(self.state.user) for name, each in self.inspections.items()}
        beliefs = {name: of for name, of in judged.items() if of is not None}
        cards = []
        for place, item in enumerate(history):
            accident = (self.state.user, int(item)) in self._accidents
            said = [
                f"{name} {of[place]:.2f}" if len(beliefs) > 1 else f"{of[place]:.2f}" for name, of in beliefs.items()
            ]
            note = "; ".join((["an accident"] if accident else []) + (["belief " + ", ".join(said)] if said else []))
            cards.append(Card(int(item), note, "bad" if accident else ""))
        return cards

    def to_static(self) -> go.Figure:
        return score_bars(self.parts(), title=f"{title_of(self.dataset, self.explained())}: what the score rests on")

    def content(self) -> Widget:
        from ipywidgets import HTML, Checkbox, Combobox, Dropdown, HBox, IntSlider, Layout, VBox

        style = {"description_width": "56px"}
        ids = [str(user) for user in self.dataset.user_ids]
        self._rows = {name: row for row, name in enumerate(ids)}
        self._user = Combobox(options=ids[:5000], description="user", style=style, layout=Layout(width="230px"))
        self._user.observe(self.guarded(self._find), "value")
        k = IntSlider(min=1, max=20, description="top K", style=style, layout=Layout(width="280px"))
        link(self.state, "k", k)
        self._item = Dropdown(description="explain", style=style, layout=Layout(width="420px"))
        self._item.observe(self._chosen, "value")
        split = Checkbox(description="split the scores (takes seconds)", indent=False)
        link(self.state, "split", split)
        self._lists, self._why = HTML(), HTML()
        self._bars = Picture("parts")
        self._below = VBox([])
        self._filling = False
        return VBox(
            [
                HBox([self._user, k], layout=Layout(flex_flow="row wrap")),
                self._lists,
                HBox([self._item, split], layout=Layout(flex_flow="row wrap")),
                self._why,
                self._below,
            ]
        )

    def _find(self) -> None:
        """Go to the user whose id was typed."""
        wanted = self._user.value.strip()
        if wanted not in self._rows:
            near = [name for name in self._rows if wanted and wanted in name][:3]
            raise UserError(f"no user {wanted!r}; " + (f"there are {', '.join(near)}" if near else "expected an id"))
        self.state.user = self._rows[wanted]

    def _chosen(self, change: dict[str, Any]) -> None:
        if not self._filling and change["new"] is not None:
            self.state.item = change["new"]

    def draw(self, changed: frozenset[str]) -> None:
        if changed & {"user", "k"}:
            lists = self.lists()
            if "user" in changed:
                self._user.value = str(self.dataset.user_ids[self.state.user])
            self._lists.value = self._shown(lists)
            self._offer(lists)
        item = self.explained()
        self._why.value = self._because(item)
        if self.state.split:
            self._bars.show(score_bars(self.parts()))
        self._below.children = [self._bars.widget] if self.state.split else []  # hidden, it would forget its width

    def _shown(self, lists: dict[str, pd.DataFrame]) -> str:
        held = len(next(iter(self.inspections.values())).held_out(self.state.user))
        history = self.history_cards()
        html = f"<p><b>history</b>, {len(history)} clicks</p>" + cards_html(self.dataset, history[-16:], width=76)
        for name, table in lists.items():
            cards = [
                Card(int(row["item"]), f"{row['rank']} · {row['score']:.3g}", "hit" if row["hit"] else "")
                for row in table.to_dict("records")
            ]
            hits = int(table["hit"].sum())
            html += f"<p><b>{escape(name)}</b>: {hits} of {held} held-out items among {len(table)}</p>"
            html += cards_html(self.dataset, cards, width=92)
        return html

    def _offer(self, lists: dict[str, pd.DataFrame]) -> None:
        """Every item of any list may be explained."""
        items = dict.fromkeys(int(item) for table in lists.values() for item in table["item"])
        self._filling = True
        try:
            self._item.options = [(title_of(self.dataset, item)[:60], item) for item in items]
            self._item.value = self.state.item if self.state.item in items else next(iter(items))
        finally:
            self._filling = False
        if self.state.item >= 0 and self.state.item not in items:
            self.state.item = -1

    def _because(self, item: int) -> str:
        html = f"<p>Of the history, nearest to <i>{escape(title_of(self.dataset, item))}</i>:</p>"
        for name, each in self.inspections.items():
            near = each.because(self.state.user, item)
            cards = [Card(int(row["item"]), f"cosine {row['cosine']:.2f}") for row in near.to_dict("records")]
            block = f"<b>{escape(name)}</b>" + cards_html(self.dataset, cards, width=76)
            html += f'<div style="display:inline-block;vertical-align:top;margin:0 28px 8px 0">{block}</div>'
        return html
