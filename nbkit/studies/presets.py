"""Where models start from: a preset that they declare, one that a search wrote to a file, or their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbkit import config
from nbkit.errors import UserError, nearest
from nbkit.models.base import Preset, model_class
from nbkit.paths import read_toml, write_atomic
from nbkit.training.loop import TrainSettings

_KEYS = ("source", "settings", "training")


def starts(models: Sequence[str], preset: str | None = None) -> dict[str, Preset]:
    """The start of each model: the preset, by name or as a file ``NAME.toml``, where it has it, else its defaults.

    Raises:
        UserError: a preset that none of the models has, a file that is none, an unknown model or setting in it.
    """
    classes = {model: model_class(model) for model in models}
    if preset is None:
        return dict.fromkeys(classes, Preset("defaults"))
    if preset.endswith(".toml"):
        found = read(preset)
        known, hint = found.keys() & classes, f"the file has presets of {', '.join(found)}"
    else:
        found = {model: cls.presets[preset] for model, cls in classes.items() if preset in cls.presets}
        every = {name for cls in classes.values() for name in cls.presets}
        known, hint = set(found), nearest(preset, every) if every else "there are none"
    if not known:
        raise UserError(f"preset {preset!r}: {', '.join(classes)} has no such preset; {hint}")
    return {model: found.get(model, Preset("defaults")) for model in classes}


def read(path: str | Path) -> dict[str, Preset]:
    """The presets of a file by model: tables ``[model]`` with source, settings and training.

    Raises:
        UserError: a file that is missing or no TOML, an unknown model, key or setting, a wrong value.
    """
    where = f"preset {str(path)!r}"
    found = {}
    for model, table in read_toml(path, where, "a table [MODEL] with settings and training").items():
        cls = model_class(model)
        if not isinstance(table, Mapping):
            raise UserError(f"{where}: {model} = {table!r}; expected a table [{model}]")
        for key in table:
            if key not in _KEYS:
                raise UserError(f"{where}, {model}: unknown key {key!r}; {nearest(key, _KEYS)}")
        settings, training = table.get("settings", {}), table.get("training", {})
        config.check(cls, settings, where=f"{where}, {model} settings")
        config.check(TrainSettings, training, where=f"{where}, {model} training")
        found[model] = Preset(str(table.get("source", path)), settings, training)
    if not found:
        raise UserError(f"{where} has no preset; expected a table [MODEL] with settings and training")
    return found


def write(presets: Mapping[str, Preset], path: str | Path) -> Path:
    """Write presets as :func:`read` reads them.

    Raises:
        UserError: a name that does not end in .toml, or a place that cannot be written.
    """
    check_name(path)
    lines = [
        f"[{model}]\n" + "".join(f"{key} = {config.toml(value)}\n" for key, value in vars(preset).items())
        for model, preset in presets.items()
    ]
    write_atomic(Path(path), "\n".join(lines))
    return Path(path)


def check_name(path: str | Path) -> None:
    """Refuse a name by which a preset would not be found again."""
    if Path(path).suffix != ".toml":
        raise UserError(f"preset file {str(path)!r}; expected a name ending in .toml")


def departures(target: Any, values: Mapping[str, Any], always: Sequence[str] = ()) -> dict[str, Any]:
    """The values that differ from the defaults of ``target``, and those named in ``always``."""
    known = config.settings_of(target)
    return {name: v for name, v in values.items() if name in always or v != known[name].default}
