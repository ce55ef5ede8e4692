"""Models taken apart: which variants there are, what is refused, and that a part is judged as it was planted."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbkit.config import Range
from nbkit.errors import UserError
from nbkit.evaluation.stats import holm
from nbkit.models import base
from nbkit.models.base import CollaborativeRecommender, Paper, model_class, registry
from nbkit.runs import RunFolder
from nbkit.studies.ablating import FAST, Variant, part_costs, taken_apart, variant_scores, variants
from nbkit.studies.datasets import Datasets
from nbkit.studies.part_effects import beside_paper, directions, findings, part_effects, under_noise
from nbkit.studies.planning import plan
from nbkit.studies.published import SEED_NOISE, ablations, published, table_2
from nbkit.studies.running import execute
from nbkit.studies.study import ablation

TINY = "boutique:tiny"
USERS = 60


@pytest.fixture
def make(tmp_path):
    """A finished run of DiffCL (or another model) without some parts, with the scores it is given."""

    def one(without=(), seed=0, noise=(), model="diffcl", value=0.5, data="d", users=USERS, seconds=1.0, **settings):
        run = RunFolder(tmp_path / f"run{len(list(tmp_path.iterdir())):03}")
        run.create()
        cls = model_class(model)
        complete = {name: s.default for name, s in base.config.settings_of(cls).items()} | settings
        complete |= {key: off for part in without for key, off in cls.parts[part].items()}
        noise = [{"operator": name, "rate": rate, "seed": seed} for name, rate in noise]
        plain = {"model": model, "data": "any", "seed": seed, "noise": noise, "model_settings": complete}
        run.write_json("settings.json", plain)
        run.write_json("environment.json", {"dataset": {"data": f"{data}{noise}"}})
        run.write_json("metrics.json", {"fit": {"train_seconds": seconds, "epochs": 4}})
        scores = np.broadcast_to(value, users)
        table = {"split": "test", "masking": "train", "user": range(users), "relevant": 1, "recall@20": scores}
        run.write_table("per_user.parquet", pd.DataFrame(table))
        (run / "DONE").touch()
        return run

    return one


# --- what is run ---


@given(st.lists(st.sampled_from(sorted(n for n, c in registry().items() if c.parts)), min_size=1, unique=True))
def test_every_combination_is_run_where_a_paper_prints_some_and_each_part_alone_else(models):
    study = taken_apart(models, TINY, preset="paper", seeds=[0])
    for model in models:
        runs = [e for e in study if e.model == model]
        switches = model_class(model).parts
        whole = len({frozenset(e.model_settings.items()) for e in runs})
        printed = model in set(ablations()["model"])
        assert len(runs) == whole == (2 ** len(switches) if printed else 1 + len(switches))


def test_noise_doubles_what_is_run_but_for_combinations_and_presets_are_of_the_models_that_have_them():
    study = taken_apart(["diffcl", "jbm_diff"], TINY, noise=["drop_edges:0.2"], model_preset="sports", seeds=[0, 1])
    counted = {(e.model, bool(e.noise)): 0 for e in study}
    for e in study:
        counted[e.model, bool(e.noise)] += 1
    fast = 1 + len(FAST["jbm_diff"].parts)
    assert counted == {
        ("diffcl", False): 16,
        ("diffcl", True): 8,
        ("jbm_diff", False): 2 * fast,
        ("jbm_diff", True): 2 * fast,
    }
    assert {e.model_settings["reg"] for e in study if e.model == "diffcl"} == {0.9}
    small = taken_apart(["m3bsr"], TINY, noise=["drop_edges:0.2"], seeds=[0], training={"epochs": 9, "patience": 3})
    assert [(e.training.epochs, e.training.patience, e.model_settings["dim"], e.noise) for e in small] == [
        (4, 3, 16, ())
    ] * 3
    with pytest.raises(UserError, match="preset = 'fats'; did you mean 'fast'"):
        taken_apart(["diffcl"], TINY, preset="fats")
    with pytest.raises(UserError, match="model bpr declares no parts"):
        taken_apart(["bpr"], TINY)
    with pytest.raises(UserError, match="no model to take apart"):
        taken_apart([], TINY)


@pytest.mark.parametrize("name", sorted(n for n, c in registry().items() if c.parts))
def test_each_part_is_on_in_the_whole_model_and_off_when_it_is_taken_out(name):
    parts = model_class(name).parts
    study = ablation(name, TINY, seeds=[0])
    whole, *others = (e.model_settings for e in study)
    for part, settings in zip(parts.values(), others, strict=True):
        changed = {key for key in whole if settings[key] != whole[key]}
        assert changed == {key for key, off in part.items() if whole[key] != off}
        assert changed, "the whole model has it"


# --- which run is which ---


def test_variants_are_read_from_settings_whatever_is_out_in_all_runs_is_no_ones(make):
    runs = [make(out, reg=0.7) for out in ((), ("diff",), ("align", "diff"))]
    assert [v.without for v, *_ in variants(runs)] == [(), ("diff",), ("diff", "align")]
    assert [v.kept for v, *_ in variants(runs)] == ["diff+align+h", "align+h", "h"]
    less = [make(out, align=0.0) for out in ((), ("diff",))]
    assert [v.without for v, *_ in variants(less)] == [(), ("diff",)]


def test_a_part_within_another_is_not_named_beside_it(make):
    runs = [make(out, model="jbm_diff") for out in ((), ("reversal",), ("credibility",), ("credibility", "views"))]
    assert [v.without for v, *_ in variants(runs)] == [(), ("reversal",), ("credibility",), ("views", "credibility")]


def test_scores_are_stacked_in_the_order_of_seeds_and_noise_is_named(make):
    noise = [("drop_edges", 0.2)]
    runs = [make(out, seed, n, value=seed / 10) for n in ((), noise) for seed in (2, 0) for out in ((), ("h",))]
    scores = variant_scores(runs)
    assert set(scores) == {Variant("diffcl", n, o) for n in ("clean", "drop_edges:0.2") for o in ((), ("h",))}
    assert all(values[:, 0].tolist() == [0, 0.2] for values in scores.values())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"without": ("h",), "seed": 3},
            r"diffcl without h has seeds \[0, 3\]; expected those of the whole model: \[0\]",
        ),
        ({"without": ("h",)}, "two runs are diffcl without h, seed 0; expected one"),
        ({"model": "bm3", "without": ("inter",), "data": "e"}, "were trained on different data; expected the same"),
        ({"model": "bm3", "users": 59}, "has other test pairs than run run000"),
        ({"without": ("h",), "noise": [("drop_edges", 0.2)]}, "under drop_edges:0.2 has seeds .* it was not run"),
    ],
)
def test_what_makes_no_whole_ablation_is_refused(make, more, words):
    runs = [make(), make(("h",)), make(**more)]
    with pytest.raises(UserError, match=words):
        variant_scores(runs)


def test_costs_are_seconds_an_epoch_and_the_share_that_leaving_out_saves(make):
    runs = [make(seconds=8), make(("h",), seconds=2), make(("diff",), seconds=10), make(noise=[("drop_edges", 0.1)])]
    table = part_costs(runs).set_index("without")
    assert table["epoch_seconds"].to_dict() == {"": 2, "h": 0.5, "diff": 2.5}
    assert table["saved"].to_dict() == {"": 0, "h": 0.75, "diff": -0.25}


# --- what parts are worth ---


@pytest.fixture
def planted():
    """A whole model, and without a part that is needed, one that harms, one that does nothing but jitter."""
    rng = np.random.default_rng(0)
    level = rng.random((3, 200)) * 0.2
    jitter = lambda: 0.02 * rng.normal(size=(3, 200))  # noqa: E731
    gap = {(): 0.4, ("diff",): 0.3, ("align",): 0.5, ("h",): 0.4}
    scores = {Variant("diffcl", "clean", out): level + more + jitter() for out, more in gap.items()}
    noisy = {(): 0.3, ("diff",): 0.05, ("align",): 0.4, ("h",): 0.3}
    return scores | {Variant("diffcl", "drop_edges:0.2", out): level + more + jitter() for out, more in noisy.items()}


def test_each_part_gets_the_verdict_that_was_planted(planted):
    table = part_effects(planted, np.random.default_rng(0), resamples=2000)
    clean = table[table["noise"] == "clean"].set_index("without")
    assert clean["verdict"].to_dict() == {
        "diff": "needed",
        "align": "better without",
        "h": "no difference shown",
    }
    assert clean["difference"].to_dict() == pytest.approx({"diff": -0.1, "align": 0.1, "h": 0}, abs=0.01)
    assert ((table["low"] <= table["difference"]) & (table["difference"] <= table["high"])).all()
    assert (table["p_holm"] >= table["p"]).all()
    assert set(table["seeds"]) == {3}


def test_p_values_are_adjusted_over_the_rows_of_each_model_alone(planted):
    alone = part_effects(planted, np.random.default_rng(0), resamples=2000)
    other = {
        variant._replace(model="bm3", without=("inter",) * bool(variant.without)): s for variant, s in planted.items()
    }
    both = part_effects(planted | other, np.random.default_rng(0), resamples=2000)
    pd.testing.assert_frame_equal(both[both["model"] == "diffcl"].reset_index(drop=True), alone)
    np.testing.assert_allclose(alone["p_holm"], holm(alone["p"].to_numpy()))


def test_a_part_that_is_worth_more_under_noise_is_told_from_one_that_is_worth_the_same(planted):
    table = under_noise(planted, np.random.default_rng(0), resamples=2000).set_index("without")
    assert table.loc["diff", "verdict"] == "needed more"
    assert table.loc["diff", "difference"] == pytest.approx(-0.15, abs=0.01)
    assert set(table.loc[["align", "h"], "verdict"]) == {"no difference shown"}
    only = {variant: scores for variant, scores in planted.items() if variant.noise == "clean"}
    assert under_noise(only, np.random.default_rng(0)).empty


def test_findings_say_what_falls_what_rises_and_what_is_not_shown(planted):
    effects = part_effects(planted, np.random.default_rng(0), resamples=2000)
    said = findings(effects, under_noise(planted, np.random.default_rng(0), resamples=2000))
    assert said[0].startswith("diffcl on clean data: without diff recall@20 falls, -0.09")
    assert said[1].startswith("diffcl on clean data: without align recall@20 RISES, +0.10")
    assert said[2] == "diffcl on clean data: no difference is shown without h."
    assert said[-1].startswith("diffcl: diff is needed more under drop_edges:0.2 (-0.1")


class Taught(CollaborativeRecommender):
    """Ranks by what a user's items say; ``ornament`` shakes every score a little, and means nothing."""

    name = "taught"
    paper = Paper("none", "none", "none")
    parts = {"content": {"content": False}, "ornament": {"ornament": 0.0}}  # noqa: RUF012

    def __init__(
        self,
        inputs: base.Inputs,
        *,
        content: Annotated[bool, "read features"] = True,
        ornament: Annotated[float, Range(0, 1), "size of what means nothing"] = 0.01,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))
        said = torch.cat(list(inputs.features.values()), dim=1)
        drawn = torch.randn(said.shape, generator=generator)
        self.items = (said if content else drawn) + ornament * drawn
        history = torch.zeros(inputs.num_users, inputs.num_items)
        history[tuple(inputs.pairs.T)] = 1
        self.users = history @ self.items

    def losses(self, batch):
        return {"nothing": self.nothing.square()}

    def embeddings(self):
        return self.users, self.items


def test_from_training_to_verdict_a_part_that_matters_and_one_that_does_not(tmp_path, world, monkeypatch):
    monkeypatch.setattr(base, "registry", lambda: {"taught": Taught})
    study = ablation("taught", "world", seeds=[0, 1, 2], training={"epochs": 1, "metric": "recall@5"})
    datasets = Datasets({"world": world})
    assert {o.status for o in execute(study, root=tmp_path, test=True, datasets=datasets)} == {"done"}
    runs = [planned.run for planned in plan(study, tmp_path, datasets=datasets).runs]
    table = part_effects(variant_scores(runs, "recall@5"), np.random.default_rng(0), resamples=2000)
    assert table.set_index("without")["verdict"].to_dict() == {"content": "needed", "ornament": "no difference shown"}


# --- what papers print ---


def test_table_3_has_every_combination_of_the_parts_that_diffcl_declares_and_da_mrs_s_logs_some():
    known = ablations()
    assert not known.duplicated(["model", "kept", "data", "metric"]).any()
    assert known["paper"].between(0.03, 0.21).all()
    for model, every in (("diffcl", True), ("da_mrs", False)):
        names = list(model_class(model).parts)
        kept = {
            Variant(model, "clean", tuple(p for n, p in enumerate(names) if not place >> n & 1)).kept
            for place in range(2 ** len(names))
        }
        own = set(known.loc[known["model"] == model, "kept"])
        assert own == kept if every else own < kept
        assert Variant(model).kept in own


def test_the_tables_of_diffcl_agree_with_each_other_and_with_the_list_of_published_numbers():
    keys = ["data", "metric"]
    of_table_2 = table_2().query("model == 'diffcl'").set_index(keys)["paper"]
    listed = published().query("model == 'diffcl'").set_index(keys)["paper"]
    assert of_table_2.to_dict() == listed.to_dict()
    full = ablations().query("model == 'diffcl' and kept == 'diff+align+h'").set_index(keys)["paper"]
    assert full.to_dict() == {key: listed[key] for key in full.index}
    assert len(table_2()) == 11 * 12 - 4


def test_the_paper_s_value_is_subtracted_on_its_own_data_and_nowhere_else(planted):
    own = beside_paper(planted, "baby", "recall@20", np.random.default_rng(0))
    assert len(own) == 3 * 8
    whole = own[own["kept"] == "diff+align+h"].set_index("printed_for")
    assert whole["paper"].to_dict() == {"baby": 0.0987, "video": 0.2069, "sports": 0.1095}
    assert whole.loc["baby", "difference"] == pytest.approx(whole.loc["baby", "ours"] - 0.0987)
    assert whole.loc[["video", "sports"], "difference"].isna().all()
    assert own.loc[own["kept"] == "none", "ours"].isna().all(), "that variant was not run"
    assert beside_paper(planted, "boutique-tiny", "recall@20", np.random.default_rng(0))["difference"].isna().all()


def test_directions_are_shares_of_the_whole_and_printed_trifles_are_called_so(planted):
    effects = part_effects(planted, np.random.default_rng(0), resamples=2000)
    table = directions(effects, "recall@20").set_index(["without", "printed_for"])
    assert table.loc[("diff", "video"), "paper"] == pytest.approx((0.1968 - 0.2069) / 0.2069)
    whole = effects.loc[0, "whole"]
    assert table.loc[("diff", "video"), "ours"] == pytest.approx(effects.loc[0, "difference"] / whole)
    readings = table["reading"].to_dict()
    assert readings[("diff", "video")] == "same sign"
    assert readings[("align", "video")] == "opposite sign"
    assert readings[("h", "video")] == "not shown here"
    assert readings[("diff", "baby")] == "within seed noise"
    assert abs(0.0993 - 0.0987) < SEED_NOISE
    assert not math.isnan(table["low"].max())
