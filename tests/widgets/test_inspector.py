"""The recommendation inspector and its inspection: lists against full scores, planted accidents, parts of a score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nbkit import Experiment
from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies.experiment import load_model, run_experiment
from nbkit.studies.inspection import IDS, Inspection
from nbkit.widgets.inspector import RecommendationInspector
from tests.conftest import GROUPS, ITEMS, planted

BUDGET = {"epochs": 60, "lr": 0.05, "batch_size": 64, "eval_every": 20}


@pytest.fixture(scope="module")
def world() -> MultimodalDataset:
    data = planted()
    return replace(data, truth=Truth(noisy_pairs=data.train.pairs()[data.train.user == 3][:1]))


@pytest.fixture(scope="module")
def runs(world: MultimodalDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    root = tmp_path_factory.mktemp("runs")
    settings = {"vbpr": {}, "bpr": {}, "jbm_diff": {"warmup": 1}}
    return {
        name: run_experiment(
            Experiment.from_dict({"model": name, "training": BUDGET | ({"epochs": 3} if name == "jbm_diff" else {})}),
            world,
            root=Path(root),
        )
        for name in settings
    }


@pytest.fixture
def inspector(runs: dict[str, RunFolder], world: MultimodalDataset) -> RecommendationInspector:
    made = RecommendationInspector([runs["vbpr"], runs["bpr"]], world)
    assert made.view is not None
    assert made.error == ""
    return made


def test_a_list_is_the_best_of_all_scores_without_the_history(
    runs: dict[str, RunFolder], world: MultimodalDataset
) -> None:
    inspection = Inspection(runs["vbpr"], world)
    with torch.inference_mode():
        users, items = load_model(runs["vbpr"], world).embeddings()
        scores = (users[5] @ items.T).numpy()
    history = inspection.history(5)
    assert set(history) == set(world.train.item[world.train.user == 5])
    scores[history] = -np.inf
    table = inspection.listed(5, 4)
    assert table["item"].tolist() == np.argsort(-scores, kind="stable")[:4].tolist()
    assert table["hit"].tolist() == [item in world.valid.item[world.valid.user == 5] for item in table["item"]]
    assert len(inspection.listed(5, 500)) == ITEMS - len(set(history))


def test_because_of_what_is_of_the_same_group(runs: dict[str, RunFolder], world: MultimodalDataset) -> None:
    near = Inspection(runs["vbpr"], world).because(6, 6 % GROUPS)
    assert set(near["item"] % GROUPS) == {6 % GROUPS}, "a user's history is of one group"
    assert near["cosine"].is_monotonic_decreasing


def test_a_score_rests_on_what_the_model_reads(runs: dict[str, RunFolder], world: MultimodalDataset) -> None:
    own = next(item for item in range(ITEMS) if item % GROUPS == 1)
    with_content = Inspection(runs["vbpr"], world).score_parts(1, own).set_index("part")["value"]
    assert set(with_content.index) == {"score", "image", "text", IDS}
    assert with_content.drop("score").abs().max() > 0
    assert abs(with_content[["image", "text"]]).max() > 1e-3, "VBPR reads features"
    without = Inspection(runs["bpr"], world).score_parts(1, own).set_index("part")["value"]
    assert without[["image", "text"]].abs().max() < 1e-6, "BPR reads none"
    assert without[IDS] == pytest.approx(without["score"])


def test_belief_in_clicks_is_there_where_a_model_has_one(runs: dict[str, RunFolder], world: MultimodalDataset) -> None:
    assert Inspection(runs["bpr"], world).credibility(3) is None
    judge = Inspection(runs["jbm_diff"], world)
    belief = judge.credibility(3)
    assert belief is not None
    assert len(belief) == len(judge.history(3))
    cards = RecommendationInspector([runs["jbm_diff"]], world, user=3).history_cards()
    assert [card.mark for card in cards].count("bad") == 1
    assert "an accident; belief 0." in next(card.note for card in cards if card.mark)


def test_a_user_is_found_by_id_and_everything_follows(
    inspector: RecommendationInspector, world: MultimodalDataset
) -> None:
    inspector._user.value = str(world.user_ids[7])
    assert inspector.state.user == 7
    assert f"<b>history</b>, {len(inspector.inspections['bpr'].history(7))} clicks" in inspector._lists.value
    inspector._user.value = "nobody"
    assert "no user 'nobody'" in inspector.error
    assert inspector.state.user == 7


def test_an_item_of_another_list_is_explained_until_the_user_changes(inspector: RecommendationInspector) -> None:
    item = next(item for _, item in inspector._item.options if item != inspector._item.value)
    inspector._item.value = item
    assert inspector.state.item == item == inspector.explained()
    inspector.state.user = 9
    assert (
        inspector.explained() in inspector.lists()["vbpr"]["item"].tolist() + inspector.lists()["bpr"]["item"].tolist()
    )
    assert inspector.error == ""


def test_scores_are_split_when_asked_for(inspector: RecommendationInspector) -> None:
    assert not inspector._below.children
    inspector.state.split = True
    assert inspector._below.children == (inspector._bars.widget,)
    assert {trace.name for trace in inspector._bars.widget.data} == {"score", "image", "text", IDS}


@pytest.mark.parametrize(("trait", "value"), [("user", 10_000), ("item", 10_000)])
def test_what_is_not_there_is_said(inspector: RecommendationInspector, trait: str, value: int) -> None:
    inspector.state.set_trait(trait, value)
    assert f"{trait} = 10000; expected a row from 0" in inspector.error


def test_two_seeds_of_a_model_have_two_names(runs: dict[str, RunFolder], world: MultimodalDataset) -> None:
    assert list(RecommendationInspector([runs["bpr"]] * 2, world).inspections) == ["bpr", "bpr, seed 0"]
    with pytest.raises(UserError, match="no run to inspect"):
        RecommendationInspector([], world)
