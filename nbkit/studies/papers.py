"""The register of the three papers: each of their tables and figures, and what here makes it.

What is known of a paper decides what can be said. Of DiffCL the tables are printed in an analysis that quotes them; of
JBM-Diff the abstract and three captions are public to us, of M3BSR the abstract and excerpts of its formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

Kind = Literal["drawing", "data", "models", "parts", "curves", "results"]


@dataclass(frozen=True)
class Exhibit:
    """A table or figure: of which paper (the model's name), what it shows, on which data, and how we know.

    ``kind``: a drawing of a method; sizes of data; results of models, or of one model's parts, that are printed as
    numbers (:mod:`nbkit.studies.published`); curves that are drawn without numbers; results of which no number is
    public. ``notebook`` and ``builder`` (:data:`nbkit.studies.study.BUILDERS`) make ours; ``reference`` is the row that
    the others are held against where only directions can be compared.
    """

    paper: str
    name: str
    shows: str
    kind: Kind
    source: str
    data: tuple[str, ...] = ()
    notebook: str = ""
    builder: str = ""
    reference: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.paper}, {self.name}"

    @property
    def printed(self) -> bool:
        """Whether its numbers are known."""
        return self.kind in ("data", "models", "parts")


_QUOTED = "quoted in an analysis of the paper"
_DESCRIBED = "described in an analysis of the paper; its numbers are drawn, not printed"
_CAPTION = "its caption, in an article about the preprint"
_THREE = ("baby", "video", "sports")

REGISTER: tuple[Exhibit, ...] = (
    Exhibit("diffcl", "Figure 1", "two older ways to make views", "drawing", _DESCRIBED),
    Exhibit("diffcl", "Figure 2", "the model", "drawing", _DESCRIBED, notebook="teach/3_diffcl"),
    Exhibit("diffcl", "Table I", "users, items, interactions", "data", _QUOTED, _THREE, "10_data"),
    Exhibit(
        "diffcl",
        "Table II",
        "eleven models on three data sets",
        "models",
        _QUOTED,
        _THREE,
        "70_compare",
        "grid",
        reference="lightgcn",
        note="BPR and LightGCN lie far below MMRec's report; SLMRec's rows equal it; the first row of improvements "
        "fits none of the printed values",
    ),
    Exhibit(
        "diffcl",
        "Table III",
        "every combination of DiffCL's three parts",
        "parts",
        _QUOTED,
        _THREE,
        "40_ablation",
        "ablation",
        reference="diff+align+h",
        note="as printed the whole model is not the best on Baby and Sports; diff+h equals h on Baby, diff equals the "
        "whole on Sports to all digits",
    ),
    Exhibit(
        "diffcl",
        "Figure 3",
        "the weight of the contrast, .01 to 1",
        "curves",
        _DESCRIBED,
        _THREE,
        "50_sweep",
        "sweep",
        note="best small (up to about .2) on Baby and Sports, in the middle on Video",
    ),
    Exhibit(
        "diffcl",
        "Figure 4",
        "the weight of the alignment, .01 to 1",
        "curves",
        _DESCRIBED,
        _THREE,
        "50_sweep",
        "sweep",
        note="best at .4 to .6 on Baby and Sports, still rising at the end on Video",
    ),
    Exhibit(
        "diffcl",
        "Figure 5",
        "the weight of the embeddings' norm, .01 to 1",
        "curves",
        _DESCRIBED,
        _THREE,
        "50_sweep",
        "sweep",
        note="best about .7 on Baby, .9 on Sports, 1 on Video",
    ),
    Exhibit("jbm_diff", "Figure 1", "the model in three components", "drawing", _CAPTION, notebook="teach/4_jbm_diff"),
    Exhibit(
        "jbm_diff",
        "Figure 2",
        "several hyper-parameters under various values",
        "results",
        _CAPTION,
        notebook="50_sweep",
        builder="sweep",
        note="which hyper-parameters, values and data is not public; ours are of a reconstruction",
    ),
    Exhibit(
        "jbm_diff",
        "Figure 3",
        "noisy multi-modal content on Baby",
        "results",
        _CAPTION,
        ("baby",),
        "30_robustness",
        "robustness",
        note="no curve or rate is public; ours (scenario=content) follow DA-MRS, of a reconstruction",
    ),
    Exhibit(
        "jbm_diff",
        "main results",
        "experiments on three public data sets",
        "results",
        "the abstract",
        notebook="70_compare",
        builder="grid",
        note="no number is public; ours are of a reconstruction",
    ),
    Exhibit("m3bsr", "the model's figure", "the model", "drawing", "excerpts", notebook="teach/5_m3bsr"),
    Exhibit(
        "m3bsr",
        "main results",
        "better than others on benchmark data sets",
        "results",
        "the abstract",
        notebook="teach/5_m3bsr",
        builder="grid",
        note="data sets, metrics and numbers are not public to us; ours are of a reconstruction",
    ),
)


def exhibit(paper: str, name: str) -> Exhibit:
    """The one of that paper and name."""
    return next(each for each in REGISTER if (each.paper, each.name) == (paper, name))


def state(each: Exhibit, rows: pd.DataFrame | None = None) -> str:
    """How an exhibit stands, from its rows beside ours (:func:`nbkit.studies.beside_papers.beside`).

    ``reproduced``: every printed number has ours beside it, on the same data; ``in part: n of m``; ``other data``: ours
    are of other data alone; ``not run``. Where there is nothing to hold ours against, ``not comparable`` or, of a
    drawing, ``not reproducible``, with the reason.
    """
    if each.kind == "drawing":
        return "not reproducible: a drawing, nothing is measured"
    if each.kind == "curves":
        return "not comparable: numbers are drawn, not printed; where curves peak is described"
    if each.kind == "results":
        return "not comparable: no number is public"
    if rows is None or not rows["ours"].notna().any():
        return "not run"
    same = int(rows["difference"].notna().sum())
    if same == len(rows):
        return "reproduced"
    return f"in part: {same} of {len(rows)}" if same else "other data"


def overview(rows: pd.DataFrame) -> pd.DataFrame:
    """The register as a table: paper, exhibit, shows, data, state, made by, note.

    ``rows`` are those of all printed exhibits, with their titles in a column ``exhibit``.
    """
    return pd.DataFrame(
        {
            "paper": each.paper,
            "exhibit": each.name,
            "shows": each.shows,
            "data": ", ".join(each.data) or "–",
            "state": state(each, rows[rows["exhibit"] == each.title] if each.printed else None),
            "ours": each.notebook or "–",
            "note": each.note or "–",
        }
        for each in REGISTER
    )
