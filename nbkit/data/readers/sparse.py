"""The layout of DiffMM and MMSSL: a sparse user-item matrix for each split, beside ``image_feat.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nbkit.data.dataset import Interactions, MultimodalDataset
from nbkit.data.readers import assemble, files
from nbkit.data.readers.mmrec import feature_files
from nbkit.data.readers.restricted_pickle import load_sparse
from nbkit.errors import UserError

_STEMS = {
    "train": ("trnMat", "train_mat", "trn_mat"),
    "valid": ("valMat", "val_mat"),
    "test": ("tstMat", "test_mat"),
}
_JSON = {"train": "train.json", "valid": "val.json", "test": "test.json"}


def split_files(folder: Path) -> dict[str, Path]:
    """The file of each split that the folder has: a pickled matrix, else a list of items a user as JSON."""
    found: dict[str, Path] = {}
    for split, stems in _STEMS.items():
        names = [f"{stem}{suffix}" for stem in stems for suffix in (".pkl", ".pickle", "")]
        path = next((folder / name for name in [*names, _JSON[split]] if (folder / name).is_file()), None)
        if path is not None:
            found[split] = path
    return found


def read_sparse(folder: Path, *, modalities: assemble.Modalities = None) -> MultimodalDataset:
    """A folder of DiffMM or MMSSL: ids are row and column numbers, entries other than zero are interactions.

    The pickles go through a reader that can make nothing but numbers of them (see ``restricted_pickle``).

    Raises:
        UserError: a split without a file, a pickle of anything else, feature files that do not fit the items.
    """
    folder = files.existing(Path(folder), "data set")
    found = split_files(folder)
    for split, stems in _STEMS.items():
        if split not in found:
            raise UserError(f"{folder}: no {split} matrix; expected {stems[0]}.pkl or {_JSON[split]}")
    chosen = files.choose_modalities(feature_files(folder), modalities, folder)
    features = files.load_features(chosen)

    splits, shapes = [], []
    for path in found.values():
        row, column, shape = _from_json(path) if path.suffix == ".json" else load_sparse(path)
        splits.append(Interactions(row, column))
        shapes.append(shape)
    num_users, num_items = np.max(shapes, axis=0)
    # Lists name only the items that somebody chose; a matrix says how many there are.
    listed = all(path.suffix == ".json" for path in found.values())
    for modality, table in features.items():
        if len(table) < num_items or (len(table) > num_items and not listed):
            raise UserError(f"{chosen[modality]}: {len(table)} rows; expected {num_items}, one an item")
    if features:
        num_items = len(next(iter(features.values())))
    return assemble.dataset(
        folder.resolve().name,
        folder,
        (splits[0], splits[1], splits[2]),
        user_ids=np.arange(num_users),
        item_ids=np.arange(num_items),
        features=features,
    )


def _from_json(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    lists = files.load_json(path)
    rows: list[int] = []
    columns: list[int] = []
    if not isinstance(lists, dict):
        raise UserError(f"{path}: holds {type(lists).__name__}; expected lists of item numbers by user number")
    for user, items in lists.items():
        if not user.isdigit() or not isinstance(items, list) or not all(type(i) is int and i >= 0 for i in items):
            raise UserError(f"{path}: user {user!r} has {str(items)[:40]}; expected a list of item numbers")
        rows += [int(user)] * len(items)
        columns += items
    shape = (max(map(int, lists), default=-1) + 1, max(columns, default=-1) + 1)
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), shape
