"""The plan of an invocation of a sweep: which networks to train, and what to record about them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder, require_same_base
from sweeps.engine.grid import axes_of, with_end, with_training
from sweeps.engine.options import AXES, Axes, Options
from sweeps.engine.scales import SCALES, ScaleName, base_config
from tsrnn.config import RunConfig
from tsrnn.errors import UsageError
from tsrnn.io.files import RECORD, location

Grid = Callable[[RunConfig, Axes], Iterable[RunConfig]]
RESULTS: Final = "results"
"""The default folder of results, which has a subfolder for each scale."""


@dataclass(frozen=True)
class Sweep:
    """One experiment.

    Attributes:
        name: also the name of its results folder.
        doc: its question, grid and expected result; the text of --help.
        axes: the options that its grid varies, with their values; a function if they depend on the scale.
        grid: yields one configuration for each combination, from a common configuration and the values of the axes.
        figures: the figures of the paper that it is about, whose claims are judged when it ends.
        at_scale: changes a configuration of the grid for a scale; it returns None if it is not trained at that scale.
        replicates: networks per combination at a scale, if different from the scale's number.
    """

    name: str
    doc: str | None
    axes: Axes | Callable[[ScaleName], Axes]
    grid: Grid
    figures: tuple[str, ...] = ()
    at_scale: Callable[[RunConfig, ScaleName], RunConfig | None] = lambda config, _scale: config
    replicates: Mapping[ScaleName, int] = field(default_factory=dict)

    def axes_at(self, scale: ScaleName) -> Axes:
        """Return the axes at a scale."""
        return self.axes if isinstance(self.axes, Axes) else self.axes(scale)

    def cells(self, base: RunConfig, axes: Axes, scale: ScaleName) -> Iterable[RunConfig]:
        """Yield one configuration for each combination that is trained at the scale."""
        for config in self.grid(base, axes):
            found = self.at_scale(config, scale)
            if found is not None:
                yield found


@dataclass(frozen=True)
class Plan:
    """The plan of an invocation: the intended record of the folder, and the requested networks.

    Attributes:
        record: the intended content of the folder.
        networks: the networks that this invocation requests.
        note: a line of information about them for the user; usually "".
    """

    record: Record
    networks: tuple[RunConfig, ...]
    note: str = ""


def storage_of(options: Options, sweep: str) -> str:
    """Return the folder that contains the sweep's folder: `--storage`, or results/SCALE.

    Raises:
        UsageError: a sweep is to be resumed, and exists at several scales.
    """
    if options.storage is not None:
        return options.storage
    if options.resume and options.scale is None:
        # Earlier versions had no folder for each scale.
        places = [*(f"{RESULTS}/{scale}" for scale in SCALES), RESULTS]
        found = [place for place in places if (location(place) / sweep / RECORD).exists()]
        if len(found) > 1:
            raise UsageError(f"resume: {' and '.join(found)} hold the sweep {sweep}; give --storage one of them")
        if found:
            return found[0]
    return f"{RESULTS}/{options.scale or 'quick'}"


def plan_of(sweep: Sweep, options: Options, folder: SweepFolder) -> Plan:
    """Determine and check what to train, before anything is written.

    A dry run without --resume does not read the folder.

    Raises:
        SweepError: the folder holds something else, or there is nothing to resume.
        UsageError: an option is not allowed.
        pydantic.ValidationError: (a ValueError) a value that a configuration does not allow.
    """
    record = None if options.dry_run and not options.resume else folder.read()
    if options.resume and record is None:
        raise SweepError(f"resume: {folder.path} holds nothing to resume; leave --resume out to start")
    recorded = record if options.resume else None
    scale = options.scale or (recorded.scale if recorded else "paper")
    preset = options.preset or (recorded.preset if recorded else "paper")
    base, note = _base(options, recorded), ""
    if record:
        usual, confirm = base_config(scale, preset).training.confirm, record.base.training.confirm
        # No option sets them; a folder keeps those with which it was begun.
        base = with_training(dataclasses.replace(base, generator=record.base.generator), confirm=confirm)
        require_same_base(folder, record, base)
        if usual is not None and confirm is None:
            note = (
                f"{folder.path} was begun by a version that did not confirm solved N, and continues without that; in "
                f"another --storage they are confirmed"
            )
    networks: tuple[RunConfig, ...] = recorded.networks if recorded else ()
    if not recorded or any(getattr(options, name) is not None for name in (*AXES, "replicates", "seed")):
        axes = sweep.axes_at(scale)
        chosen = options.over(_recorded_axes(axes, networks), sweep.name)
        seeds = sorted({network.seed for network in networks})
        if not seeds or options.seed is not None or options.replicates is not None:
            first = options.seed if options.seed is not None else min(seeds, default=0)
            replicates = len(seeds) or sweep.replicates.get(scale, SCALES[scale].replicates)
            count = replicates if options.replicates is None else options.replicates
            seeds = _seeds(first, count)
        networks = (*networks, *_expand(sweep.cells(base, chosen, scale), seeds))
    networks = tuple(dict.fromkeys(networks))
    if not networks:
        raise UsageError("grid: empty, there is nothing to train; give every option of it at least one value")
    before = record or Record(sweep.name, scale, preset, base, ())
    return Plan(before.including(networks), networks, note)


def _base(options: Options, recorded: Record | None) -> RunConfig:
    """Return the settings that all networks share; with --resume, missing options keep their recorded values."""
    if recorded is None:
        return _with_options(base_config(options.scale or "paper", options.preset or "paper"), options)
    scale, preset = options.scale or recorded.scale, options.preset or recorded.preset
    base = recorded.base
    if (scale, preset) != (recorded.scale, recorded.preset):
        given = {"precision": base.training.precision, "truncation": base.training.truncation}
        base = with_end(
            with_training(base_config(scale, preset, base.network.hidden), **given),
            max_steps_without_solving=base.end.max_steps_without_solving,
        )
    return _with_options(base, options)


def _with_options(base: RunConfig, options: Options) -> RunConfig:
    """Return a base configuration with the settings that are given by options, for any scale and preset.

    Raises:
        pydantic.ValidationError: (a ValueError) a value is not allowed.
    """
    end = {
        "max_epochs": options.epochs,
        "max_n": options.max_n,
        "max_steps_without_solving": options.stall,
    }
    base = with_end(base, **{name: value for name, value in end.items() if value is not None})
    training = {"precision": options.precision, "truncation": options.truncation}
    base = with_training(base, **{name: value for name, value in training.items() if value is not None})
    return base if options.hidden is None else base.with_hidden(options.hidden)


def _recorded_axes(axes: Axes, networks: Sequence[RunConfig]) -> Axes:
    """Return a sweep's axes with the values that recorded networks have, if there are any."""
    found: dict[str, Any] = {name: tuple(values) for name, values in axes_of(networks).items() if name in axes.varied}
    return dataclasses.replace(axes, **found)


def _seeds(first: int, count: int) -> list[int]:
    if count < 1:
        raise UsageError(f"replicates = {count}: allowed are numbers of at least 1")
    return list(range(first, first + count))


def _expand(cells: Iterable[RunConfig], seeds: Sequence[int]) -> list[RunConfig]:
    """Return all networks of the grid: each combination with each seed."""
    try:
        return [dataclasses.replace(cell, seed=seed) for cell in cells for seed in seeds]
    except ValidationError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None


def groups_of(networks: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Return the networks in groups, one for each trial: those that differ only in their seed and their source."""
    groups: dict[RunConfig, list[RunConfig]] = {}
    for network in networks:
        groups.setdefault(dataclasses.replace(network, seed=0, source=""), []).append(network)
    return list(groups.values())
