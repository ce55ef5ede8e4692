"""Tuning under an equal budget: as many trials for each model, chosen on validation, the test split never opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from nbkit import __version__, config
from nbkit.errors import UserError, nearest
from nbkit.models.base import Grid, Preset, model_class
from nbkit.paths import runs_dir, writable_folder
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment
from nbkit.studies.presets import departures, starts
from nbkit.studies.running import Watch
from nbkit.studies.search import Journal, Sampler, Search
from nbkit.studies.space import Space
from nbkit.studies.trials import INTERRUPTED, Watching, Worker, run_workers
from nbkit.training.loop import TrainSettings

Settings = Mapping[str, Any]

VALUES = "values."  # before the names of varied settings in a table of trials
_LEAST = 4  # trials to end before an importance is worth a number
_STATES = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "stopped"}


def search_for(
    model: str,
    *,
    data: str,
    settings: Settings | None = None,
    training: Settings | None = None,
    seed: int = 0,
    preset: str | Preset | None = None,
    sampler: Sampler = "grid",
    prune: bool = False,
    over: Mapping[str, Sequence[Any]] | None = None,
) -> Search:
    """A search over the model's grid, or ``over`` these values of settings, from its defaults or a preset on.

    ``settings`` of the model and ``training`` hold in every trial, and are not varied. ``seed`` is that of the runs and
    of what the sampler draws.

    Raises:
        UserError: an unknown model, setting, preset or sampler, or nothing left to vary.
    """
    cls, settings, training = model_class(model), settings or {}, training or {}
    if sampler not in ("grid", "random", "tpe"):
        raise UserError(f"sampler = {sampler!r}; {nearest(sampler, ('grid', 'random', 'tpe'))}")
    chosen = preset if isinstance(preset, Preset) else starts([model], preset)[model]
    start = Experiment(
        model=model,
        data=data,
        seed=seed,
        model_settings={**chosen.settings, **settings},
        training=config.build(TrainSettings, {**chosen.training, **training}, where="training"),
    )
    declared = cls.grid if over is None else _grid(cls, over)
    grid = Grid(
        declared.source,
        {name: values for name, values in declared.settings.items() if name not in settings},
        {name: values for name, values in declared.training.items() if name not in training},
    )
    if len(grid.points()) < 2:
        fixed = f" beside {config.assignments({**settings, **training})}" if settings or training else ""
        raise UserError(f"model {model} has nothing to vary{fixed}; expected a model with a grid")
    return Search(Space(start, grid), sampler, prune)


def _grid(cls: Any, over: Mapping[str, Sequence[Any]]) -> Grid:
    own, shared = config.settings_of(cls), config.settings_of(TrainSettings)
    found: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, values in over.items():
        if name not in {**own, **shared}:
            raise UserError(f"over, model {cls.name}: unknown setting {name!r}; {nearest(name, {**own, **shared})}")
        setting = own.get(name) or shared[name]
        found[name not in own][name] = tuple(setting.check(value, "over") for value in values)
    return Grid("given", *found)


def tune(
    search: Search,
    trials: int,
    *,
    root: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    datasets: Datasets | None = None,
    watching: Watching = lambda number, label: (),
    watch: Watch = lambda state: None,
) -> pd.DataFrame:
    """Try a budget of ``trials`` different settings and give :func:`table`; what was tried before is not tried again.

    A pruned trial counts, and so does a failed one, which is tried again in the next call. ``watching`` gives callbacks
    for the fit of a trial where one process computes, ``watch`` is told how far several are.

    Raises:
        KeyboardInterrupt: after Ctrl-C; everything finished is kept, the same call goes on.
        RunBusyError: another process is at this search.
        UserError: no trial wanted, data that cannot be loaded, a folder that cannot be written.
    """
    if trials < 1:
        raise UserError(f"trials = {trials}; expected 1 or more")
    datasets = datasets or Datasets()
    writable_folder(runs_dir() if root is None else Path(root), "runs folder")
    journal = _journal(search, root, datasets)
    with journal.folder.hold():
        journal.bury()
        since = journal.length
        if workers == 1:
            ended = Worker(journal, trials, since, device, datasets, watching).work()
        else:
            ended = run_workers(journal, trials, since, jobs=workers, device=device, watch=watch)
    if not ended:
        raise KeyboardInterrupt
    return table(search, trials, root=root, datasets=datasets)


def table(search: Search, trials: int, *, root: Path | None = None, datasets: Datasets | None = None) -> pd.DataFrame:
    """The first ``trials`` settings that were tried, best first: model, trial, settings, state, score, run, note, ….

    ``score`` is the best validation of a trial that is *done*, nan of one that is *pruned*, *failed*, *stopped* or
    *running*; ``best_epoch``, ``epochs`` and ``seconds`` are its fit's, the values of the varied settings columns of
    their own below ``values.``.
    """
    journal = _journal(search, root, datasets or Datasets())
    rows = []
    for number, trial in enumerate(list(journal.tried().values())[:trials]):
        point, note = trial.user_attrs["point"], trial.user_attrs.get("reason", "")
        state = _STATES[trial.state.name]
        if state == "failed" and note in ("", INTERRUPTED):
            state, note = "stopped", note or "its process died"
        row = {"model": search.space.start.model, "trial": number, "settings": search.space.label(point)}
        row |= {"state": state, "score": trial.value if state == "done" else float("nan")}
        run = RunFolder(journal.root / trial.user_attrs.get("run", ""))
        if state == "done" and run.status == "done":
            fitted = run.read_json("metrics.json")["fit"]
            row |= {name: fitted[name] for name in ("best_epoch", "epochs")} | {"seconds": fitted["train_seconds"]}
        row |= {"run": trial.user_attrs.get("run", ""), "note": note}
        rows.append({**row, **{VALUES + name: value for name, value in point.items()}})
    return ranked(pd.DataFrame(rows))


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Best validation score of each model first, and of equals the earlier trial."""
    if table.empty:
        return table
    return table.sort_values(["model", "score", "trial"], ascending=[True, False, True]).reset_index(drop=True)


def best(trials: pd.DataFrame, *, root: Path | None = None) -> Experiment | None:
    """The experiment of the best finished trial of a :func:`table`; None where none finished."""
    done = ranked(trials[trials["state"] == "done"])
    if done.empty:
        return None
    run = RunFolder((runs_dir() if root is None else Path(root)) / done["run"].iloc[0])
    return Experiment.from_dict(run.read_json("settings.json"))


def preset_of(
    search: Search, trials: pd.DataFrame, *, root: Path | None = None, datasets: Datasets | None = None
) -> Preset:
    """The best settings as a preset that says where it comes from; with it the same seed has the best trial's run id.

    Raises:
        UserError: no trial finished.
    """
    start, chosen = search.space.start, best(trials, root=root)
    if chosen is None:
        raise UserError(f"no trial of {start.model} finished; nothing to export")
    fingerprint = (datasets or Datasets()).fingerprint(start)
    states = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    source = (
        f"{search.sampler} search of {len(trials)} trials ({states}) on {start.data} (sha256 {fingerprint[:16]}), "
        f"seed {start.seed}: validation {search.metric} {trials['score'].max():.4f}; nbkit {__version__}"
    )
    grid = search.space.grid
    own = departures(model_class(start.model), chosen.model_settings, list(grid.settings))
    return Preset(source, own, departures(TrainSettings, vars(chosen.training), list(grid.training)))


def slices(trials: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting of each trial of a :func:`table`: setting, value, score, trial, state."""
    columns = [str(name) for name in trials if str(name).startswith(VALUES)]
    parts = [
        trials[["score", "trial", "state"]].assign(setting=name.removeprefix(VALUES), value=trials[name].astype(object))
        for name in columns
    ]
    return pd.concat(parts, ignore_index=True)[["setting", "value", "score", "trial", "state"]]


def importance(searches: Sequence[Search], trials: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The share of the finished trials' spread in score that each setting explains: setting, mean, low, high, seeds.

    By fANOVA (Hutter et al., ICML 2014) over each search, averaged; the interval is Student's t over searches that
    differ in seed, nan for one. A search with fewer than four finished trials, or whose scores are all equal, says
    nothing and is left out.

    Raises:
        UserError: scikit-learn is not installed.
    """
    found = [part for part in map(_importance, searches, trials) if part]
    rows = []
    for name in searches[0].space.values if found else ():
        shares = np.array([part[name] for part in found])
        error = shares.std(ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else np.nan
        reach = error * student.ppf(0.975, len(shares) - 1) if len(shares) > 1 else np.nan
        limits = {"low": max(0.0, shares.mean() - reach), "high": min(1.0, shares.mean() + reach)}
        limits = limits if len(shares) > 1 else {"low": np.nan, "high": np.nan}
        rows.append({"setting": name, "mean": shares.mean(), **limits, "seeds": len(shares)})
    table = pd.DataFrame(rows, columns=["setting", "mean", "low", "high", "seeds"])
    return table.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def _importance(search: Search, trials: pd.DataFrame) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    done = trials[trials["state"] == "done"].sort_values("trial")
    if len(done) < _LEAST or done["score"].nunique() < 2:
        return {}
    distributions = search.space.distributions()
    columns = {name: done[VALUES + name].tolist() for name in distributions}
    study = optuna.create_study(direction="maximize")
    for number, score in enumerate(done["score"].tolist()):
        point = {name: values[number] for name, values in columns.items()}
        study.add_trial(optuna.create_trial(params=point, distributions=distributions, value=score))
    try:
        shares = optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except ImportError:
        raise UserError(
            "importance needs scikit-learn, which is not installed; install nbkit with its extra 'lab'"
        ) from None
    return {name: float(shares.get(name, 0.0)) for name in distributions}


def _journal(search: Search, root: Path | None, datasets: Datasets) -> Journal:
    return Journal(search, runs_dir() if root is None else Path(root), datasets.fingerprint(search.space.start))
