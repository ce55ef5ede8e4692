"""MMRec as the other side of a comparison, driven by its own loaders, trainer and evaluator."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import data
from benchmarks.fittings import FITTINGS, SETTINGS, USER_GRAPH, Fitting
from benchmarks.peer import Peer, adapt, source_folder
from nbkit.errors import UserError, nearest

# What it imports and may do without here.
DISPENSABLE = ("torchvision", "torch_scatter", "lmdb", "matplotlib", "PIL", "torch_geometric", "sparsesvd", "sklearn")


def _let_tensors_replace_parameters(module_class: Any) -> None:
    """Some models register a Parameter and later assign a plain tensor to its name, which torch refuses."""

    def assign(self: torch.nn.Module, name: str, value: Any) -> None:
        registered = self.__dict__.get("_parameters", {})
        if name in registered and isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
            del registered[name]
        torch.nn.Module.__setattr__(self, name, value)

    module_class.__setattr__ = assign


class MMRec(Peer):
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
        batch_size: int = 2048,
        image_dim: int | None = None,
        device: str = "cpu",
        seed: int = 999,
    ) -> None:
        source = source_folder("--mmrec", checkout, "src/common/trainer.py", "MMRec") / "src"
        models = [path.stem for path in (source / "configs" / "model").glob("*.yaml")]
        if model not in models:
            raise UserError(f"unknown MMRec model {model!r}; {nearest(model, models)}")
        sys.dont_write_bytecode = True  # a checkout is left as it was found
        self.adapted = adapt(DISPENSABLE)
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
            chosen = {"train_batch_size": batch_size, **SETTINGS.get(model, {}), **(settings or {})}
            self._build(layout, model, chosen, device, seed)
        finally:
            os.chdir(here)
        if (self.model.n_users, self.model.n_items) != (dataset.num_users, dataset.num_items):
            raise UserError(
                f"MMRec counts {self.model.n_users} users and {self.model.n_items} items, "
                f"the data set {dataset.num_users} and {dataset.num_items}; the last of each needs a pair"
            )
        super().__init__(self.trainer.optimizer, str(self.config["device"]))

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

    def train(self) -> float:
        self.model.pre_epoch_processing()
        _, losses = self.trainer._train_epoch(self.train_data, 0)
        self.trainer.lr_scheduler.step()
        self.model.post_epoch_processing()
        return float(torch.stack([loss.reshape(()) for loss in losses]).mean())

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation split: its 16 metrics, rounded to 4 digits as MMRec rounds them."""
        _, result = self.trainer._valid_epoch(self.valid_data)
        return {name.lower(): float(value) for name, value in result.items()}

    def both(self) -> dict[str, float]:
        """An epoch and its validation: what one waits for."""
        return {**self.epoch(), **self.evaluate()}

    def named(self) -> dict[str, torch.nn.Parameter]:
        # Under every name: DualGNN gives some a second one on its way.
        return {n: p for n, p in self.model.named_parameters(remove_duplicate=False) if p.requires_grad}

    def constants(self) -> dict[str, torch.Tensor]:
        return {name: attrgetter(name)(self.model) for name in self.fitting.constants}

    def backward(self, triples: np.ndarray) -> float:
        self.model.train()
        self.model.pre_epoch_processing()  # graphs that last an epoch are made here
        # A copy: some models write into their batch.
        value = self.model.calculate_loss(torch.tensor(triples, device=self.config["device"]))
        loss = torch.stack(value).sum() if isinstance(value, tuple) else value
        loss.backward()
        return loss.item()

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
