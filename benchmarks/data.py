"""The data that a benchmark runs on: made by code, or a real folder; written for either side to read."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from nbkit.data.dataset import Interactions, MultimodalDataset, SealedSplit
from nbkit.errors import UserError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Size:
    """How many users, items and pairs of each split to make."""

    users: int
    items: int
    train: int
    valid: int
    test: int

    @property
    def pairs(self) -> int:
        return self.train + self.valid + self.test


BABY = Size(users=19_445, items=7_050, train=118_551, valid=20_559, test=21_682)
TINY = Size(users=120, items=60, train=700, valid=130, test=140)


def _user_degrees(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Pairs of each user, ``(U,)``: at least 5, a long tail above, exactly ``size.pairs`` in all."""
    floor, most = 5, size.items // 2
    tail = rng.pareto(1.6, size.users)
    spare = size.pairs - floor * size.users
    if spare < 0:
        raise UserError(f"{size}: {size.pairs} pairs for {size.users} users; expected at least {floor} a user")
    degrees = floor + np.floor(tail / tail.sum() * spare).astype(np.int64)
    degrees = np.minimum(degrees, most)
    while missing := size.pairs - int(degrees.sum()):
        room = np.flatnonzero(degrees < most)
        degrees[rng.choice(room, min(missing, len(room)), replace=False)] += 1
    return degrees


def make(size: Size = BABY, *, image_dim: int = 384, text_dim: int = 384, seed: int = 0) -> MultimodalDataset:
    """A data set of the given size: distinct pairs, items of heavy-tailed popularity, random features.

    Every user has at least one pair in each split and every item at least one training pair, so that both
    sides count the same users and items. Good for speed and memory; its rankings mean nothing.

    Raises:
        UserError: fewer than 5 pairs a user.
    """
    rng = np.random.default_rng(seed)
    degrees = _user_degrees(size, rng)
    popularity = rng.permutation(np.arange(1, size.items + 1) ** -0.7)
    log_popularity = np.log(popularity / popularity.sum())
    items = []
    for degree in degrees:
        # The largest of log p + Gumbel noise are draws without replacement with probability p.
        keys = log_popularity + rng.gumbel(size=size.items)
        items.append(rng.permutation(np.argpartition(-keys, degree - 1)[:degree]))

    held = {"valid": np.ones(size.users, np.int64), "test": np.ones(size.users, np.int64)}
    for split, wanted in (("valid", size.valid), ("test", size.test)):
        while missing := wanted - int(held[split].sum()):
            room = np.flatnonzero(degrees - held["valid"] - held["test"] > 3)
            held[split][rng.choice(room, min(missing, len(room)), replace=False)] += 1
    rows: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for user, own in enumerate(items):
        cuts = np.cumsum([held["valid"][user], held["test"][user]])
        for split, part in zip(("valid", "test", "train"), np.split(own, cuts), strict=True):
            rows[split].append(np.stack([np.full(len(part), user), part], axis=1))
    pairs = {split: np.concatenate(parts) for split, parts in rows.items()}
    pairs["train"] = _cover_items(pairs, size.items)
    features = {
        name: rng.standard_normal((size.items, width), dtype=np.float32)
        for name, width in (("image", image_dim), ("text", text_dim))
    }
    return _dataset("made", size.users, size.items, pairs, features)


def _cover_items(pairs: dict[str, np.ndarray], num_items: int) -> np.ndarray:
    """The training pairs, some of the most frequent items' exchanged for items that would have none."""
    train = pairs["train"].copy()
    counts = np.bincount(train[:, 1], minlength=num_items)
    absent = np.flatnonzero(counts == 0)
    taken = set(map(tuple, np.concatenate(list(pairs.values())).tolist()))
    donors = iter(np.argsort(-counts[train[:, 1]], kind="stable"))
    for item in absent:
        row = next(r for r in donors if (int(train[r, 0]), int(item)) not in taken)
        train[row, 1] = item
    return train


def read(folder: Path, *, image_dim: int | None = None) -> MultimodalDataset:
    """A folder in the Parquet layout.

    ``interactions.parquet`` holds user_id, item_id, split; ``image.npy`` and ``text.npy`` one row an item.
    ``image_dim`` puts random image features of that width in place of the file's: speed at another width. Without a
    column ``timestamp`` the order of events is random: as many events before each, but no order to learn from.

    Raises:
        UserError: a missing file or column, or a split other than train, valid, test.
    """
    path = Path(folder) / "interactions.parquet"
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; expected a folder in the Parquet layout")
    table = pd.read_parquet(path)
    for column in ("user_id", "item_id", "split"):
        if column not in table:
            raise UserError(f"{str(path)!r} has columns {list(table)}; expected user_id, item_id, split")
    if "timestamp" not in table:
        table["timestamp"] = np.random.default_rng(0).permutation(len(table))
    columns = ["user_id", "item_id", "timestamp"]
    events = {s: table.loc[table["split"] == s, columns].to_numpy(np.int64) for s in SPLITS}
    users, items = int(table["user_id"].max()) + 1, int(table["item_id"].max()) + 1
    features = {
        m: np.load(f).astype(np.float32) for m in ("image", "text") if (f := path.parent / f"{m}.npy").is_file()
    }
    if image_dim is not None:
        features["image"] = np.random.default_rng(0).standard_normal((items, image_dim), dtype=np.float32)
    return _dataset(path.parent.name, users, items, events, features)


def _dataset(
    name: str, users: int, items: int, events: dict[str, np.ndarray], features: dict[str, np.ndarray]
) -> MultimodalDataset:
    parts = {split: Interactions(*events[split].T) for split in SPLITS}
    return MultimodalDataset(
        name=name,
        user_ids=np.arange(users),
        item_ids=np.arange(items),
        train=parts["train"],
        valid=parts["valid"],
        test=SealedSplit(parts["test"]),
        features=features,
    )


def _columns(dataset: MultimodalDataset) -> dict[str, Interactions]:
    return {"train": dataset.train, "valid": dataset.valid, "test": dataset.test.open("rewrite")}


def write_parquet(dataset: MultimodalDataset, folder: Path) -> Path:
    """Write the layout that :func:`read` reads, features as float32, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        pd.DataFrame({"user_id": part.user, "item_id": part.item, "split": split})
        for split, part in _columns(dataset).items()
    ]
    pd.concat(tables).to_parquet(folder / "interactions.parquet", index=False)
    for modality, table in dataset.features.items():
        np.save(folder / f"{modality}.npy", table)
    return folder


def write_mmrec(dataset: MultimodalDataset, folder: Path) -> Path:
    """Write MMRec's layout, ``NAME.inter`` (the folder's name) and ``*_feat.npy``, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        pd.DataFrame({"userID": part.user, "itemID": part.item, "rating": 1.0, "timestamp": 0, "x_label": label})
        for label, part in enumerate(_columns(dataset).values())
    ]
    pd.concat(tables).to_csv(folder / f"{folder.name}.inter", sep="\t", index=False)
    for modality, table in dataset.features.items():
        np.save(folder / f"{modality}_feat.npy", table)
    return folder


def write_diffmm(dataset: MultimodalDataset, folder: Path) -> Path:
    """Write the layout of DiffMM's authors, a pickled matrix a split and ``*_feat.npy``, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = dataset.num_users, dataset.num_items
    for name, part in zip(("trnMat", "valMat", "tstMat"), _columns(dataset).values(), strict=True):
        matrix = sparse.coo_matrix((np.ones(len(part), np.float32), (part.user, part.item)), shape)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(matrix))
    for modality, table in dataset.features.items():
        np.save(folder / f"{modality}_feat.npy", table)
    return folder
