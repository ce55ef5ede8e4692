"""A study: a list of experiments made from a short declaration.

>>> study = robustness(["lightgcn", "freedom"], operators=["add_random_edges"], rates=[0, 0.2], seeds=range(2))
>>> len(study)  # 2 models x (clean + 1 noise) x 2 seeds
8
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbkit import config
from nbkit.data import corrupt
from nbkit.errors import UserError, nearest
from nbkit.models.base import Preset, model_class
from nbkit.studies.experiment import Experiment, Noise
from nbkit.studies.presets import starts
from nbkit.training.loop import TrainSettings

Names = str | Sequence[str]
Settings = Mapping[str, Any]
Condition = tuple[tuple[str, float, int | None], ...]  # operator, rate, and a seed where it is not the run's

SHOP = "boutique:small"


@dataclass(frozen=True)
class Study:
    """Experiments under a name, each of them once, in the order in which they are computed.

    ``declaration`` is what :func:`nbkit.studies.declaration.write` writes: names of builders with their arguments.
    """

    name: str
    experiments: tuple[Experiment, ...]
    declaration: tuple[tuple[str, Settings], ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        once: dict[str, Experiment] = {}
        for experiment in self.experiments:
            once.setdefault(config.canonical_json(experiment), experiment)
        object.__setattr__(self, "experiments", tuple(once.values()))
        if not self.experiments:
            raise UserError(f"study {self.name!r} is empty; expected at least one model, data set and seed")

    def __len__(self) -> int:
        return len(self.experiments)

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self.experiments)

    def __add__(self, other: Study) -> Study:
        """Both, under the first one's name."""
        return Study(self.name, self.experiments + other.experiments, self.declaration + other.declaration)

    def labels(self) -> list[str]:
        """In which settings each experiment departs from its model's first one, which is ``start``."""
        first: dict[str, Settings] = {}
        found = []
        for experiment in self.experiments:
            values = {**experiment.model_settings, **vars(experiment.training)}
            usual = first.setdefault(experiment.model, values)
            found.append(config.assignments({n: v for n, v in values.items() if v != usual[n]}) or "start")
        return found


def grid(
    models: Names,
    data: Names = SHOP,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    noise: Names = (),
    preset: str | None = None,
    settings: Settings | None = None,
    training: Settings | None = None,
    name: str = "grid",
) -> Study:
    """Every model on every data set with every seed.

    ``noise`` are texts such as ``add_random_edges:0.2``, all put into the data of every run; without a seed of its own
    (``operator:rate:seed``) noise has the run's seed, so that all models see the same data. A ``preset`` is for the
    models that have it; the others start from their defaults. ``settings`` are of the models: for all of them by the
    setting's name, for one of them below the model's name.

    Raises:
        UserError: an unknown model, setting, preset or noise.
    """
    given = dict(locals())
    runs = _runs(models, data, seeds, [_condition(noise)], preset, settings, training)
    return _study("grid", given, runs)


def robustness(
    models: Names,
    data: Names = SHOP,
    *,
    operators: Names,
    rates: Sequence[float] | Mapping[str, Sequence[float]] = (0, 0.1, 0.2, 0.3),
    seeds: Sequence[int] = (0, 1, 2),
    preset: str | None = None,
    settings: Settings | None = None,
    training: Settings | None = None,
    name: str = "robustness",
) -> Study:
    """Every model under every noise operator at every rate, with every seed; the other arguments are :func:`grid`'s.

    The noise has the run's seed, so that all models see the same damaged data. The neutral rate (0, or inf dB) is
    clean data, computed once for all operators. ``rates`` by operator are needed where shares and decibels meet.

    Raises:
        UserError: as :func:`grid`; a rate out of range, or rates that mean two things.
    """
    given = dict(locals())
    known = corrupt.operators()
    chosen = [_known(name, known, "noise: unknown operator") for name in _listed(operators)]
    if not isinstance(rates, Mapping):
        units = {known[name].unit for name in chosen}
        if len(units) > 1:
            raise UserError(
                f"rates = {list(rates)!r} for {', '.join(chosen)}; expected rates by operator (share and dB)"
            )
        rates = dict.fromkeys(chosen, rates)
    elif set(rates) != set(chosen):
        raise UserError(f"rates are of {', '.join(rates)}; expected rates of {', '.join(chosen)}")
    conditions: dict[Condition, None] = {}
    for name_, rate in ((name, rate) for name in chosen for rate in rates[name]):
        known[name_].check(rate)
        conditions[() if rate == known[name_].neutral else ((name_, float(rate), None),)] = None
    ordered = sorted(conditions, key=bool)  # clean data first, the rest as declared
    return _study("robustness", given, _runs(models, data, seeds, ordered, preset, settings, training))


def ablation(
    model: str,
    data: Names = SHOP,
    *,
    parts: Sequence[str] | None = None,
    combinations: bool = False,
    seeds: Sequence[int] = (0, 1, 2),
    noise: Names = (),
    preset: str | None = None,
    settings: Settings | None = None,
    training: Settings | None = None,
    name: str = "ablation",
) -> Study:
    """The whole model, and the model without each of its ``parts`` (all that it declares); the rest as :func:`grid`.

    With ``combinations`` also without every two of them, every three, and so on to none of them.

    Raises:
        UserError: as :func:`grid`; a model that declares no parts, or an unknown part.
    """
    given = dict(locals())
    switches = model_class(model).parts
    if not switches:
        raise UserError(f"model {model} declares no parts; expected one of a model that can be taken apart")
    off = [switches[_known(part, switches, f"model {model}: unknown part")] for part in parts or switches]
    most = len(off) if combinations else 1
    some = [one for size in range(most + 1) for one in itertools.combinations(off, size)]
    variants = [Preset("without these", {k: v for part in one for k, v in part.items()}) for one in some]
    return _study(
        "ablation", given, _runs(model, data, seeds, [_condition(noise)], preset, settings, training, variants)
    )


def sweep(
    model: str,
    data: Names = SHOP,
    *,
    over: Mapping[str, Sequence[Any]],
    product: bool = False,
    seeds: Sequence[int] = (0, 1, 2),
    noise: Names = (),
    preset: str | None = None,
    settings: Settings | None = None,
    training: Settings | None = None,
    name: str = "sweep",
) -> Study:
    """The model, then each value of each setting, one departure at a time, or with ``product`` every combination.

    The settings that ``over`` names may be the model's or its training's; the rest as :func:`grid`.

    Raises:
        UserError: as :func:`grid`; a setting that neither the model nor its training has.
    """
    given = dict(locals())
    own, shared = config.settings_of(model_class(model)), config.settings_of(TrainSettings)
    for setting in over:
        _known(setting, {**own, **shared}, f"over, model {model}: unknown setting")
    lists = [[(setting, value) for value in values] for setting, values in over.items()]
    points = itertools.product(*lists) if product else ((point,) for values in lists for point in values)
    variants = [Preset("start")] + [
        Preset(
            "over",
            {setting: value for setting, value in point if setting in own},
            {setting: value for setting, value in point if setting not in own},
        )
        for point in points
    ]
    return _study("sweep", given, _runs(model, data, seeds, [_condition(noise)], preset, settings, training, variants))


BUILDERS = {make.__name__: make for make in (grid, robustness, ablation, sweep)}


def _runs(
    models: Names,
    data: Names,
    seeds: Sequence[int],
    conditions: Sequence[Condition],
    preset: str | None,
    settings: Settings | None,
    training: Settings | None,
    variants: Sequence[Preset] = (Preset("start"),),
) -> list[Experiment]:
    """The product of everything, runs on the same data beside each other."""
    chosen = list(_listed(models))
    first = {}
    for model, start in starts(chosen, preset).items():
        of_all = {n: v for n, v in (settings or {}).items() if n not in chosen}
        of_one = (settings or {}).get(model, {})
        first[model] = {**start.settings, **of_all, **of_one}, {**start.training, **(training or {})}
    return [
        Experiment(
            model=model,
            data=spec,
            seed=seed,
            noise=tuple(Noise(name, rate, seed if own is None else own) for name, rate, own in condition),
            model_settings={**first[model][0], **variant.settings},
            training=config.build(TrainSettings, {**first[model][1], **variant.training}, where="training"),
        )
        for spec in _listed(data)
        for condition in conditions
        for seed in seeds
        for model in chosen
        for variant in variants
    ]


def _condition(noise: Names) -> Condition:
    texts = [(text, Noise.parse(text)) for text in _listed(noise)]
    return tuple((n.operator, n.rate, n.seed if text.count(":") == 2 else None) for text, n in texts)


def _study(builder: str, given: Settings, experiments: Sequence[Experiment]) -> Study:
    said = {key: value for key, value in given.items() if key != "name"}
    return Study(str(given["name"]), tuple(experiments), ((builder, said),))


def _listed(names: Names) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


def _known(name: str, known: Mapping[str, Any], words: str) -> str:
    if name not in known:
        raise UserError(f"{words} {name!r}; {nearest(name, known)}")
    return name
