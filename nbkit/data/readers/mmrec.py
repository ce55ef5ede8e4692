"""The MMRec layout: ``NAME.inter`` beside ``image_feat.npy`` and ``text_feat.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nbkit.data.dataset import Interactions, MultimodalDataset
from nbkit.data.readers import assemble, files
from nbkit.errors import UserError

_SHORT = {"v": "image", "t": "text", "a": "audio"}


def feature_files(folder: Path) -> dict[str, Path]:
    """Files ``<modality>_feat.npy`` by modality; ``v``, ``t`` and ``a`` mean image, text and audio.

    Raises:
        UserError: two files for one modality.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*_feat.npy")):
        modality = path.stem.removesuffix("_feat")
        modality = _SHORT.get(modality, modality)
        if modality in found:
            raise UserError(f"{folder}: both {found[modality].name} and {path.name} hold {modality!r}; expected one")
        found[modality] = path
    return found


def read_mmrec(folder: Path, *, modalities: assemble.Modalities = None) -> MultimodalDataset:
    """A folder of MMRec, or its ``.inter`` file: ids are row numbers of the feature arrays.

    The table is tab separated with a header: ``userID``, ``itemID``, ``x_label`` (0 train, 1 valid, 2 test),
    and where there are any ``rating`` and ``timestamp`` (unix seconds). The order of columns is free.

    Raises:
        UserError: a missing file or column, a wrong id or label, feature files that do not fit the items.
    """
    folder = files.existing(Path(folder), "data set")
    path = folder
    if folder.is_dir():
        found = sorted(folder.glob("*.inter"))
        if len(found) != 1:
            raise UserError(f"{folder}: {len(found)} .inter files; expected one (or name the file itself)")
        path = found[0]
    table = _read_inter(path)

    user = files.integers(table["userID"], path, "userID", low=0)
    item = files.integers(table["itemID"], path, "itemID", low=0)
    label = files.integers(table["x_label"], path, "x_label")
    wrong = np.flatnonzero((label < 0) | (label > 2))
    if len(wrong):
        raise UserError(
            f"{path}: x_label {label[wrong[0]]} in line {wrong[0] + 2}; expected 0 (train), 1 (valid) or 2 (test)"
        )
    chosen = files.choose_modalities(feature_files(path.parent), modalities, path.parent)
    features = files.load_features(chosen)
    num_items = len(next(iter(features.values()))) if features else int(item.max()) + 1
    beyond = np.flatnonzero(item >= num_items)
    if len(beyond):
        raise UserError(
            f"{path}: itemID {item[beyond[0]]} in line {beyond[0] + 2}; expected 0 … {num_items - 1}, "
            f"as {next(iter(chosen.values())).name} has {num_items} rows"
        )
    events = Interactions(user, item, **assemble.event_columns(table, path, ()))
    parts = assemble.cut(events, label, how=None, target=None, seed=0, behaviors=(), clock="unix", where=path)
    return assemble.dataset(
        path.stem,
        path,
        parts,
        user_ids=np.arange(int(user.max()) + 1),
        item_ids=np.arange(num_items),
        features=features,
        clock=None if events.timestamp is None else "unix",
    )


def _read_inter(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(files.existing(path, "data set"), sep="\t")
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: the file is empty; expected a header and interactions") from None
    except (ValueError, OSError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: not readable as tab separated text ({str(error).strip()[:90]})") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{path}: more fields in a row than in the header; expected one name a field")
    files.require_columns(table, ("userID", "itemID", "x_label"), path)
    if not len(table):
        raise UserError(f"{path}: no rows below the header; expected interactions")
    table.index = pd.RangeIndex(2, len(table) + 2, name="line")  # line 1 is the header
    return table[[c for c in ("userID", "itemID", "x_label", "rating", "timestamp") if c in table]]
