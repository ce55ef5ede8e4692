"""Presets: by name, by file, or none; one line for what is wrong with them."""

from __future__ import annotations

import pytest

from nbkit.errors import UserError
from nbkit.models.base import Preset, model_class
from nbkit.studies import presets
from nbkit.studies.study import grid


def test_a_name_is_for_the_models_that_have_it_and_the_others_start_from_their_defaults():
    found = presets.starts(["bpr", "lightgcn"], "baby")
    assert list(found) == ["bpr", "lightgcn"]
    assert found["lightgcn"] == model_class("lightgcn").presets["baby"]
    assert found["bpr"] == Preset("defaults")
    assert presets.starts(["bpr"]) == {"bpr": Preset("defaults")}


def test_a_file_gives_back_what_was_written_and_starts_a_study(tmp_path):
    file = tmp_path / "best.toml"
    written = {
        "lightgcn": Preset('a "search"', {"layers": 4, "reg": 1e-05}, {"lr": 0.01, "loss_scale": {"bpr": 0.5}}),
        "bpr": Preset("nothing changed"),
    }
    assert presets.read(presets.write(written, file)) == written
    study = grid(["vbpr", "lightgcn"], "boutique:tiny", seeds=[0], preset=str(file))
    assert [e.model_settings.get("layers") for e in study] == [None, 4]
    assert [e.training.lr for e in study] == [1e-3, 0.01]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[lightgnc]\n", "unknown model 'lightgnc'; did you mean 'lightgcn'"),
        ("[bpr]\nsetting = {}\n", "bpr: unknown key 'setting'; did you mean 'settings'"),
        ("[bpr.settings]\nreg = 'x'\n", "bpr settings: reg = 'x'; expected float"),
        ("[bpr.settings]\nrag = 1\n", "bpr settings: unknown setting 'rag'; did you mean 'reg'"),
        ("[bpr.training]\nepochs = 0\n", "bpr training: epochs = 0; expected int in 1"),
        ("bpr = 3\n", r"bpr = 3; expected a table \[bpr\]"),
        ("[vbpr]\n", "bpr has no such preset; the file has presets of vbpr"),
        ("", r"has no preset; expected a table \[MODEL\]"),
        ("[", "expected TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, content, expected):
    file = tmp_path / "preset.toml"
    file.write_text(content)
    with pytest.raises(UserError, match=expected):
        presets.starts(["bpr"], str(file))


def test_names_that_lead_nowhere_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"preset 'nowhere.toml': no such file; expected a table \[MODEL\]"):
        presets.starts(["bpr"], "nowhere.toml")
    with pytest.raises(UserError, match="preset 'babi': bpr, lightgcn has no such preset; did you mean 'baby'"):
        presets.starts(["bpr", "lightgcn"], "babi")
    with pytest.raises(UserError, match="preset 'baby': bpr has no such preset; there are none"):
        presets.starts(["bpr"], "baby")
    with pytest.raises(UserError, match=r"expected a name ending in \.toml"):
        presets.write({}, tmp_path / "best.json")
