"""What papers and reports print, to stand beside what is measured here.

The splits of those works are not public draws of ours and their epochs were picked on the test split, so a difference
of one or two per cent says nothing; a large one asks for a reason.
"""

from __future__ import annotations

import pandas as pd

_METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
_REPORT = "MMRec's report (epoch picked on test)"
_LOGS = "the authors' logs (epoch picked on test)"
_PAPER = "its paper"
_HKUDS = "its paper (another split, epoch picked on test)"
_NONE = None

_PRINTED: dict[tuple[str, str], tuple[str, tuple[float | None, ...]]] = {
    ("bpr", "baby"): (_REPORT, (0.0357, 0.0575, 0.0192, 0.0249)),
    ("bpr", "sports"): (_REPORT, (0.0432, 0.0653, 0.0241, 0.0298)),
    ("bpr", "clothing"): (_REPORT, (0.0187, 0.0279, 0.0103, 0.0126)),
    ("lightgcn", "baby"): (_REPORT, (0.0479, 0.0754, 0.0257, 0.0328)),
    ("lightgcn", "sports"): (_REPORT, (0.0569, 0.0864, 0.0311, 0.0387)),
    ("lightgcn", "clothing"): (_REPORT, (0.0340, 0.0526, 0.0188, 0.0236)),
    ("vbpr", "baby"): (_REPORT, (0.0423, 0.0663, 0.0223, 0.0284)),
    ("vbpr", "sports"): (_REPORT, (0.0558, 0.0856, 0.0307, 0.0384)),
    ("vbpr", "clothing"): (_REPORT, (0.0281, 0.0415, 0.0158, 0.0192)),
    ("mmgcn", "baby"): (_REPORT, (0.0378, 0.0615, 0.0200, 0.0261)),
    ("mmgcn", "sports"): (_REPORT, (0.0370, 0.0605, 0.0193, 0.0254)),
    ("mmgcn", "clothing"): (_REPORT, (0.0218, 0.0345, 0.0110, 0.0142)),
    ("dualgnn", "baby"): (_REPORT, (0.0448, 0.0716, 0.0240, 0.0309)),
    ("dualgnn", "sports"): (_REPORT, (0.0568, 0.0859, 0.0310, 0.0385)),
    ("dualgnn", "clothing"): (_REPORT, (0.0454, 0.0683, 0.0241, 0.0299)),
    ("slmrec", "baby"): (_REPORT, (0.0529, 0.0775, 0.0290, 0.0353)),
    ("slmrec", "sports"): (_REPORT, (0.0663, 0.0990, 0.0365, 0.0450)),
    ("slmrec", "clothing"): (_REPORT, (0.0452, 0.0675, 0.0247, 0.0303)),
    ("bm3", "baby"): (_REPORT, (0.0564, 0.0883, 0.0301, 0.0383)),
    ("bm3", "sports"): (_REPORT, (0.0656, 0.0980, 0.0355, 0.0438)),
    ("bm3", "clothing"): (_REPORT, (0.0422, 0.0621, 0.0231, 0.0281)),
    ("mgcn", "baby"): (_PAPER, (0.0620, 0.0964, 0.0339, 0.0427)),
    ("mgcn", "sports"): (_PAPER, (0.0729, 0.1106, 0.0397, 0.0496)),
    ("mgcn", "clothing"): (_PAPER, (0.0641, 0.0945, 0.0347, 0.0428)),
    ("freedom", "baby"): (_REPORT, (0.0627, 0.0992, 0.0330, 0.0424)),
    ("freedom", "sports"): (_REPORT, (0.0717, 0.1089, 0.0385, 0.0481)),
    ("freedom", "clothing"): (_REPORT, (0.0629, 0.0941, 0.0341, 0.0420)),
    ("diffmm", "tiktok"): (_HKUDS, (_NONE, 0.1129, _NONE, 0.0456)),
    ("diffmm", "baby"): (_HKUDS, (_NONE, 0.0975, _NONE, 0.0411)),
    ("diffmm", "sports"): (_HKUDS, (_NONE, 0.1017, _NONE, 0.0458)),
    ("da_mrs", "baby"): (_LOGS, (0.0650, 0.0994, 0.0346, 0.0435)),
    ("da_mrs", "sports"): (_LOGS, (0.0751, 0.1125, 0.0402, 0.0498)),
    ("da_mrs", "clothing"): (_LOGS, (0.0647, 0.0963, 0.0353, 0.0433)),
    ("pgl", "baby"): (_LOGS, (0.0676, 0.1022, 0.0360, 0.0449)),
    ("pgl", "sports"): (_LOGS, (0.0789, 0.1174, 0.0428, 0.0528)),
    ("pgl", "clothing"): (_LOGS, (0.0712, 0.1034, 0.0385, 0.0467)),
    ("diffcl", "baby"): (_PAPER, (0.0641, 0.0987, 0.0343, 0.0433)),
    ("diffcl", "sports"): (_PAPER, (0.0754, 0.1095, 0.0421, 0.0509)),
    ("diffcl", "video"): (_PAPER, (0.1421, 0.2069, 0.0804, 0.0974)),
}


def published() -> pd.DataFrame:
    """Every printed number: columns model, data, metric, paper, source."""
    rows = [
        {"model": model, "data": data, "metric": metric, "paper": value, "source": source}
        for (model, data), (source, values) in _PRINTED.items()
        for metric, value in zip(_METRICS, values, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows)


def beside(table: pd.DataFrame, data: str, metric: str) -> pd.DataFrame:
    """The table (a column ``model``) with the columns ``paper`` and ``source``: nan and "" where nothing is printed."""
    known = published()
    wanted = known[(known["data"] == data) & (known["metric"] == metric)][["model", "paper", "source"]]
    return table.merge(wanted, on="model", how="left").fillna({"source": ""})
