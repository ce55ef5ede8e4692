"""A page about each model, written by the code: equations, settings, presets, weights, printed numbers, cost."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nbkit import config, repro
from nbkit.data.dataset import Interactions, MultimodalDataset, SealedSplit
from nbkit.errors import UserError
from nbkit.models.base import Grid, Preset, Recommender, build_model, model_class, registry
from nbkit.paths import writable_folder, write_atomic
from nbkit.studies.published import published

# No size is a sum or multiple of others, so letters are clear; each is larger than the inner layers, as in real data.
USERS, ITEMS, WIDTHS = 2003, 1511, {"image": 307, "text": 331}
LETTERS = {2003: "U", 1511: "I", 3514: "U + I", 307: "D_image", 331: "D_text", 638: "D_image + D_text"}
BABY = {2003: 19_445, 1511: 7_050, 3514: 26_495, 307: 4096, 331: 384, 638: 4480}
CODE = 32  # a width this little above another one has a code of the time beside it


def card(name: str, costs: Mapping[str, float] | None = None) -> str:
    """The page of one model as Markdown; ``costs`` are epochs as multiples of LightGCN's, by model.

    Raises:
        UserError: an unknown model.
    """
    cls = model_class(name)
    first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n")
    parts = [
        f"# {name}",
        f"{cls.paper.title}. {cls.paper.venue}. <{cls.paper.link}>",
        first,
        f"```text\n{rest.strip()}\n```",
        _settings(cls),
        *_ablations(cls),
        *_presets(cls),
        *_grid(cls.grid),
        _weights(cls),
        *_printed(name),
        *_cost(name, costs or {}),
    ]
    return "\n\n".join(parts) + "\n"


def write_cards(folder: Path, costs: Path | None = None) -> list[Path]:
    """A page a model and ``README.md``, their list, in a folder; ``costs`` is a result file of ``benchmarks.cost``.

    Raises:
        UserError: the folder cannot be written, or the file of costs is none.
    """
    writable_folder(folder, "folder of cards")
    known = read_costs(costs) if costs else {}
    rows = [[f"[{n}]({n}.md)", cls.paper.title, cls.paper.venue] for n, cls in sorted(registry().items())]
    pages = {name: card(name, known) for name in sorted(registry())}
    index = "# Models\n\nWritten by `nbkit models --cards`; edit the models, not these pages.\n\n"
    pages["README"] = index + _table(["model", "paper", "venue"], rows) + "\n"
    for name, text in pages.items():
        write_atomic(folder / f"{name}.md", text)
    return [folder / f"{name}.md" for name in pages]


def read_costs(path: Path) -> dict[str, float]:
    """Epoch of each model over LightGCN's, from a result file of ``benchmarks.cost``.

    Raises:
        UserError: no such file, or another one.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        return {row["case"]: float(row["ratio"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"costs {str(path)!r}; expected a result file of `python -m benchmarks.cost`") from None


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={config.shown(value)}`" for name, value in values.items()) or "defaults"


def _settings(cls: type[Recommender]) -> str:
    rows = [
        [f"`{s.name}`", s.type_name, f"`{s.default!r}`", s.range or "", s.help]
        for s in config.settings_of(cls).values()
    ]
    return f"## Settings\n\n{_table(['setting', 'type', 'default', 'range', 'meaning'], rows)}"


def _ablations(cls: type[Recommender]) -> list[str]:
    rows = [[f"without `{part}`", _values(values)] for part, values in cls.parts.items()]
    return [f"## Ablations\n\n{_table(['variant', 'settings'], rows)}"] if rows else []


def _presets(cls: type[Recommender]) -> list[str]:
    def row(name: str, preset: Preset) -> list[str]:
        return [name, _values({**preset.settings, **preset.training}), preset.source]

    rows = [row(name, preset) for name, preset in cls.presets.items()]
    return [f"## Presets\n\n{_table(['data', 'settings', 'from'], rows)}"] if rows else []


def _grid(grid: Grid) -> list[str]:
    rows = [
        [f"`{name}`", ", ".join(map(config.shown, values))]
        for name, values in {**grid.settings, **grid.training}.items()
    ]
    return [f"## Tuned over\n\nFrom: {grid.source}.\n\n{_table(['setting', 'values'], rows)}"] if rows else []


def _weights(cls: type[Recommender]) -> str:
    """Every trained array with its shape in letters, on a data set with images and texts."""
    model = build_model(cls.name, _sized(), {}, repro.generator(0, "weights"))
    dim = config.settings_of(cls)["dim"].default
    letters = {**LETTERS, dim: "D", **{k * dim: f"{k}D" for k in (2, 3, 4)}}
    rows = [
        [f"`{name}`", " × ".join(_letter(size, letters) for size in value.shape) or "1"]
        for name, value in model.named_parameters()
    ]
    count = sum(math.prod(_at_baby(size) for size in value.shape) for value in model.parameters())
    sizes = f"U users, I items, D = {dim}; modalities image and text. On Amazon Baby: {count:,} weights."
    return f"## Trained arrays\n\n{sizes}\n\n{_table(['array', 'shape'], rows)}"


def _letter(size: int, letters: Mapping[int, str]) -> str:
    base = max((known for known in letters if size - CODE <= known <= size), default=None)
    if base is None:
        return str(size)
    text = letters[base] + (f" + {size - base}" if size > base else "")
    return f"({text})" if "+" in text else text


def _at_baby(size: int) -> int:
    base = max((known for known in BABY if size - CODE <= known <= size), default=None)
    return size if base is None else BABY[base] + size - base


@cache
def _sized() -> Any:
    """Random pairs and features of telling sizes: enough to build a model on."""
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.choice(USERS * ITEMS, 2000, replace=False), ITEMS)
    times = np.arange(len(users))
    events = Interactions(users, items, times, times % 2)
    few = events.take(np.arange(2))
    return MultimodalDataset(
        name="sizes",
        user_ids=np.arange(USERS).astype(str),
        item_ids=np.arange(ITEMS).astype(str),
        features={m: draw.normal(size=(ITEMS, width)).astype(np.float32) for m, width in WIDTHS.items()},
        behaviors=("view", "purchase"),
        train=events,
        valid=few,
        test=SealedSplit(few),
    ).sealed()


def _printed(name: str) -> list[str]:
    known = published()
    known = known[known["model"] == name]
    if known.empty:
        return []
    wide = known.pivot_table(index=["data", "source"], columns="metric", values="paper", sort=False).reset_index()
    metrics = [column for column in wide.columns if "@" in column]
    rows = [[r["data"], *(f"{r[m]:.4f}" for m in metrics), r["source"]] for _, r in wide.iterrows()]
    return [f"## Printed elsewhere\n\n{_table(['data', *metrics, 'source'], rows)}"]


def _cost(name: str, costs: Mapping[str, float]) -> list[str]:
    shown = {case: ratio for case, ratio in costs.items() if case == name or case.startswith(f"{name}-")}
    rows = [[case, f"{ratio:.1f}"] for case, ratio in shown.items()]
    head = "## Cost\n\nA training epoch on Amazon Baby over one of LightGCN (3 layers), measured by `benchmarks.cost`."
    return [f"{head}\n\n{_table(['model', 'times LightGCN'], rows)}"] if rows else []
