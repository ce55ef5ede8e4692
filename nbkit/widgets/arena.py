"""Model arena: two models user by user; lasso the losers to see who they are."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets
from scipy.stats import mannwhitneyu

from nbkit import repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError, nearest
from nbkit.evaluation.groups import popularity_groups
from nbkit.evaluation.stats import compare_all, holm
from nbkit.plots import tables
from nbkit.plots.arena import duel_cloud
from nbkit.plots.paired import difference_forest, p_text
from nbkit.widgets.base import Instrument, Picture, link

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget


class ArenaState(traitlets.HasTraits):
    """Which two models meet, and which users are looked at."""

    first = traitlets.Unicode()
    second = traitlets.Unicode()
    selected = traitlets.Tuple(())  # rows of users, rising


def duel(scores: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """User by user, seeds averaged: user, first, second, difference, outcome.

    ``scores`` is long, as :func:`nbkit.studies.compare.scores` gives it.

    Raises:
        UserError: a model that has no scores, or one against itself.
    """
    means = scores.pivot_table(index="user", columns="model", values="value", aggfunc="mean")
    for model in (first, second):
        if model not in means:
            raise UserError(f"no scores of {model!r}; {nearest(model, means.columns)}")
    if first == second:
        raise UserError(f"{first} against itself; expected two models")
    table = pd.DataFrame({"user": means.index, "first": means[first], "second": means[second]}).reset_index(drop=True)
    table["difference"] = table["first"] - table["second"]
    sign = np.sign(table["difference"].where(table["difference"].abs() > 1e-12, 0))
    return table.assign(outcome=sign.map({1: "first better", 0: "equal", -1: "second better"}))


def profiles(dataset: MultimodalDataset) -> pd.DataFrame:
    """What is known of every user from training data, one row each: the columns are properties, in words.

    Shares of accidental clicks are there where noise was planted or injected, of categories where items have them.
    """
    pairs = dataset.train.pairs()
    users, items = pairs.T
    clicks = np.bincount(users, minlength=dataset.num_users)
    share = np.maximum(clicks, 1)
    popular = np.asarray(popularity_groups(np.bincount(items, minlength=dataset.num_items))) == "head"
    table = pd.DataFrame({"training clicks": clicks.astype(float)})
    table["share of clicks on popular items"] = np.bincount(users, popular[items], dataset.num_users) / share
    if dataset.truth is not None and len(dataset.truth.noisy_pairs):
        codes, planted = (of[:, 0] * dataset.num_items + of[:, 1] for of in (pairs, dataset.truth.noisy_pairs))
        noisy = np.isin(codes, planted)
        table["share of accidental clicks"] = np.bincount(users, noisy, dataset.num_users) / share
    if dataset.item_table is not None and "category" in dataset.item_table:
        category = dataset.item_table["category"].astype(str).to_numpy()[items]
        kinds = pd.DataFrame({"user": users, "category": category}).groupby("user")["category"]
        largest = kinds.agg(lambda of: of.value_counts(normalize=True).iloc[0])
        table["share of clicks on the favourite category"] = largest.reindex(range(dataset.num_users)).fillna(0.0)
    return table


def who(profiles: pd.DataFrame, selected: Collection[int], among: Collection[int]) -> pd.DataFrame:
    """Selected users beside the others: property, selected, others, p (Mann-Whitney), p_holm over the properties.

    The selection was made by eye, so the p-values lead to questions, not to answers.

    Raises:
        UserError: nobody selected, or nobody left.
    """
    inside = np.isin(list(among), list(selected))
    if not inside.any() or inside.all():
        raise UserError(f"{inside.sum()} of {len(inside)} users are selected; expected some and not all")
    table = profiles.loc[list(among)]
    rows = [
        {
            "property": name,
            "selected": of[inside].mean(),
            "others": of[~inside].mean(),
            "p": mannwhitneyu(of[inside], of[~inside]).pvalue if of.nunique() > 1 else 1.0,
        }
        for name, of in table.items()
    ]
    found = pd.DataFrame(rows)
    return found.assign(p_holm=holm(found["p"].to_numpy()))


class ModelArena(Instrument):
    """Two of several models: users won and lost, the interval and corrected p of all pairs, and who the selected are.

    ``scores`` is the long table of :func:`nbkit.studies.compare.scores`.
    """

    state: ArenaState

    def __init__(self, scores: pd.DataFrame, dataset: MultimodalDataset, *, metric: str = "", **state: Any) -> None:
        self.models = list(dict.fromkeys(scores["model"]))
        if len(self.models) < 2:
            raise UserError(f"the arena was given {self.models}; expected two models at least")
        super().__init__(ArenaState(**{"first": self.models[0], "second": self.models[1], **state}))
        self.scores, self.metric = scores, metric
        self.profiles = profiles(dataset)
        self.pairs = compare_all(scores, None, repro.numpy_generator(0, "bootstrap"))

    def users(self) -> pd.DataFrame:
        """The duel at hand with the users' numbers of training clicks."""
        table = duel(self.scores, self.state.first, self.state.second)
        return table.assign(clicks=self.profiles["training clicks"].to_numpy()[table["user"]].astype(int))

    def pair(self) -> pd.DataFrame:
        """The row of the two models among all comparisons, turned so that the first comes first."""
        first, second = self.state.first, self.state.second
        row = self.pairs[
            ((self.pairs["model"] == first) & (self.pairs["other"] == second))
            | ((self.pairs["model"] == second) & (self.pairs["other"] == first))
        ].copy()
        if row["model"].iloc[0] != first:
            low, high = -row["high"], -row["low"]
            row["model"], row["other"], row["difference"] = first, second, -row["difference"]
            row["low"], row["high"], row["win"], row["loss"] = low, high, row["loss"], row["win"]
            row["verdict"] = row["verdict"].map(lambda said: {"better": "worse", "worse": "better"}.get(said, said))
        return row

    def selected(self) -> pd.DataFrame:
        """Who the selected users are, beside all others of the duel."""
        return who(self.profiles, self.state.selected, self.users()["user"])

    def to_static(self) -> go.Figure:
        return duel_cloud(self.users(), first=self.state.first, second=self.state.second, metric=self.metric)

    def content(self) -> Widget:
        from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox

        style = {"description_width": "56px"}
        self._first, self._second = (
            Dropdown(options=self.models, description=name, style=style, layout=Layout(width="230px"))
            for name in ("first", "second")
        )
        link(self.state, "first", self._first)
        link(self.state, "second", self._second)
        buttons = []
        for name, outcome in (("the losers", "second better"), ("the winners", "first better"), ("nobody", "")):
            button = Button(description=name, layout=Layout(width="auto"))
            button.on_click(self.guarded(partial(self.select, outcome)))
            buttons.append(button)
        self._verdict, self._who = HTML(), HTML()
        self._cloud, self._forest = Picture("users"), Picture("difference")
        select = HTML("select with the lasso, or", layout=Layout(margin="0 4px 0 24px"))
        head = HBox([self._first, self._second, select, *buttons], layout=Layout(flex_flow="row wrap"))
        left = VBox([self._cloud.widget], layout=Layout(flex="3 1 480px", min_width="0"))
        right = VBox([self._who], layout=Layout(flex="2 1 320px", min_width="0"))
        return VBox([head, self._verdict, HBox([left, right]), self._forest.widget])

    def select(self, outcome: str) -> None:
        """Select all users of an outcome; none of an empty one."""
        users = self.users()
        self.state.selected = tuple(users.loc[users["outcome"] == outcome, "user"].tolist())

    def draw(self, changed: frozenset[str]) -> None:
        if changed & {"first", "second"}:
            cloud, pair = self.to_static(), self.pair().iloc[0]
            self._verdict.value = (
                f"<b>{pair['model']} less {pair['other']}</b>: {pair['difference']:+.4f} "
                f"({pair['low']:+.4f} – {pair['high']:+.4f}), {p_text(pair['p_holm'])} after Holm over "
                f"{len(self.pairs)} pairs: <b>{pair['verdict']}</b>; better for {pair['win']}, equal for "
                f"{pair['tie']}, worse for {pair['loss']} users"
            )
            self._cloud.show(cloud)
            self._cloud.widget.layout.selections = None  # the lasso was drawn round others
            self._listen()
            self._forest.show(difference_forest(self.pair(), metric=self.metric, title=""))
        self._mark()
        if not self.state.selected:
            self._who.value = "<p>Nobody is selected.</p>"
            return
        found = self.selected().rename(columns={"p_holm": "p (Holm)"}).drop(columns="p")
        table = tables.table(found, digits=3)
        title = f"<p><b>{len(self.state.selected)} selected users</b> beside the others</p>"
        note = "<p>Selected by eye: p-values lead to questions here, not to answers.</p>"
        self._who.value = title + table.to_html(index=False, border=0, justify="left") + note

    def _mark(self) -> None:
        """Selected users stand out on the cloud."""
        chosen = np.array(self.state.selected)
        with self._cloud.widget.batch_update():
            for trace in self._cloud.widget.data:
                users = np.asarray(trace.customdata)[:, 0].astype(int) if len(trace.x) else np.empty(0, int)
                inside = np.flatnonzero(np.isin(users, chosen))
                trace.selectedpoints = inside if len(chosen) else None

    def _listen(self) -> None:
        """A lasso over any of the traces selects what is in it, all traces together."""
        inside: dict[int, list[int]] = {}

        def lassoed(number: int) -> Any:
            def handler(trace: Any, points: Any, _: Any) -> None:
                users = np.asarray(trace.customdata)[points.point_inds, 0] if points.point_inds else []
                inside[number] = [int(user) for user in users]
                self.state.selected = tuple(sorted(user for of in inside.values() for user in of))

            return handler

        for number, trace in enumerate(self._cloud.widget.data):
            trace.on_selection(lassoed(number))
