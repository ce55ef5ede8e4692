"""Ranking metrics against independent libraries, by hand, and by what must hold for every list."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nbkit.errors import UserError
from nbkit.evaluation import metrics
from nbkit.evaluation.metrics import (
    METRICS,
    coverage,
    exposure,
    gini,
    mean_metrics,
    novelty,
    per_user_metrics,
    popularity_bias,
    popularity_percentile,
)

USERS, ITEMS, KMAX, KS = 40, 60, 20, (1, 5, 20)


def random_lists(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Top lists (U, Kmax), a table of relevant items (U, I) with 0 to 30 a user, and the hits (U, Kmax)."""
    generator = torch.Generator().manual_seed(seed)
    topk = torch.rand(USERS, ITEMS, generator=generator).argsort(1)[:, :KMAX]
    share = torch.rand(USERS, 1, generator=generator) * 0.5
    wanted = torch.rand(USERS, ITEMS, generator=generator) < share
    wanted[:3] = False
    return topk, wanted, wanted.gather(1, topk)


@st.composite
def hits_and_relevant(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    users, width = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=users, max_size=users))
    hits = torch.tensor(rows)
    missed = draw(st.lists(st.integers(0, 6), min_size=users, max_size=users))
    return hits, hits.sum(1) + torch.tensor(missed)


def one_user(places: list[int], relevant: int, k: int) -> dict[str, float]:
    """Scores at K of a single user with hits at these places, counted from 1."""
    hits = torch.zeros(1, KMAX, dtype=torch.bool)
    hits[0, [place - 1 for place in places]] = True
    return {name.split("@")[0]: float(s) for name, s in per_user_metrics(hits, torch.tensor([relevant]), (k,)).items()}


@pytest.mark.slow  # compiles for some 20 s where numba has no cache yet, else 4 s
@pytest.mark.filterwarnings("ignore:unsafe cast")
def test_all_metrics_equal_ranx_user_by_user() -> None:
    theirs = pytest.importorskip("ranx.metrics")
    judges = {
        "recall": theirs.recall,
        "ndcg": theirs.ndcg,
        "precision": theirs.precision,
        "hit": theirs.hit_rate,
        "mrr": theirs.reciprocal_rank,
        "map": theirs.average_precision,
    }
    topk, wanted, hits = random_lists()
    relevant = wanted.sum(1)
    scored = per_user_metrics(hits, relevant, KS)
    for user in wanted.any(1).nonzero().flatten().tolist():
        items = wanted[user].nonzero().flatten()
        truth = torch.stack([items, torch.ones_like(items)], 1).double().numpy()[None]  # (1, n, 2): item, relevance
        ranked = torch.stack([topk[user], torch.arange(KMAX, 0, -1)], 1).double().numpy()[None]  # item, score
        for name, judge in judges.items():
            for k in KS:
                expected = float(judge(truth, ranked, k=k)[0])
                if name == "map":  # ranx divides by all n relevant items, we by min(n, K), so that 1 can be reached
                    expected *= len(items) / min(len(items), k)
                assert float(scored[f"{name}@{k}"][user]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_all_metrics_equal_torch_geometric() -> None:
    theirs = pytest.importorskip("torch_geometric.metrics")
    topk, wanted, hits = random_lists(1)
    topk, wanted, hits = topk[3:], wanted[3:], hits[3:]  # it scores users with nothing relevant as 0
    classes = {
        "recall": theirs.LinkPredRecall,
        "ndcg": theirs.LinkPredNDCG,
        "precision": theirs.LinkPredPrecision,
        "hit": theirs.LinkPredHitRatio,
        "mrr": theirs.LinkPredMRR,
        "map": theirs.LinkPredMAP,
    }
    ours = mean_metrics(per_user_metrics(hits, wanted.sum(1), KS))
    for name, cls in classes.items():
        for k in KS:
            judge = cls(k)
            judge.update(topk, wanted.nonzero().T)
            assert ours[f"{name}@{k}"] == pytest.approx(float(judge.compute()), rel=1e-5)


def test_ndcg_by_hand() -> None:
    # hits at places 1 and 3 of three relevant items: (1 + 1/2) / (1 + 1/log2(3) + 1/2)
    assert one_user([1, 3], 3, 5)["ndcg"] == pytest.approx(1.5 / (1.5 + 1 / math.log2(3)), rel=1e-15)
    # at K = 2 the third place is not seen and the ideal has two places
    assert one_user([1, 3], 3, 2)["ndcg"] == pytest.approx(1 / (1 + 1 / math.log2(3)), rel=1e-15)


def test_average_precision_by_hand() -> None:
    # precision 1/1 and 2/3 at the hits, of three relevant items
    assert one_user([1, 3], 3, 5)["map"] == pytest.approx((1 + 2 / 3) / 3, rel=1e-15)
    # at K = 2 at most two could be found: the divisor is 2, not 3
    assert one_user([1, 3], 3, 2)["map"] == pytest.approx(1 / 2, rel=1e-15)


def test_other_metrics_by_hand() -> None:
    scores = one_user([4, 5], 8, 5)
    assert scores["recall"] == 2 / 8
    assert scores["precision"] == 2 / 5
    assert scores["hit"] == 1
    assert scores["mrr"] == 1 / 4
    assert one_user([4, 5], 8, 3) == dict.fromkeys(METRICS, 0)


def test_users_with_nothing_relevant_have_no_score_and_are_skipped_unless_counted_as_zero() -> None:
    hits = torch.tensor([[True, False], [False, False], [False, False]])
    scores = per_user_metrics(hits, torch.tensor([1, 0, 1]), ks=(1,))
    assert all(s.isnan().tolist() == [False, True, False] for s in scores.values())
    assert mean_metrics(scores)["recall@1"] == 1 / 2
    assert mean_metrics(scores, without_relevant="zero")["recall@1"] == 1 / 3


@given(hits_and_relevant())
@settings(deadline=None)
def test_every_score_lies_between_0_and_1(lists: tuple[Tensor, Tensor]) -> None:
    hits, relevant = lists
    for scores in per_user_metrics(hits, relevant, range(1, hits.shape[1] + 1)).values():
        known = scores[relevant > 0]
        assert scores.dtype == torch.float64
        assert bool(((known >= 0) & (known <= 1 + 1e-12)).all())


@given(hits_and_relevant())
@settings(deadline=None)
def test_recall_and_hit_rate_never_fall_as_k_grows(lists: tuple[Tensor, Tensor]) -> None:
    hits, relevant = lists
    scores = per_user_metrics(hits, relevant, range(1, hits.shape[1] + 1))
    for name in ("recall", "hit", "mrr"):
        by_k = torch.stack([scores[f"{name}@{k}"] for k in range(1, hits.shape[1] + 1)])
        assert bool((by_k.nan_to_num().diff(dim=0) >= 0).all())


@given(hits_and_relevant(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_users_score_does_not_depend_on_the_other_users(lists: tuple[Tensor, Tensor], random) -> None:
    hits, relevant = lists
    some = torch.tensor(random.sample(range(len(hits)), random.randint(1, len(hits))))
    together, apart = (
        per_user_metrics(hits, relevant, (1,)),
        per_user_metrics(hits[some], relevant[some], (1,)),
    )
    for name, scores in together.items():
        assert torch.equal(scores[some].nan_to_num(nan=-1), apart[name].nan_to_num(nan=-1))  # bit for bit


@given(hits_and_relevant(), st.data())
@settings(deadline=None)
def test_one_more_hit_lowers_nothing(lists: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    hits, relevant = lists
    width = hits.shape[1]
    relevant = relevant + 1  # an item not found so far
    user, place = data.draw(st.integers(0, len(hits) - 1)), data.draw(st.integers(0, width - 1))
    better = hits.clone()
    better[user, place] = True
    before, after = (per_user_metrics(h, relevant, range(1, width + 1)) for h in (hits, better))
    for name in before:
        assert bool((after[name] >= before[name] - 1e-12).all()), name


@given(st.integers(1, 30), st.integers(1, KMAX))
@settings(deadline=None)
def test_a_perfect_list_scores_1(relevant: int, k: int) -> None:
    scores = one_user(list(range(1, min(relevant, KMAX) + 1)), relevant, k)
    for name in ("ndcg", "map", "mrr", "hit"):
        assert scores[name] == pytest.approx(1, rel=1e-12)
    assert scores["recall"] == pytest.approx(min(k, relevant) / relevant)
    assert scores["precision"] == pytest.approx(min(k, relevant) / k)


def test_an_earlier_place_is_worth_more_where_order_counts() -> None:
    early, late = one_user([2], 2, 10), one_user([3], 2, 10)
    assert all(early[name] > late[name] for name in ("ndcg", "mrr", "map"))
    assert all(early[name] == late[name] for name in ("recall", "precision", "hit"))


def test_a_new_metric_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def f1(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return torch.ones_like(place), (relevant + k) / 2

    monkeypatch.setattr(metrics, "METRICS", {**METRICS, "f1": f1})
    _, wanted, hits = random_lists(2)
    scores = per_user_metrics(hits, wanted.sum(1), (5,), ("recall", "precision", "f1"))
    recall, precision = scores["recall@5"], scores["precision@5"]
    harmonic = 2 * recall * precision / (recall + precision)
    torch.testing.assert_close(scores["f1@5"][3:].nan_to_num(), harmonic[3:].nan_to_num(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"names": ("recal",)}, "unknown metric 'recal'; did you mean 'recall'?"),
        ({"ks": (5, 21)}, "cut-off K is 21, expected 1 … 20"),
        ({"ks": (0,)}, "cut-off K is 0"),
        ({"relevant": torch.ones(USERS - 1)}, "expected bool (U, Kmax) and (U,)"),
        ({"hits": torch.zeros(USERS, KMAX)}, "expected bool (U, Kmax) and (U,)"),
        (
            {"hits": torch.ones(USERS, KMAX, dtype=torch.bool)},
            "user row 0 has 20 hits among 0 relevant items",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict, line: str) -> None:
    _, wanted, hits = random_lists()
    with pytest.raises(UserError) as error:
        per_user_metrics(**{"hits": hits, "relevant": wanted.sum(1), "ks": (5,)} | change)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_no_users_and_no_hits_are_no_accident() -> None:
    assert per_user_metrics(torch.zeros(0, 5, dtype=torch.bool), torch.zeros(0, dtype=torch.long), (5,))[
        "ndcg@5"
    ].shape == (0,)
    nothing = per_user_metrics(torch.zeros(4, 5, dtype=torch.bool), torch.ones(4, dtype=torch.long), (5,))
    assert mean_metrics(nothing) == dict.fromkeys(nothing, 0)
    assert mean_metrics({}) == {}


# --- beyond accuracy ---


def test_coverage_and_exposure_count_items_once_and_skip_empty_places() -> None:
    topk = torch.tensor([[0, 1, -1], [1, 3, -1]])
    assert exposure(topk, 5).tolist() == [1, 2, 0, 1, 0]
    assert coverage(topk, 5) == 3 / 5
    with pytest.raises(UserError, match="item row 3, expected 0 … 2"):
        exposure(topk, 3)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=30))
@settings(deadline=None)
def test_gini_is_the_mean_difference_between_items(items: list[int]) -> None:
    shown = exposure(torch.tensor(items)[None], 8).double()
    differences = (shown[:, None] - shown).abs().sum() / (2 * 8 * shown.sum())
    assert gini(torch.tensor(items)[None], 8) == pytest.approx(float(differences), abs=1e-12)


def test_gini_is_0_for_equal_exposure_and_near_1_for_one_item() -> None:
    assert gini(torch.arange(10).reshape(2, 5), 10) == pytest.approx(0)
    assert gini(torch.full((5, 1), 3), 10) == pytest.approx(0.9)


def test_novelty_by_hand() -> None:
    popularity = torch.tensor([8, 4, 4, 0])  # 1, 2, 2 bits; never seen: as if once of 16, 4 bits
    topk = torch.tensor([[0, 1], [3, -1], [-1, -1]])
    values = novelty(topk, popularity)
    assert values[:2].tolist() == [1.5, 4.0]
    assert values[2].isnan()


def test_popularity_percentile_is_a_mid_rank_with_mean_one_half() -> None:
    percentile = popularity_percentile(torch.tensor([10, 1, 1, 5]))
    assert percentile.tolist() == [0.875, 0.25, 0.25, 0.625]
    assert float(percentile.mean()) == 0.5


def test_popularity_bias_compares_the_list_with_the_users_own_history() -> None:
    popularity = torch.tensor([10, 1, 1, 5])
    history = torch.tensor([[0, 1], [0, 2], [1, 0]])
    bias = popularity_bias(torch.tensor([[0, 3], [0, -1], [3, 1]]), popularity, history)
    assert bias["popularity"].tolist() == [7.5, 10, 3]
    assert bias["popularity_lift"][:2].tolist() == [6.5, 0]
    assert bias["percentile_lift"][:2].tolist() == [0.5, 0]
    assert bias["popularity_lift"][2].isnan()  # no history
    assert bias["percentile"].tolist() == [0.75, 0.875, 0.4375]
