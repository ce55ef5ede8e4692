"""The register of the papers, and runs found in a store beside what is printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbkit import config
from nbkit.errors import UserError
from nbkit.models.base import model_class, registry
from nbkit.runs import RunFolder
from nbkit.studies import paper_runs
from nbkit.studies.beside_papers import COLUMNS, beside, directions, findings, outside, printed, sizes
from nbkit.studies.paper_runs import found
from nbkit.studies.papers import REGISTER, exhibit, overview, state
from nbkit.studies.published import OPTIMISM, published, table_1, table_2
from nbkit.studies.store import RunStore
from nbkit.studies.study import BUILDERS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TABLE_2, TABLE_3 = exhibit("diffcl", "Table II"), exhibit("diffcl", "Table III")
USERS = 80


@pytest.fixture
def keep(tmp_path):
    """Finished, tested runs in a store, with scores that are given."""
    rng = np.random.default_rng(0)

    def one(
        model="diffcl", data="baby", seed=0, mean=0.1, valid=0.1, noise=(), code="c", state="DONE", split="test", **s
    ):
        run = RunFolder(tmp_path / f"run{len(list(tmp_path.iterdir())):03}")
        run.create()
        complete = {name: known.default for name, known in config.settings_of(model_class(model)).items()} | s
        plain = {"model": model, "data": data, "seed": seed, "noise": list(noise), "model_settings": complete}
        run.write_json("settings.json", plain | {"training": {"lr": 0.1}})
        made = {
            "data": f"sha of {data}",
            "name": data,
            "caveat": "RECONSTRUCTED" if data == "baby" else "",
            "code": code,
        }
        run.write_json("environment.json", {"dataset": made})
        metrics = {"valid": {"train": {"recall@20": valid}}}
        run.write_json("metrics.json", metrics | ({"test": {"train": {"recall@20": mean}}} if split == "test" else {}))
        scores = mean + 0.01 * rng.normal(size=USERS)
        table = {"split": split, "masking": "train", "user": range(USERS), "relevant": 1}
        run.write_table("per_user.parquet", pd.DataFrame(table | {"recall@20": scores - scores.mean() + mean}))
        (run / state).touch()
        return run

    return one


def runs_of(tmp_path):
    return paper_runs.tested(RunStore(tmp_path), "recall@20")


def generator():
    return np.random.default_rng(0)


# --- the register ---


@pytest.mark.parametrize("each", REGISTER, ids=lambda each: each.title)
def test_every_exhibit_is_of_a_known_model_has_a_source_and_what_makes_it_exists(each):
    assert each.paper in registry()
    assert each.source
    assert each.shows
    if each.kind != "drawing":
        assert each.notebook, "what measures something is made somewhere"
    if each.notebook:
        assert (NOTEBOOKS / f"{each.notebook}.ipynb").exists()
    if each.builder:
        assert each.builder in BUILDERS
    assert bool(each.builder) == (each.kind not in ("drawing", "data"))
    if each.kind in ("curves", "results"):
        assert each.note, "what of it is not public is said"


def test_exhibits_are_listed_once_and_each_of_the_three_papers_has_some():
    titles = [each.title for each in REGISTER]
    assert len(set(titles)) == len(titles)
    assert {each.paper for each in REGISTER} == {"diffcl", "jbm_diff", "m3bsr"}


@pytest.mark.parametrize("each", [each for each in REGISTER if each.kind in ("models", "parts")], ids=lambda e: e.title)
@pytest.mark.parametrize("metric", ["recall@20", "ndcg@20"])
def test_what_is_printed_names_rows_and_data_that_are_known_and_has_its_reference(each, metric):
    table = printed(each, metric)
    assert set(table["printed_for"]) == set(each.data)
    assert each.reference in set(table["row"])
    assert not table.duplicated(["row", "printed_for"]).any()
    if each.kind == "models":
        assert set(table["row"]) <= set(registry())
        own = published().query("model == @each.paper and metric == @metric").set_index("data")["paper"].to_dict()
        assert table[table["row"] == each.paper].set_index("printed_for")["paper"].to_dict() == own
    else:
        whole = table[table["row"] == each.reference].set_index("printed_for")["paper"].to_dict()
        of_models = printed(TABLE_2, metric)
        assert whole == of_models[of_models["row"] == each.paper].set_index("printed_for")["paper"].to_dict()


def test_an_exhibit_without_printed_numbers_is_refused():
    with pytest.raises(UserError, match="diffcl, Figure 3 prints no numbers of recall@20"):
        printed(exhibit("diffcl", "Figure 3"), "recall@20")


def rows(n=4, same=0, ours=True):
    gap = [0.01] * same + [np.nan] * (n - same)
    return pd.DataFrame({"exhibit": TABLE_2.title, "ours": 0.1 if ours else np.nan, "difference": gap})


def test_states_say_how_much_is_reproduced_and_why_something_cannot_be():
    assert state(TABLE_2, rows(same=4)) == "reproduced"
    assert state(TABLE_2, rows(same=1)) == "in part: 1 of 4"
    assert state(TABLE_2, rows()) == "other data"
    assert state(TABLE_2, rows(ours=False)) == state(TABLE_2, rows(0)) == state(TABLE_2) == "not run"
    for each in REGISTER:
        if not each.printed:
            why = "not reproducible: a drawing" if each.kind == "drawing" else "not comparable: n"
            assert state(each, rows(same=4)).startswith(why)
    table = overview(rows(same=4))
    assert len(table) == len(REGISTER)
    assert table.set_index(["paper", "exhibit"]).loc[("diffcl", "Table II"), "state"] == "reproduced"
    assert table.set_index(["paper", "exhibit"]).loc[("diffcl", "Table III"), "state"] == "not run"


# --- runs in a store ---


def test_only_finished_tested_runs_on_clean_data_are_taken(keep, tmp_path):
    kept = keep()
    keep(noise=[{"operator": "drop_edges", "rate": 0.1, "seed": 0}])
    keep(state="failed.json")
    keep(split="valid")
    assert [run.run.id for run in runs_of(tmp_path)] == [kept.id]
    assert runs_of(tmp_path / "nowhere") == []


def test_of_several_settings_those_with_the_best_validation_are_taken_never_by_test(keep, tmp_path):
    keep("bpr", reg=0.1, valid=0.3, mean=0.9)
    best = [keep("bpr", reg=0.2, valid=0.4, mean=0.1, seed=seed) for seed in (1, 0)]
    keep("bpr", "sports", valid=0.9)
    there = found(TABLE_2, runs_of(tmp_path), "baby")
    assert [run.id for run in there.rows["bpr"]] == [best[1].id, best[0].id]
    assert list(there.rows) == ["bpr"]
    assert found(TABLE_2, runs_of(tmp_path), "video") is None


def test_a_model_without_a_part_is_no_row_of_a_table_of_models_however_good(keep, tmp_path):
    whole = keep(valid=0.1)
    keep(contrast=0.0, valid=0.9)
    assert [run.id for run in found(TABLE_2, runs_of(tmp_path), "baby").rows["diffcl"]] == [whole.id]


def test_runs_of_other_code_or_training_are_not_mixed_into_one_row(keep, tmp_path):
    keep("bpr", seed=0, valid=0.3, code="old")
    new = [keep("bpr", seed=seed, valid=0.4) for seed in (0, 1)]
    assert [r.id for r in found(TABLE_2, runs_of(tmp_path), "baby").rows["bpr"]] == [r.id for r in new]


def test_parts_belong_to_the_whole_model_whose_other_settings_they_share(keep, tmp_path):
    off = {"diff": {"contrast": 0.0}, "h": {"item_layers": 0}}
    lone = keep(contrast=0.1, valid=0.5)
    whole = [keep(contrast=0.05, seed=seed, valid=0.2) for seed in (0, 1)]
    bare = keep(**off["diff"])
    keep(**off["h"], contrast=0.05)
    keep(**off["h"], contrast=0.07)
    there = found(TABLE_3, runs_of(tmp_path), "baby")
    assert {kept: len(some) for kept, some in there.rows.items()} == {"diff+align+h": 2, "align+h": 1, "diff+align": 1}
    assert [run.id for run in there.rows["diff+align+h"]] == [run.id for run in whole]
    assert there.rows["align+h"][0].id == bare.id, "without the contrast its weight is 0 in all of them"
    assert lone.id not in {run.id for some in there.rows.values() for run in some}


def test_parts_without_a_whole_model_are_no_table(keep, tmp_path):
    keep(contrast=0.0)
    keep("bpr")
    assert found(TABLE_3, runs_of(tmp_path), "baby") is None


# --- beside what is printed ---


def test_a_difference_is_given_on_the_paper_s_data_alone_and_the_label_says_which_data(keep, tmp_path):
    keep("bpr", mean=0.05)
    keep("bpr", "shop", mean=0.3)
    table = beside(TABLE_2, runs_of(tmp_path), "recall@20", generator(), other="shop")
    assert list(table) == COLUMNS
    bpr = table[table["row"] == "bpr"].set_index("printed_for")
    assert bpr["ours"].to_dict() == pytest.approx({"baby": 0.05, "video": 0.3, "sports": 0.3})
    assert bpr.loc["baby", "difference"] == pytest.approx(0.05 - 0.0441)
    assert bpr.loc[["video", "sports"], "difference"].isna().all()
    assert bpr["label"].to_dict() == {"baby": "baby, RECONSTRUCTED", "video": "shop", "sports": "shop"}
    assert table.loc[table["row"] == "vbpr", "ours"].isna().all()
    assert state(TABLE_2, table) == f"in part: 1 of {len(table)}"


def test_from_an_empty_store_everything_is_not_run(tmp_path):
    table = beside(TABLE_3, runs_of(tmp_path), "recall@20", generator(), other="shop")
    assert len(table) == 24
    assert state(TABLE_3, table) == "not run"
    assert directions(TABLE_3, runs_of(tmp_path), "recall@20", generator(), other="shop").empty
    assert findings(table, directions(TABLE_3, [], "recall@20", generator())) == [
        "diffcl, Table III: no run on the paper's data; no difference is given."
    ]


def test_directions_are_shares_of_the_reference_paired_by_user(keep, tmp_path):
    for seed in (0, 1, 2):
        keep("lightgcn", "shop", seed, 0.2)
        keep("diffcl", "shop", seed, 0.3)
        keep("bpr", "shop", seed, 0.3)
        keep("vbpr", "shop", seed, 0.2)
    table = directions(TABLE_2, runs_of(tmp_path), "recall@20", generator(), other="shop")
    baby = table[table["printed_for"] == "baby"].set_index("row")
    assert baby.loc["diffcl", "paper"] == pytest.approx((0.0987 - 0.0644) / 0.0644)
    assert baby["ours"].to_dict() == pytest.approx({"bpr": 0.5, "vbpr": 0, "diffcl": 0.5})
    assert baby["reading"].to_dict() == {"bpr": "opposite sign", "vbpr": "not shown here", "diffcl": "same sign"}
    said = findings(beside(TABLE_2, [], "recall@20", generator()), table)
    assert said[-1].startswith("diffcl, Table II, directions on shop: of 9 printed gaps ")


def test_a_row_with_other_seeds_than_the_reference_has_no_direction(keep, tmp_path):
    keep("lightgcn", seed=0)
    keep("diffcl", seed=1)
    keep("vbpr", seed=0)
    table = directions(TABLE_2, runs_of(tmp_path), "recall@20", generator())
    assert set(table["row"]) == {"vbpr"}


def test_outside_is_what_neither_the_interval_nor_the_optimism_of_picking_on_test_explains():
    table = pd.DataFrame({"paper": [0.1] * 4, "low": [0.101, 0.103, 0.09, 0.103], "high": [0.12, 0.12, 0.097, 0.12]})
    table["difference"] = [0.01, 0.01, -0.01, np.nan]
    assert outside(table).index.tolist() == [1, 2]
    assert OPTIMISM == 0.02


def test_what_lies_outside_is_said_with_its_numbers(keep, tmp_path):
    keep("bpr", mean=0.09)
    table = beside(TABLE_2, runs_of(tmp_path), "recall@20", generator())
    said = findings(table, directions(TABLE_2, [], "recall@20", generator()))
    assert said[0] == f"diffcl, Table II: 1 of {len(table)} numbers have ours on the same data, 1 of them outside."
    assert said[1].startswith("diffcl, Table II, bpr on baby: ours 0.09 (0.0")
    assert said[1].endswith("lies above 0.0441.")


def test_sizes_of_data_stand_beside_table_1(world):
    baby = world.replace(name="baby")
    table = sizes([baby]).set_index(["row", "printed_for"])
    assert table.loc[("users", "baby"), "difference"] == world.num_users - 19_445
    total = sum(len(split.pairs()) for split in (world.train, world.valid)) + world.num_users
    assert table.loc[("interactions", "baby"), "ours"] == total
    assert table.loc[("users", "video"), "label"] == "–"
    assert pd.isna(table.loc[("users", "video"), "ours"])
    other = sizes([world], other=world.name)
    assert other["difference"].isna().all()
    assert set(other.loc[other["row"] == "items", "ours"]) == {world.num_items}


def test_table_1_says_what_the_table_of_models_is_about():
    assert set(table_1()["data"]) == set(table_2()["data"])
    assert (table_1()["interactions"] > table_1()["users"]).all()
