"""The pages about models: written by the code, and as the code stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbkit import repro
from nbkit.data import catalog
from nbkit.errors import UserError
from nbkit.models.base import build_model, registry
from nbkit.studies.model_cards import card, read_costs, write_cards
from nbkit.studies.published import beside, published

REPOSITORY = Path(__file__).parents[2]
COSTS = REPOSITORY / "benchmarks/results/cost-baby-amd-epyc-2-cores.json"


def test_the_pages_in_the_repository_are_what_the_code_writes(tmp_path):
    for path in write_cards(tmp_path, COSTS):
        kept = REPOSITORY / "docs/models" / path.name
        assert kept.read_text() == path.read_text(), (
            f"{path.name}: run nbkit models --cards docs/models --costs {COSTS}"
        )
    assert {p.name for p in (REPOSITORY / "docs/models").iterdir()} == {p.name for p in tmp_path.iterdir()}


def test_weights_are_counted_at_the_sizes_of_baby():
    users, items, dim = 19_445, 7_050, 64
    assert f"{(users + items) * dim:,} weights" in card("lightgcn")
    assert f"{users * 2 * dim + items * dim + (4096 + 384 + 1) * dim:,} weights" in card("vbpr")
    text = card("diffmm")  # its inner layer is 1000 wide where there are more items, and reads a time code of 10
    denoiser = 1000 * (items + 10) + 1000 + items * 1000 + items + 2 * (10 * 10 + 10)
    content = (4096 + 384) * dim
    assert f"{(users + items) * dim + 2 * denoiser + content + 2:,} weights" in text
    assert "| `diffusion.denoisers.text.hidden.0.weight` | 1000 × (I + 10) |" in text
    assert "| `modal.image.preference` | U × 4D |" in card("mmgcn")  # both modalities narrowed, as on real data


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_array_of_a_model_has_a_shape_in_letters(name):
    text = card(name)
    model = build_model(name, catalog.load("boutique:tiny").sealed(), {}, repro.generator(0, "weights"))
    for parameter, _ in model.named_parameters():
        assert f"| `{parameter}` |" in text
    arrays = text.partition("## Trained arrays")[2].partition("##")[0]
    for number in ("2003", "1511", "3514", "307", "331", "638", "1521"):
        assert number not in arrays


def test_what_papers_print_stands_beside_what_is_measured():
    table = published()
    assert not table.duplicated(["model", "data", "metric"]).any()
    assert table["paper"].between(0.005, 0.25).all()
    wide = table.pivot_table(index=["model", "data"], columns="metric", values="paper")
    assert (wide["recall@20"] > wide["ndcg@20"]).all()
    assert not (wide["recall@10"] >= wide["recall@20"]).any()
    measured = table[["model"]].drop_duplicates().query("model in ['bpr', 'pgl']").assign(mean=1.0)
    assert beside(measured, "baby", "recall@20").set_index("model")["paper"].to_dict() == {"bpr": 0.0575, "pgl": 0.1022}
    assert beside(measured, "unheard of", "recall@20")["paper"].isna().all()


def test_another_file_than_a_cost_benchmark_is_one_line(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"expected a result file of `python -m benchmarks.cost`"):
        read_costs(tmp_path / "other.json")
