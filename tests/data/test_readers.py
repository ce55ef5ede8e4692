"""Claims about reading: rows belong to ids, layouts agree, what is written comes back equal."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.data import readers
from nbkit.data.dataset import Interactions, MultimodalDataset, Truth
from nbkit.data.readers import restricted_pickle, writer
from nbkit.errors import UserError


def triples(dataset):
    """(split, user id, item id) of every interaction, sorted."""
    parts = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test.open("rewrite")}
    return sorted(
        (name, str(dataset.user_ids[u]), str(dataset.item_ids[i]))
        for name, part in parts.items()
        for u, i in zip(part.user, part.item, strict=True)
    )


def feature_of(dataset, modality, item):
    return dataset.features[modality][list(dataset.item_ids).index(item)].tolist()


ROWS = [(0, 2, 0), (0, 1, 1), (0, 0, 2), (1, 0, 0), (1, 3, 0), (2, 2, 2)]  # user, item, label
EXPECTED = sorted((("train", "valid", "test")[label], str(u), str(i)) for u, i, label in ROWS)


@pytest.fixture
def mmrec(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    lines = ["x_label\textra\titemID\ttimestamp\tuserID\trating"]
    lines += [f"{label}\t-\t{i}\t{100 + n}\t{u}\t4.5" for n, (u, i, label) in enumerate(ROWS)]
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
    np.save(folder / "v_feat.npy", np.arange(8, dtype=np.float64).reshape(4, 2))
    np.save(folder / "text_feat.npy", np.arange(12, dtype=np.float16).reshape(4, 3))
    return folder


def test_mmrec_columns_may_stand_in_any_order(mmrec):
    data = readers.read(mmrec)
    assert triples(data) == EXPECTED
    assert data.clock == "unix"
    assert data.train.timestamp.tolist() == [100, 103, 104]
    assert data.train.rating.tolist() == [4.5] * 3
    assert readers.read(mmrec / "tiny.inter").fingerprint == data.fingerprint


def test_mmrec_features_are_named_by_modality_and_become_float32(mmrec):
    data = readers.read(mmrec)
    assert data.modalities == ("image", "text")
    assert feature_of(data, "image", 3) == [6.0, 7.0]
    assert {t.dtype for t in data.features.values()} == {np.dtype(np.float32)}
    assert readers.read(mmrec, modalities=["text"]).modalities == ("text",)


def test_mmrec_without_features_counts_items_by_their_numbers(mmrec):
    for path in mmrec.glob("*.npy"):
        path.unlink()
    assert readers.read(mmrec).num_items == 4


def matrices():
    for name, label in (("trnMat", 0), ("valMat", 1), ("tstMat", 2)):
        user, item = np.array([(u, i) for u, i, at in ROWS if at == label]).T
        yield name, sp.coo_matrix((np.ones(len(user)), (user, item)), shape=(3, 4))


def older_names(raw):
    """The same pickle as SciPy before 1.8 and NumPy before 2 wrote it."""
    for name in (b"csr", b"csc", b"coo"):
        raw = raw.replace(b"scipy.sparse._" + name, b"scipy.sparse." + name)
    return raw.replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_sparse_matrices_of_every_kind_and_protocol_are_read(protocol, kind, dtype, tmp_path):
    for name, matrix in matrices():
        raw = pickle.dumps(getattr(sp, kind)(matrix.astype(dtype)), protocol=protocol)
        (tmp_path / f"{name}.pkl").write_bytes(older_names(raw) if protocol < 3 else raw)
    assert triples(readers.read(tmp_path)) == EXPECTED


@pytest.mark.parametrize("protocol", range(6))
def test_a_matrix_without_entries_is_read(protocol, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(sp.csr_matrix((2, 3)), protocol=protocol))
    row, _, shape = restricted_pickle.load_sparse(tmp_path / "m.pkl")
    assert (len(row), shape) == (0, (2, 3))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from(["csr", "csc", "coo"]))
@settings(max_examples=40)
def test_a_matrix_from_a_pickle_has_the_entries_that_scipy_sees(tmp_path_factory, rows, columns, seed, kind):
    matrix = sp.random(rows, columns, 0.4, random_state=seed, format=kind)
    matrix.data[::3] = 0  # stored zeros are no interactions
    path = tmp_path_factory.mktemp("pickle") / "m.pkl"
    path.write_bytes(pickle.dumps(matrix))
    row, column, shape = restricted_pickle.load_sparse(path)
    dense = np.zeros(shape, dtype=bool)
    dense[row, column] = True
    assert (dense == (matrix.toarray() != 0)).all()


def test_sparse_layout_reads_lists_where_there_is_no_matrix(tmp_path):
    for name, label in (("train.json", 0), ("val.json", 1), ("test.json", 2)):
        lists = {str(u): [i for v, i, at in ROWS if (v, at) == (u, label)] for u in range(3)}
        (tmp_path / name).write_text(json.dumps(lists))
    np.save(tmp_path / "audio_feat.npy", np.ones((5, 2), dtype=np.float32))
    data = readers.read(tmp_path)
    assert triples(data) == EXPECTED
    assert (data.num_items, data.modalities) == (5, ("audio",))


@pytest.fixture
def parquet(tmp_path):
    """Like a real data set: integer ids, positions, keywords, a variant of the text features, neighbours."""
    folder = tmp_path / "shop"
    folder.mkdir()
    user, item, label = np.array(ROWS).T
    events = pd.DataFrame({"user_id": user, "item_id": item, "split": np.array(["train", "valid", "test"])[label]})
    events.assign(position=np.arange(6)).to_parquet(folder / "interactions.parquet")
    np.save(folder / "text.npy", np.arange(8, dtype=np.float16).reshape(4, 2))
    np.save(folder / "text_mmrec.npy", np.ones((4, 3), dtype=np.float32))
    items = pd.DataFrame({"item_id": [2, 0, 3, 1], "keywords": ["c", "a", "d", "b"], "topic": list("xyxy")})
    items.to_parquet(folder / "items.parquet")
    pd.DataFrame({"item_id": [1], "jpeg": [b"picture"]}).to_parquet(folder / "posters.parquet")
    near = [(i, (i + step) % 4, 1 - 0.1 * step) for step in (2, 0, 1) for i in (3, 1, 0, 2)]
    pd.DataFrame(near, columns=["item_id", "neighbor_id", "cosine"]).to_parquet(folder / "knn_text.parquet")
    (folder / "README.md").write_text("- `text.npy`: titles\n- `text_mmrec.npy`: fitted (RECONSTRUCTED, see below)\n")
    return folder


def test_parquet_rows_are_numbered_by_item_id_and_tables_follow(parquet):
    data = readers.read(parquet)
    assert triples(data) == EXPECTED
    assert feature_of(data, "text", 2) == [4.0, 5.0]
    assert data.item_table["title"].tolist() == ["a", "b", "c", "d"]
    assert data.item_table["category"].tolist() == list("yyxx")
    assert data.item_table["image"].tolist() == [None, b"picture", None, None]
    assert (data.clock, data.train.timestamp.tolist()) == ("order", [0, 3, 4])


def test_neighbours_come_nearest_first(parquet):
    assert readers.read(parquet).neighbours["text"].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]


def test_a_variant_of_a_modality_is_read_only_when_asked_for(parquet):
    assert readers.read(parquet).modalities == ("text",)
    variant = readers.read(parquet, modalities=["text_mmrec"])
    assert variant.modalities == ("text_mmrec",)
    assert set(variant.neighbours) == {"text"}


def test_reconstructed_features_are_said_so_when_they_are_read(parquet):
    assert readers.read(parquet).caveat == ""
    said = readers.read(parquet, modalities=["text_mmrec"]).caveat
    assert said == "text_mmrec features are RECONSTRUCTED from published neighbour graphs"
    (parquet / "caveat.txt").write_text("toy\n data")
    assert readers.read(parquet).caveat == "toy data"


def test_a_named_split_replaces_the_files_own(parquet):
    data = readers.read(parquet, split="leave-one-out")
    assert [t[1:] for t in triples(data) if t[0] == "test"] == [("0", "0"), ("1", "3")]
    random = [readers.read(parquet, split="random", seed=s).fingerprint for s in (0, 0, 1, 2, 3)]
    assert random[0] == random[1]
    assert len(set(random)) > 1


def test_without_a_split_the_last_is_held_out_where_there_is_time(parquet):
    events = pd.read_parquet(parquet / "interactions.parquet").drop(columns="split")
    behavior = ["buy", "buy", "view", "view", "buy", "view"]
    events.assign(behavior=behavior).to_parquet(parquet / "interactions.parquet")
    assert triples(readers.read(parquet))[:2] == [("test", "0", "0"), ("test", "1", "3")]
    bought = readers.read(parquet, target="buy")
    assert bought.behaviors == ("buy", "view")
    assert [t for t in triples(bought) if t[0] == "test"] == [
        ("test", "0", "1")
    ]  # its only other buy stays in training
    events.drop(columns="position").to_parquet(parquet / "interactions.parquet")
    assert len(readers.read(parquet, seed=3).test) == 2
    events.assign(rating=[5, 4, 3, 1, 4, 2]).to_parquet(parquet / "interactions.parquet")
    assert triples(readers.read(parquet, target="rated")) == triples(bought)  # those bought have a rating of 4 or more


def full_dataset(user_ids, item_ids):
    rng = np.random.default_rng(0)
    user_ids, item_ids = np.asarray(user_ids), np.asarray(item_ids)

    def part(size, **columns):
        return Interactions(rng.integers(0, len(user_ids), size), rng.integers(0, len(item_ids), size), **columns)

    size = len(item_ids)
    features = {"image": rng.normal(size=(size, 3)), "text": rng.normal(size=(size, 2))}
    return MultimodalDataset(
        name="everything",
        user_ids=user_ids,
        item_ids=item_ids,
        train=part(9, timestamp=2**60 + np.arange(9), behavior=np.arange(9) % 2, rating=rng.random(9)),
        valid=part(3, timestamp=np.arange(3), behavior=[1, 1, 0]),
        test=part(2),
        features={m: t.astype(np.float32) for m, t in features.items()},
        neighbours={"image": rng.integers(0, size, size=(size, 4))},
        item_table=pd.DataFrame({"title": ["ä"] * size, "image": ["<svg/>"] * size, "topic": range(size)}),
        behaviors=("view", "buy", "never"),
        clock="unix",
        caveat="made for a test",
        truth=Truth(
            noisy_pairs=np.array([[0, 1]]),
            noisy_rows={"text": np.arange(size) == 1},
            clean_features={"text": np.ones((size, 2), dtype=np.float32)},
            relevant=pd.DataFrame({"taste": pd.Categorical(["x"] * size)}),
        ),
    )


@pytest.mark.parametrize(
    ("user_ids", "item_ids"),
    [
        ([3, 1, 2], [2, 0, 1, 3]),
        (np.array([0, 1, 2], dtype=np.int32), np.array([7, 9, 8, 1], dtype=np.int16)),
        (["b", "a", "ü"], ["007", "7", "x y", "NA"]),
    ],
)
def test_what_is_written_comes_back_equal(user_ids, item_ids, tmp_path):
    data = full_dataset(user_ids, item_ids)
    back = readers.read(readers.write_parquet(data, tmp_path / "out"))
    assert back.fingerprint == data.fingerprint
    for name in ("name", "clock", "caveat", "behaviors"):
        assert getattr(back, name) == getattr(data, name)
    pd.testing.assert_frame_equal(back.item_table, data.item_table, check_dtype=False)
    assert (back.truth.noisy_pairs == data.truth.noisy_pairs).all()
    assert back.truth.missing_pairs.shape == (0, 2)
    assert (back.truth.noisy_rows["text"] == data.truth.noisy_rows["text"]).all()
    assert (back.truth.clean_features["text"] == 1).all()
    pd.testing.assert_frame_equal(back.truth.relevant, data.truth.relevant)
    assert back.truth.nuisance is None
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_half_precision_loses_little_and_says_when_it_cannot(tmp_path):
    data = full_dataset([0, 1, 2], [0, 1, 2, 3])
    back = readers.read(readers.write_parquet(data, tmp_path / "half", features="float16"))
    assert np.abs(back.features["image"] - data.features["image"]).max() < 2e-3
    huge = data.replace(features={"image": np.full((4, 2), 1e6, dtype=np.float32)})
    with pytest.raises(UserError, match=r"expected at most 65504"):
        readers.write_parquet(huge, tmp_path / "huge", features="float16")
    assert [p.name for p in tmp_path.iterdir()] == ["half"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    old, new = full_dataset([0, 1, 2], [0, 1, 2, 3]), full_dataset([0, 1, 2], [4, 5, 6, 7])
    readers.write_parquet(old, tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        readers.write_parquet(new, tmp_path / "out")

    def disk_full(*_, **__):
        assert readers.read(tmp_path / "out").fingerprint == old.fingerprint  # still there while it is replaced
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer.np, "savez", disk_full)
        with pytest.raises(UserError, match="No space left"):
            readers.write_parquet(new, tmp_path / "out", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert readers.read(tmp_path / "out").fingerprint == old.fingerprint
    readers.write_parquet(new, tmp_path / "out", overwrite=True)
    assert readers.read(tmp_path / "out").fingerprint == new.fingerprint


def test_only_a_data_set_is_ever_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists already"):
        readers.write_parquet(full_dataset([0, 1, 2], [0, 1, 2, 3]), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


RAW = pd.DataFrame(
    {
        "reviewerID": ["u1", "u1", "u1", "007", "007", "NA"],
        "asin": ["B", "A", "C", "A", "B", "Z"],
        "overall": ["5", "1", "3", "4", "4", "2"],
        "unixReviewTime": ["300", "100", "200", "5", "6", "1"],
    }
)


def write_raw(table, path):
    if path.suffix in (".csv", ".tsv"):
        table.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".jsonl":
        typed = table.astype({"overall": float, "unixReviewTime": int})
        path.write_text("\n\n".join(json.dumps(r) for r in typed.to_dict("records")) + "\n")
    else:
        table.astype({"unixReviewTime": "int64"}).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_raw_tables_of_every_format_say_the_same(suffix, tmp_path):
    data = readers.read(write_raw(RAW, tmp_path / f"reviews{suffix}"))
    assert data.user_ids.tolist() == ["007", "NA", "u1"]  # text as written
    assert [t[1:] for t in triples(data) if t[0] == "test"] == [("007", "B"), ("u1", "B")]
    assert data.clock == "unix"
    assert sorted(data.train.rating.tolist()) == [1, 2, 4]
    assert data.name == "reviews"


def test_a_core_is_taken_before_the_split(tmp_path):
    path = write_raw(RAW, tmp_path / "reviews.csv")
    data = readers.read(path, core_user=2, core_item=2)
    assert (data.user_ids.tolist(), data.item_ids.tolist()) == (["007", "u1"], ["A", "B"])


@pytest.mark.parametrize(
    "times",
    [
        ["1500000000", "1500000060"],
        ["1500000000000", "1500000060000"],
        ["2017-07-14T02:40:00Z", "2017-07-14 02:41"],
        ["07/14/2017 02:40", "Jul 14, 2017 2:41 am"],
    ],
)
def test_times_are_unix_seconds_whatever_they_were(times, tmp_path):
    pd.DataFrame({"uid": ["a", "a"], "item_id:token": ["x", "y"], "date": times}).to_csv(
        tmp_path / "t.csv", index=False
    )
    data = readers.read(tmp_path / "t.csv")
    assert [*data.train.timestamp, *data.test.open("rewrite").timestamp] == [1500000000, 1500000060]


def test_columns_of_odd_names_can_be_named(tmp_path):
    pd.DataFrame({"wer": ["a", "b"], "was": ["x", "y"], "wie": ["klick", "kauf"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    data = readers.read(tmp_path / "t.csv", user="wer", item="was", behavior="wie")
    assert triples(data) == [("train", "a", "x"), ("train", "b", "y")]
    assert data.behaviors == ("kauf", "klick")
    assert data.train.behavior.tolist() == [1, 0]


@pytest.fixture
def raw_folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    write_raw(RAW, folder / "reviews.csv")
    pd.DataFrame({"id": list("ZCBAQ"), "name": list("zcbaq")}).to_csv(folder / "items.csv", index=False)
    np.save(folder / "image.npy", np.array([[3], [2], [1], [26]], dtype=np.float32))
    (folder / "image_ids.txt").write_text("C\nB\nA\nZ\n")
    pd.DataFrame({"asin": list("QZABC"), "x": [9, 26, 1, 2, 3], "y": [0.5] * 5}).to_csv(
        folder / "text_feat.csv", index=False
    )
    listed = pd.DataFrame({"item": list("BACZ"), "vector": [np.full(2, n) for n in (2.0, 1.0, 3.0, 26.0)]})
    listed.to_parquet(folder / "audio_feat.parquet")
    return folder


def test_feature_and_item_rows_are_matched_by_id(raw_folder):
    data = readers.read(raw_folder)
    for item, number in (("A", 1), ("B", 2), ("C", 3), ("Z", 26)):
        assert feature_of(data, "image", item) == [number]
        assert feature_of(data, "text", item) == [number, 0.5]
        assert feature_of(data, "audio", item) == [number, number]
    assert data.item_table["title"].tolist() == ["a", "b", "c", "z"]


def test_missing_feature_rows_are_zero_only_when_allowed(raw_folder):
    np.save(raw_folder / "image.npy", np.ones((3, 1)))
    (raw_folder / "image_ids.txt").write_text("C\nB\nA")
    with pytest.raises(UserError, match="no features for 1 of 4 items, the first is 'Z'"):
        readers.read(raw_folder)
    assert feature_of(readers.read(raw_folder, missing="zero"), "image", "Z") == [0]


def test_every_layout_is_recognised(mmrec, parquet, raw_folder, tmp_path):
    for name, matrix in matrices():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(matrix))
    found = [
        readers.detect(p)
        for p in (mmrec, mmrec / "tiny.inter", parquet, tmp_path, raw_folder, raw_folder / "reviews.csv")
    ]
    assert found == ["mmrec", "mmrec", "parquet", "sparse", "raw", "raw"]
    RAW.to_parquet(raw_folder / "interactions.parquet")  # other column names than the Parquet layout has
    (raw_folder / "reviews.csv").unlink()
    assert readers.detect(raw_folder) == "raw"
    assert readers.read(raw_folder).num_users == 3
