"""MMRec as the other side of a comparison: a checkout of its own is driven as it stands, not one file edited.

What keeps a checkout from running on current versions (missing imports, names that NumPy and SciPy dropped,
hard ``.cuda()``) is put right in memory, in the process that loads it. None of its code is here.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
import types
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import data, measure
from benchmarks.fittings import FITTINGS, SETTINGS, USER_GRAPH, Fitting
from nbkit.errors import UserError, nearest


class _Absent(types.ModuleType):
    """Stands for a module that is not installed: any name can be imported from it, none does anything."""

    __path__: Any = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _AbsentFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules named in ``roots``, and what is below them, as empty ones."""

    def __init__(self, roots: set[str]) -> None:
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.roots:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def _scatter_add(source: torch.Tensor, index: torch.Tensor, dim: int = 0, dim_size: int | None = None) -> torch.Tensor:
    """Sums of ``source`` by ``index`` along the only axis: what graph code needs of torch_scatter."""
    out = source.new_zeros(int(index.max()) + 1 if dim_size is None else dim_size)
    return out.scatter_add_(dim, index, source)


def adapt() -> list[str]:
    """Let current libraries answer to the names that MMRec uses; returns what was put right."""
    done = []
    roots = ("torchvision", "torch_scatter", "lmdb", "matplotlib", "PIL", "torch_geometric", "sparsesvd", "sklearn")
    absent = {root for root in roots if importlib.util.find_spec(root) is None}
    if absent:
        sys.meta_path.append(_AbsentFinder(absent))
        done += [f"{root}: empty module" for root in sorted(absent)]
    if "torch_scatter" in absent:
        module = importlib.import_module("torch_scatter")
        module.scatter_add = _scatter_add  # type: ignore[attr-defined]
    for name, kind in (("float", float), ("int", int), ("bool", bool)):
        if name not in vars(np):
            setattr(np, name, kind)
            done.append(f"numpy.{name}")
    from scipy import sparse

    if not hasattr(sparse.dok_matrix, "_update"):
        sparse.dok_matrix._update = lambda self, entries: self._dict.update(entries)
        done.append("scipy.sparse.dok_matrix._update")
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
        torch.nn.Module.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
        done.append(".cuda() without a GPU")
    return done


def _let_tensors_replace_parameters(module_class: Any) -> None:
    """Some models register a Parameter and later assign a plain tensor to its name, which torch refuses."""

    def assign(self: torch.nn.Module, name: str, value: Any) -> None:
        registered = self.__dict__.get("_parameters", {})
        if name in registered and isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
            del registered[name]
        torch.nn.Module.__setattr__(self, name, value)

    module_class.__setattr__ = assign


class MMRec:
    """One MMRec model on one data folder, driven by MMRec's own loaders, trainer and evaluator.

    ``folder`` is in the Parquet layout; a copy in MMRec's layout is made in a temporary folder.

    Raises:
        UserError: no MMRec at ``checkout``, an unknown model, or a last user or item without a pair.
    """

    def __init__(
        self,
        *,
        checkout: str,
        folder: str,
        model: str,
        settings: Mapping[str, Any] | None = None,
        image_dim: int | None = None,
        device: str = "cpu",
        seed: int = 999,
    ) -> None:
        source = Path(checkout).resolve() / "src"
        if not (source / "common" / "trainer.py").is_file():
            raise UserError(f"--mmrec {checkout!r}: no src/common/trainer.py there; expected a checkout of MMRec")
        models = [path.stem for path in (source / "configs" / "model").glob("*.yaml")]
        if model not in models:
            raise UserError(f"unknown MMRec model {model!r}; {nearest(model, models)}")
        sys.dont_write_bytecode = True  # a checkout is left as it was found
        self.adapted = adapt()
        sys.path.insert(0, str(source))
        logging.getLogger().setLevel(logging.WARNING)
        dataset = data.read(Path(folder), image_dim=image_dim)
        self._temporary = tempfile.TemporaryDirectory(prefix="mmrec-")
        layout = data.write_mmrec(dataset, Path(self._temporary.name) / "bench")
        self.fitting = FITTINGS.get(model, Fitting())
        self.fitting.files(dataset, layout)
        here = Path.cwd()
        os.chdir(source)  # its settings files are looked up below the current folder
        try:
            self._build(layout, model, {**SETTINGS.get(model, {}), **(settings or {})}, device, seed)
        finally:
            os.chdir(here)
        if (self.model.n_users, self.model.n_items) != (dataset.num_users, dataset.num_items):
            raise UserError(
                f"MMRec counts {self.model.n_users} users and {self.model.n_items} items, "
                f"the data set {dataset.num_users} and {dataset.num_items}; the last of each needs a pair"
            )
        self.optimiser_steps = 0
        self.trainer.optimizer.register_step_post_hook(self._count_step)

    def _build(self, layout: Path, model: str, settings: dict[str, Any], device: str, seed: int) -> None:
        configurator = importlib.import_module("utils.configurator")
        tools = importlib.import_module("utils.utils")
        loaders = importlib.import_module("utils.dataloader")
        records = importlib.import_module("utils.dataset")
        chosen = {
            "data_path": f"{layout.parent}{os.sep}",
            "inter_file_name": f"{layout.name}.inter",
            "USER_ID_FIELD": "userID",
            "ITEM_ID_FIELD": "itemID",
            "TIME_FIELD": "timestamp",
            "field_separator": "\t",
            "vision_feature_file": "image_feat.npy",
            "text_feature_file": "text_feat.npy",
            "user_graph_dict_file": USER_GRAPH,
            "use_gpu": device != "cpu",
            "seed": seed,
            **settings,
        }
        self.config = configurator.Config(model, layout.name, chosen)
        tools.init_seed(seed)
        whole = records.RecDataset(self.config)
        str(whole)  # MMRec counts its interactions only while it prints them
        train, valid, test = whole.split()
        for part in (train, valid, test):
            str(part)
        self.train_data = loaders.TrainDataLoader(
            self.config, train, batch_size=self.config["train_batch_size"], shuffle=True
        )
        self.valid_data = loaders.EvalDataLoader(
            self.config, valid, additional_dataset=train, batch_size=self.config["eval_batch_size"]
        )
        self.train_data.pretrain_setup()
        _let_tensors_replace_parameters(importlib.import_module("common.abstract_recommender").AbstractRecommender)
        self.fitting.module(importlib.import_module(f"models.{model.lower()}"))
        self.model = tools.get_model(model)(self.config, self.train_data).to(self.config["device"])
        self.fitting.model(self.model)
        self.trainer = tools.get_trainer()(self.config, self.model)

    def _count_step(self, *_: Any) -> None:
        self.optimiser_steps += 1

    def epoch(self) -> dict[str, float]:
        """One epoch as ``Trainer.fit`` runs it, without evaluation: steps taken and mean loss of a step."""
        before = self.optimiser_steps
        self.model.pre_epoch_processing()
        _, losses = self.trainer._train_epoch(self.train_data, 0)
        self.trainer.lr_scheduler.step()
        self.model.post_epoch_processing()
        steps = self.optimiser_steps - before
        return {"steps": steps, "loss": float(torch.stack([loss.reshape(()) for loss in losses]).mean())}

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation split: its 16 metrics, rounded to 4 digits as MMRec rounds them."""
        _, result = self.trainer._valid_epoch(self.valid_data)
        return {name.lower(): float(value) for name, value in result.items()}

    def both(self) -> dict[str, float]:
        """An epoch and its validation: what one waits for."""
        return {**self.epoch(), **self.evaluate()}

    def forget_peak(self) -> int:
        """Let the peak of memory begin anew, at the bytes that this returns."""
        return measure.forget_peak(self.config["device"])

    def peak_memory(self) -> int:
        """Most bytes held since then."""
        return measure.peak_memory(self.config["device"])

    def _named(self) -> list[tuple[str, torch.nn.Parameter]]:
        # Under every name: DualGNN gives some a second one on its way.
        return list(self.model.named_parameters(remove_duplicate=False))

    def weights(self) -> dict[str, np.ndarray]:
        """Every trainable array by its name in MMRec, and tensors that keep their random start."""
        arrays = {name: value for name, value in self._named() if value.requires_grad}
        arrays |= {name: attrgetter(name)(self.model) for name in self.fitting.constants}
        return {name: value.detach().cpu().numpy().copy() for name, value in arrays.items()}

    def _total(self, triples: np.ndarray) -> torch.Tensor:
        self.model.train()
        self.model.pre_epoch_processing()  # graphs that last an epoch are made here
        # A copy: some models write into their batch.
        value = self.model.calculate_loss(torch.tensor(triples, device=self.config["device"]))
        return torch.stack(value).sum() if isinstance(value, tuple) else value

    def loss(self, triples: np.ndarray) -> float:
        """Loss of one batch of ``(3, B)`` users, positives and negatives with the weights as they are."""
        with torch.no_grad():
            return float(self._total(triples))

    def gradients(self, triples: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of the same loss for every trainable array that receives one."""
        self.model.zero_grad()
        self._total(triples).backward()
        found = {n: p.grad.cpu().numpy().copy() for n, p in self._named() if p.grad is not None}
        self.model.zero_grad()
        return found

    def write_scores(self, path: str) -> None:
        """Write the unmasked scores of all users and items, ``(U, I)`` float32, as a NumPy file."""
        self.model.eval()
        users = torch.arange(self.model.n_users, device=self.config["device"])
        with torch.no_grad():
            parts = [self.model.full_sort_predict([part, None]).cpu() for part in users.split(4096)]
        np.save(path, torch.cat(parts).numpy())


def main(arguments: list[str] | None = None) -> None:
    """Time one MMRec model by itself: a quick look whether a checkout runs here."""
    import time

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mmrec", required=True, help="folder of an MMRec checkout")
    parser.add_argument("--data", required=True, help="folder in the Parquet layout")
    parser.add_argument("--model", action="append", help="MMRec model, may be repeated (default: four of them)")
    parser.add_argument("--image-dim", type=int, help="random image features of this width")
    chosen = parser.parse_args(arguments)
    for model in chosen.model or ["BPR", "LightGCN", "VBPR", "FREEDOM"]:
        side = MMRec(checkout=chosen.mmrec, folder=chosen.data, model=model, image_dim=chosen.image_dim)
        for _ in range(2):
            start = time.perf_counter()
            epoch = side.epoch()
            trained = time.perf_counter()
            metrics = side.evaluate()
            ranked = time.perf_counter()
            print(
                f"{model}: {epoch['steps']} steps in {trained - start:.2f} s, loss {epoch['loss']:.4f}; "
                f"ranking in {ranked - trained:.2f} s, Recall@20 {metrics['recall@20']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
