"""``nbkit models``: which models there are and what can be set about them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from nbkit.cli import console
from nbkit.errors import UserError

_INPUTS = {
    "none": "interactions alone",
    "optional": "interactions, and item features where there are any",
    "any": "interactions and item features",
}


def models(
    name: Annotated[str | None, typer.Argument(help="A model, to see its settings and its equations.")] = None,
    cards: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page about every model into this folder.")
    ] = None,
    costs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Result of `python -m benchmarks.cost`, for the pages.")
    ] = None,
) -> None:
    """List the models, or show one and its settings.

    One model comes with its equations, its paper and each setting's type, default and range.

    \b
    Examples:
      nbkit models
      nbkit models lightgcn
      nbkit models --cards docs/models
    """
    from nbkit import config
    from nbkit.models.base import model_class, registry

    if name is not None and cards is not None:
        raise UserError(f"--cards {str(cards)!r} writes a page about every model; expected no MODEL beside it")
    if costs is not None and cards is None:
        raise UserError(f"--costs {str(costs)!r} is for the pages; expected --cards DIR beside it")
    if cards is not None:
        from nbkit.studies.model_cards import write_cards

        console.say(f"{len(write_cards(cards, costs))} pages: {cards}")
        return

    if name is None:
        found = sorted(registry().items())
        console.print_table(
            ["model", "paper", "venue", "uses"],
            [[key, cls.paper.title, cls.paper.venue, _INPUTS[cls.modalities]] for key, cls in found],
        )
        return
    cls = model_class(name)
    console.say(f"{name}: {inspect.cleandoc(cls.__doc__ or '')}\n")
    console.say(f"Paper: {cls.paper.title}, {cls.paper.venue}, {cls.paper.link}")
    console.say(f"Uses: {_INPUTS[cls.modalities]}\n")
    settings = config.settings_of(cls).values()
    console.print_table(
        ["setting", "type", "default", "range", "meaning"],
        [[s.name, s.type_name, "required" if s.required else repr(s.default), s.range or "", s.help] for s in settings],
        title=f"Settings: nbkit train {name} --set NAME=VALUE",
    )
    if cls.presets:
        rows = [
            [key, config.assignments({**preset.settings, **preset.training}), preset.source]
            for key, preset in cls.presets.items()
        ]
        console.print_table(["preset", "settings", "from"], rows, title=f"\nPresets: nbkit train {name} --preset NAME")
