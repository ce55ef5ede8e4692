"""Every mistake in a data file is one line: the file, the place, the value and what was expected."""

import contextlib
import io
import json
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from nbkit.data import readers
from nbkit.data.readers.restricted_pickle import load_sparse
from nbkit.errors import UserError

INTER = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n1\t2\t2\n"


@pytest.fixture
def mmrec(tmp_path):
    folder = tmp_path / "mmrec"
    folder.mkdir()
    (folder / "toy.inter").write_text(INTER)
    for modality in ("image", "text"):
        np.save(folder / f"{modality}_feat.npy", np.ones((3, 2), dtype=np.float32))
    return folder


@pytest.fixture
def parquet(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    events = {
        "user_id": [0, 0, 1],
        "item_id": [0, 1, 2],
        "split": ["train", "valid", "test"],
        "timestamp": [1, 2, 3],
    }
    pd.DataFrame(events).to_parquet(folder / "interactions.parquet")
    pd.DataFrame({"item_id": [0, 1, 2]}).to_parquet(folder / "items.parquet")
    np.save(folder / "image.npy", np.ones((3, 2), dtype=np.float32))
    near = {"item_id": [0, 1, 2], "neighbor_id": [1, 2, 0], "cosine": [0.5, 0.4, 0.3]}
    pd.DataFrame(near).to_parquet(folder / "knn_image.parquet")
    return folder


@pytest.fixture
def sparse(tmp_path):
    folder = tmp_path / "sparse"
    folder.mkdir()
    for n, name in enumerate(("trnMat", "valMat", "tstMat")):
        matrix = sp.coo_matrix(([1.0], ([0], [n])), shape=(2, 3))
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(matrix))
    np.save(folder / "image_feat.npy", np.ones((3, 2), dtype=np.float32))
    return folder


def refused(path, *parts, **options):
    """Read, and return the line of the refusal after checking that it is one and holds the parts."""
    before = sorted(os.listdir(path.parent))
    with pytest.raises(UserError) as caught:
        readers.read(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line, line
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert sorted(os.listdir(path.parent)) == before
    return line


def edit(folder, name, **columns):
    table = pd.read_parquet(folder / name)
    table.assign(**columns).to_parquet(folder / name)


def test_the_untouched_folders_are_fine(mmrec, parquet, sparse):
    assert all(readers.read(folder).num_items == 3 for folder in (mmrec, parquet, sparse))


def test_what_is_not_there(tmp_path, mmrec):
    refused(tmp_path / "nowhere", "nowhere", "does not exist")
    refused(tmp_path / "nowhere.inter", "nowhere.inter", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no data set in it; expected interactions.parquet, NAME.inter")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "no data set file", ".csv")
    refused(mmrec, "unknown layout 'mmrek'; did you mean 'mmrec'", layout="mmrek")
    refused(mmrec, "unknown setting 'modality'; did you mean 'modalities'", modality="image")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["toy.inter: the file is empty"]),
        ("userID\titemID\tx_label\n", ["no rows below the header"]),
        (INTER.replace("x_label", "label"), ["column 'x_label' is missing; did you mean 'label'?"]),
        (
            INTER.replace("0\t1\t1", "0\t1\t7"),
            ["x_label 7 in line 3; expected 0 (train), 1 (valid) or 2 (test)"],
        ),
        (INTER.replace("0\t1\t1", "0\tB01\t1"), ["itemID 'B01' in line 3; expected a whole number from 0"]),
        (INTER.replace("1\t2\t2", "1.5\t2\t2"), ["userID 1.5 in line 4; expected a whole number"]),
        (INTER.replace("0\t1\t1", "-1\t1\t1"), ["userID -1 in line 3; expected a whole number from 0"]),
        (INTER.replace("0\t1\t1", "0\t1"), ["x_label nan in line 3"]),
        (INTER.replace("0\t1\t1", "0\t1\t1\t9"), ["not readable as tab separated text", "line 3"]),
        (INTER.replace("\n0", "\n9\t0"), ["toy.inter: ", "expected"]),
        (
            INTER.replace("1\t2\t2", "1\t3\t2"),
            ["itemID 3 in line 4; expected 0 … 2, as image_feat.npy has 3 rows"],
        ),
        (INTER.replace("0\t0\t0", "0\t0\t1"), ["no training interactions"]),
    ],
)
def test_inter_files(text, parts, mmrec):
    (mmrec / "toy.inter").write_text(text)
    refused(mmrec, *parts)


def test_two_inter_files_and_bytes_that_are_no_text(mmrec):
    (mmrec / "toy.inter").write_bytes(b"\xff\xfe\x00rubbish")
    refused(mmrec, "toy.inter", "not readable")
    shutil.copy(mmrec / "toy.inter", mmrec / "two.inter")
    refused(mmrec, "2 .inter files; expected one")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (np.ones((2, 2)), ["text_feat.npy: 2 rows; expected 3"]),
        (
            np.array([[1, 2], [3, np.nan], [1, 1]]),
            ["text_feat.npy: nan at row 1, column 1; expected finite numbers"],
        ),
        (np.array([[1, 2], [3, 4], [-np.inf, 1]]), ["-inf at row 2, column 0"]),
        (np.full((3, 2), 1e300), ["inf at row 0, column 0"]),  # does not fit into float32
        (np.ones(3), ["float64 (3,); expected a float16, float32 or float64 table"]),
        (np.ones((3, 2), dtype=int), ["int64 (3, 2); expected a float16"]),
        (np.array([["a", "b"]] * 3), ["expected a float16"]),
        (np.array([[{}, []]] * 3, dtype=object), ["text_feat.npy: not a readable .npy array of numbers"]),
    ],
)
def test_feature_files(table, parts, mmrec):
    np.save(mmrec / "text_feat.npy", table, allow_pickle=True)
    refused(mmrec, *parts)


def test_feature_files_that_are_cut_short_or_something_else(mmrec):
    path = mmrec / "text_feat.npy"
    whole = path.read_bytes()
    for content in (whole[:-3], whole[:40], whole[:3], b"", b"PK\x03\x04 no archive", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        refused(mmrec, "text_feat.npy: not a readable .npy array")
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3))
    refused(mmrec, "text_feat.npy", "an archive of arrays")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)})
    path.write_bytes(huge.getvalue())
    refused(mmrec, "text_feat.npy: not a readable .npy array")


def test_modalities_that_are_not_there_or_there_twice(mmrec, parquet):
    refused(mmrec, "no features for modality 'txt'; did you mean 'text'", modalities=["txt"])
    refused(parquet, "no features for modality 'text'", modalities=["text"])
    np.save(mmrec / "v_feat.npy", np.ones((3, 2)))
    refused(mmrec, "both image_feat.npy and v_feat.npy hold 'image'")


def test_parquet_ids(parquet):
    edit(parquet, "items.parquet", item_id=[0, 1, 1])
    refused(parquet, "items.parquet: item_id 1 occurs at rows 1 and 2; expected once")
    edit(parquet, "items.parquet", item_id=[0, 1, 5])
    refused(parquet, "interactions.parquet: unknown item_id 2 at row 2 (1 such rows)", "0 … 5")
    edit(parquet, "items.parquet", item_id=[0.0, 1.0, np.nan])
    refused(parquet, "items.parquet: item_id is empty in row 2")
    (parquet / "items.parquet").unlink()
    edit(parquet, "interactions.parquet", item_id=[0, 1, 9])
    refused(parquet, "unknown item_id 9 at row 2")
    edit(parquet, "interactions.parquet", item_id=["a", "b", "c"])
    refused(parquet, "items.parquet is missing; expected the ids of the feature rows")
    edit(parquet, "interactions.parquet", item_id=[0.5, 1.0, 2.0])
    refused(parquet, "item_id holds float64")


def test_parquet_columns(parquet):
    edit(parquet, "interactions.parquet", split=["train", "dev", "test"])
    refused(parquet, "split 'dev' in row 1; expected train, valid or test")
    edit(parquet, "interactions.parquet", split="test")
    refused(parquet, "no training interactions")
    edit(parquet, "interactions.parquet", split="train", timestamp=[1.0, np.nan, 2.5])
    refused(parquet, "timestamp nan in row 1; expected a whole number")
    edit(parquet, "interactions.parquet", timestamp=1, rating=["1", "five", "2"])
    refused(parquet, "rating 'five' in row 1; expected a number")
    edit(parquet, "interactions.parquet", rating=1, behavior=["view", None, "buy"])
    refused(parquet, "behavior is empty in row 1")
    refused(parquet, "behavior is empty", split="random")
    edit(parquet, "interactions.parquet", behavior="view")
    refused(parquet, "no behaviour 'viev'; did you mean 'view'", split="random", target="viev")
    refused(parquet, "expected one of 'random', 'leave-one-out', 'temporal'", split="randon")
    pd.read_parquet(parquet / "interactions.parquet")[:0].to_parquet(parquet / "interactions.parquet")
    refused(parquet, "interactions.parquet: no rows; expected interactions")
    pd.DataFrame({"user_id": [1]}).to_parquet(parquet / "interactions.parquet")
    refused(parquet, "column 'item_id' is missing", layout="parquet")


def test_parquet_files_cut_short(parquet):
    for name in ("knn_image.parquet", "items.parquet", "interactions.parquet"):
        whole = (parquet / name).read_bytes()
        (parquet / name).write_bytes(whole[: len(whole) // 2])
        refused(parquet, f"{name}: not a readable Parquet file")


def test_parquet_extras(parquet):
    near = pd.read_parquet(parquet / "knn_image.parquet")
    near[:2].to_parquet(parquet / "knn_image.parquet")
    refused(parquet, "knn_image.parquet: item 2 has 0 neighbours and item 0 has 1; expected equally many")
    near.assign(neighbor_id=[1, 2, 8]).to_parquet(parquet / "knn_image.parquet")
    refused(parquet, "knn_image.parquet: unknown neighbor_id 8 at row 2")
    near.drop(columns="cosine").to_parquet(parquet / "knn_image.parquet")
    refused(parquet, "column 'cosine' is missing")
    near.to_parquet(parquet / "knn_image.parquet")
    (parquet / "dataset.json").write_text("{")
    refused(parquet, "dataset.json: not readable as JSON")
    (parquet / "dataset.json").write_text("[1]")
    refused(parquet, "dataset.json: holds list; expected settings by name")
    (parquet / "dataset.json").unlink()
    np.save(parquet / "image.npy", np.ones((2, 2)))
    refused(parquet, "image.npy: 2 rows; expected 3, one an item")
    (parquet / "image.npy").unlink()
    edit(parquet, "interactions.parquet", position=[0, 1, 2])
    pd.read_parquet(parquet / "interactions.parquet").drop(columns="timestamp").to_parquet(
        parquet / "interactions.parquet"
    )
    refused(parquet, "split 'temporal' needs clock times", split="temporal")


class Payload:
    """What an attacker would pickle: code that runs while the file is being read."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


HOSTILE = {
    "os.system": lambda mark: Payload(os.system, f"touch {mark}"),
    "builtins.open": lambda mark: Payload(open, str(mark), "w"),
    "builtins.eval": lambda mark: Payload(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.getattr": lambda mark: Payload(getattr, "text", "upper"),
    "numpy.save": lambda mark: Payload(np.save, str(mark), np.ones(2)),
    "numpy.memmap": lambda mark: Payload(np.memmap, str(mark), "u1", "w+", 0, (4,)),
    "scipy.sparse._matrix_io.load_npz": lambda mark: Payload(sp.load_npz, str(mark)),
    "builtins.dict": lambda mark: Payload(dict, [("a", 1)]),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_would_do_something_is_refused_by_name(name, protocol, sparse, tmp_path):
    mark = tmp_path / "pwned"
    matrix = sp.csr_matrix(np.eye(2, 3))
    matrix.payload = HOSTILE[name](mark)  # hidden in a matrix that looks right
    (sparse / "valMat.pkl").write_bytes(pickle.dumps(matrix, protocol=protocol))
    line = refused(sparse, "valMat.pkl: the pickle asks for ", "refused, expected a SciPy sparse matrix")
    assert f".{name.rpartition('.')[2]}; " in line  # pickle may name the module differently: posix.system
    assert not mark.exists()


def test_allowed_names_cannot_be_put_to_another_use(tmp_path):
    core = np._core.multiarray._reconstruct
    dtype = np.dtype("O")
    tricks = [
        Payload(bytes, 10**12),
        Payload(core, np.ndarray, (0,), b"b"),  # an array without content
        Payload(np.dtype, "O"),
        Payload(np.dtype, [("a", "O")]),
        np.array([{}, []], dtype=object),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.arange(4),
        {"a": 1},
        "text",
        sp.csr_matrix,
        Payload(sp.csr_matrix, (2, 3)),  # a constructor call instead of recorded parts
        dtype,
    ]
    path = tmp_path / "m.pkl"
    for trick in tricks:
        for protocol in (0, 2, 4, 5):
            path.write_bytes(pickle.dumps(trick, protocol=protocol))
            with pytest.raises(UserError, match=r"m\.pkl: (not a pickled|the pickle asks)"):
                load_sparse(path)


def forged(kind, **parts):
    """Bytes of a pickled matrix whose attributes are replaced."""
    matrix = kind(sp.coo_matrix(([1.0, 1.0], ([0, 1], [1, 2])), shape=(2, 3)))
    vars(matrix).update(parts)
    return pickle.dumps(matrix)


@pytest.mark.parametrize(
    ("kind", "parts", "reason"),
    [
        (sp.csr_matrix, {"indices": np.array([1, 9])}, "an entry outside shape (2, 3)"),
        (sp.csr_matrix, {"indices": np.array([1, -1])}, "an entry outside shape (2, 3)"),
        (sp.csr_matrix, {"indptr": np.array([0, 5, 2])}, "row starts that do not fit"),
        (sp.csr_matrix, {"indptr": np.array([0, 2])}, "row starts that do not fit"),
        (sp.csr_matrix, {"data": np.array([1.0])}, "parts of different length"),
        (sp.csr_matrix, {"data": np.array([1.0, np.nan])}, "an entry that is not finite"),
        (sp.csr_matrix, {"data": np.array([{}, []], dtype=object)}, "an array that is not plain numbers"),
        (sp.csr_matrix, {"data": np.array(["a", "b"])}, "dtype 'U1'"),
        (sp.csr_matrix, {"data": np.ones((1, 2))}, "a part that is not a vector of numbers"),
        (sp.csr_matrix, {"_shape": (2, -3)}, "a size -3"),
        (sp.csr_matrix, {"_shape": (2,)}, "shape (2,)"),
        (sp.csr_matrix, {"_shape": (10**15, 3)}, "row starts that do not fit"),
        (sp.coo_matrix, {"coords": (np.array([0, 7]), np.array([0, 1]))}, "an entry outside shape (2, 3)"),
        (sp.coo_matrix, {"coords": 3}, "not a pickled SciPy sparse matrix"),
    ],
)
def test_matrices_that_do_not_fit_together(kind, parts, reason, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(forged(kind, **parts))
    with pytest.raises(UserError) as caught:
        load_sparse(path)
    assert "m.pkl: not a pickled SciPy sparse matrix of numbers" in str(caught.value)
    assert reason in str(caught.value)


def test_pickles_cut_short_or_of_random_bytes(sparse):
    path = sparse / "trnMat.pkl"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        refused(sparse, "trnMat.pkl: not a pickled SciPy sparse matrix")
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(UserError):  # anything else would be a way in
            readers.read(sparse)


def test_sparse_folders(sparse):
    np.save(sparse / "image_feat.npy", np.ones((2, 2)))
    refused(sparse, "image_feat.npy: 2 rows; expected 3, one an item")
    (sparse / "valMat.pkl").unlink()
    refused(sparse, "no valid matrix; expected valMat.pkl or val.json")
    for content in ("[1]", '{"0": 5}', '{"x": [1]}', '{"0": [1.5]}', '{"0": [-1]}', "{"):
        (sparse / "val.json").write_text(content)
        refused(sparse, "val.json")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["t.csv: the file is empty"]),
        ("user,item\n", ["no rows"]),
        ("person,item\na,b\n", ["no user column; name it by user=…, (choices: item, person)"]),
        ("user,item\na,b\n,c\n", ["user is empty in line 3; expected an id"]),
        ("user,item,rating\na,b,1\n\na,c,good\n", ["rating 'good' in line 4; expected a number"]),
        ("user,item,time\na,b,1\na,c,noon\n", ["time '1' in line 2; expected unix seconds or a date"]),
        ("user,item,time\na,b,2017-01-01\na,c,2017-13-01\n", ["time '2017-13-01' in line 3"]),
        ("user,item\na,b\na,b,c\n", ["not readable as columns of text", "line 3"]),
        ("user,item\na,b,c\na,b,c\n", ["more fields in a line than in the header"]),
    ],
)
def test_csv_files(text, parts, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    refused(tmp_path / "t.csv", *parts)


def test_csv_options(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item\na,b\nb,c\n")
    refused(path, "column 'usr' is missing; did you mean 'user'", user="usr")
    refused(path, "nothing is left of 2 interactions with core_user=2 and core_item=0", core_user=2)
    refused(path, "core_user = -1; expected int in 0", core_user=-1)
    refused(path, "split 'temporal' needs timestamps", split="temporal")
    refused(path, "feature file", "does not exist", features={"image": str(tmp_path / "no.npy")})


def test_json_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"user": "a", "item": "b"}\n\n{"user": "a", "item": \n')
    refused(path, "t.jsonl: line 3 is not JSON")
    path.write_text('{"user": "a", "item": "b"}\n[1, 2]\n')
    refused(path, "t.jsonl: line 2 is '[1, 2]'; expected an object with named fields")
    path.write_text('{"user": "a", "item": "b"}\n{"user": "a"}\n')
    refused(path, "item is empty in line 2; expected an id")
    path.write_text("\n")
    refused(path, "no rows")
    path.write_bytes(b'{"user": "\xff"}')
    refused(path, "not readable as text")


def test_raw_feature_tables(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "log.csv").write_text("user,item\na,x\nb,y\n")
    (path / "text_feat.csv").write_text("item,d0\nx,1\ny,much\n")
    refused(path, "text_feat.csv: 'much' in line 3, column 'd0'; expected a finite number")
    (path / "text_feat.csv").write_text("item,d0\nx,1\nx,2\n")
    refused(path, "text_feat.csv: item 'x' occurs at rows 0 and 1; expected once")
    (path / "text_feat.csv").write_text("d0,d1\n1,2\n")
    refused(path, "text_feat.csv: no item column")
    (path / "text_feat.csv").unlink()
    pd.DataFrame({"item": ["x", "y"], "v": [[1.0], [1.0, 2.0]]}).to_parquet(path / "text_feat.parquet")
    refused(path, "text_feat.parquet: 2 numbers in row 1; expected 1, as in the first")
    (path / "text_feat.parquet").unlink()
    np.save(path / "image.npy", np.ones((2, 1)))
    refused(path, "image_ids.txt is missing beside it; expected the id of each row")
    (path / "image_ids.txt").write_text("x\n")
    refused(path, "image.npy: 2 rows, but image_ids.txt has 1 ids")
    (path / "image_ids.txt").write_text("x\nz\n")
    refused(path, "no features for 1 of 2 items, the first is 'y'")
    (path / "image_ids.txt").write_text("x\ny\n")
    (path / "items.json").write_text(json.dumps({"id": "x"}) + "\n" + json.dumps({"id": "x"}))
    refused(path, "items.json: item id 'x' occurs at rows 0 and 1")
    (path / "more.csv").write_text("user,item\na,x\n")
    refused(path, "expected one table of interactions", "log.csv, more.csv")
