"""Options that say who computes many runs, and the executor they mean; contradictions are one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nbkit.errors import UserError, nearest

if TYPE_CHECKING:
    from nbkit.studies.executors import Executor

Who = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="inline, pool or ray, also with settings: pool:4, ray:ADDRESS (default: what --jobs asks for, "
        "else $NBKIT_EXECUTOR, else inline).",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(help="Runs computed at a time (default: 1; on Ray as many as its nodes have room for)."),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads of each run (default: the cores shared out among the jobs; on Ray 1, as many CPUs)."),
]
Devices = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, or several to take turns: cuda:0,cuda:1.")]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Ray: head of the cluster (default: $RAY_ADDRESS, else this machine)."),
]
Gpus = Annotated[
    float | None, typer.Option(help="Ray: share of a GPU for each run, 0.25 for four on one (default: 0, the CPU).")
]
Shared = Annotated[
    bool, typer.Option("--shared", help="Ray: all nodes see the runs folder and write there, checkpoints included.")
]


def executor(
    who: str | None = None,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    address: str | None = None,
    gpus: float | None = None,
    shared: bool = False,
) -> Executor:
    """The executor that the options mean: without a name inline, or a pool where more than that is asked for.

    A name with settings (:func:`nbkit.studies.naming.executor_of`) says everything by itself.

    Raises:
        UserError: options that contradict each other, numbers out of range, an unknown device, Ray not installed.
    """
    from nbkit.studies.naming import KINDS, executor_of

    for_ray = {"--address": address is not None, "--gpus": gpus is not None, "--shared": shared}
    options = {"--jobs": jobs is not None, "--threads": threads is not None, "--device": device != "auto", **for_ray}
    given = [option for option, value in options.items() if value]
    if (who is None and not given) or (who is not None and ":" in who):
        if given:
            raise UserError(f"{given[0]} beside --executor {who!r}; expected one of both: a name may hold all settings")
        return executor_of(who)
    if who is not None and who not in KINDS:
        raise UserError(f"--executor {who!r}: unknown executor; {nearest(who, KINDS)}")
    if who == "ray":
        from nbkit.studies.cluster import Ray

        if device != "auto":
            raise UserError(f"--device {device!r} with --executor ray; expected --gpus SHARE, or neither for the CPU")
        return Ray(address, 1 if threads is None else threads, gpus or 0.0, jobs, shared)
    for option in (name for name, given in for_ray.items() if given):
        raise UserError(f"{option} without a cluster; expected --executor ray beside it")
    from nbkit.studies.executors import Inline
    from nbkit.studies.pool import Pool
    from nbkit.training.loop import pick_device

    devices = tuple(device.split(","))
    for name in devices:
        pick_device(name)
    alone = jobs in (None, 1) and threads is None and len(devices) == 1
    if who == "inline" and not alone:
        raise UserError("--executor inline computes one run at a time; expected no --jobs, --threads or second device")
    if alone and who != "pool":
        return Inline(device)
    return Pool(1 if jobs is None else jobs, threads, devices)
