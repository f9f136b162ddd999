"""The settings and the progress of each network: one row for each network."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pandas as pd
from pydantic import ValidationError

from analysis import paper
from analysis.data.cell import usual_slope
from analysis.data.frames import ResultsError
from tsrnn.config import EndRules, EndState, RunConfig, differences, explain
from tsrnn.io.rows import run_columns
from tsrnn.io.schemas import RUNS

# Settings that belong to the cell, and settings that do not concern training, by their path in the configuration.
_SAID: Final = {
    ("network", "hidden"),
    ("network", "nonlinearity"),
    ("network", "self_interaction"),
    ("network", "tau"),
    ("network", "kind"),
    ("task", "kind"),
    ("task", "input_probability"),
    ("training_task", "kind"),
    ("training_task", "input_probability"),
    ("training", "batch_size"),
    ("training", "steps_per_epoch"),
    ("training", "precision"),
    ("training", "optimizer", "kind"),
    ("training", "optimizer", "learning_rate"),
    ("training", "optimizer", "momentum"),
    ("training", "optimizer", "weight_decay"),
}
# Random numbers of another generator are equivalent.
_UNRELATED: Final = {"seed", "source", "generator", "curriculum", "end", "time"}


def describe(
    runs: pd.DataFrame, outcomes: pd.DataFrame, epochs: pd.DataFrame, solved: pd.DataFrame, analyses: pd.DataFrame
) -> pd.DataFrame:
    """Return the settings and the progress of each network, finished or not.

    Args:
        runs: The table `runs`.
        outcomes: The table `outcomes`; networks without a row in it are running.
        epochs: The table `epochs`.
        solved: The table `solved`.
        analyses: The table `analyses`.

    Returns:
        One row for each network of `runs`, with its columns; columns that older results lack are filled from the
        configuration. Further columns: `status`; `max_n`, the largest N solved so far (0 if none is); `epochs`, the
        number of epochs so far; `sequences`, the number of training sequences so far, in the paper's epochs of 153,600;
        `measured`, the number of measurements of its checkpoints; `limit`, the N at which the network is done;
        `settings`, training settings that have no column in `analysis.data.cell.TRAINING`, such as
        "training.solved_weight=0.5"; `usual_slope`, whether the leaky ReLU has the slope of the preset; and
        `replicate`, which is the same for runs that differ only in their end rules.
    """
    frame = completed(runs).set_index("network_id", drop=False)
    derived = [_derived(config) for config in _configs(runs)]
    frame = frame.join(pd.DataFrame(derived, index=frame.index, columns=_DERIVED))
    ended = outcomes.set_index("network_id")
    frame["status"] = ended["status"].reindex(frame.index).fillna(EndState.RUNNING.value)
    # A failed network continues when its sweep is resumed, so its later rows are newer than its outcome.
    final = ended[ended["status"] != EndState.FAILED]
    so_far = {
        "max_n": solved.groupby("network_id")["n"].max(),
        "epochs": epochs.groupby("network_id")["epoch"].max(),
    }
    for column, values in so_far.items():
        both = final[column].reindex(frame.index).fillna(values.reindex(frame.index)).fillna(0)
        frame[column] = both.astype("int64")
    done = analyses[analyses["status"] == "done"].groupby("network_id").size()
    frame["measured"] = done.reindex(frame.index).fillna(0).astype("int64")
    frame["sequences"] = frame["epochs"] * frame["steps_per_epoch"] * frame["batch_size"] / paper.EPOCH
    usual = frame["preset"].map(usual_slope)
    frame["usual_slope"] = frame["slope"].isna() | (frame["slope"] == usual)
    return frame.reset_index(drop=True)


def once(networks: pd.DataFrame) -> pd.DataFrame:
    """Return every network once: the same run with two end rules is one network.

    The run that trained longest is kept, since it includes the other; of two that trained equally long, the one whose
    checkpoints were measured.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
    """
    ordered = networks.sort_values(["epochs", "measured"], ascending=False, kind="stable")
    longest = ordered.drop_duplicates("replicate")
    return networks.loc[networks.index.isin(longest.index)]


def completed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table `runs` with the columns that older results lack, filled from each network's configuration.

    Raises:
        ResultsError: a configuration cannot be read, for example because a plugin was not imported.
    """
    names = [column.name for column in RUNS.columns]
    present = runs.reindex(columns=[*names, *(name for name in runs if name not in names)])
    old = present["precision"].isna() | present["preset"].isna()
    if old.any():
        configs = _configs(runs[old])
        known = pd.DataFrame(
            [run_columns(config) | {"preset": _preset(config)} for config in configs], index=present.index[old]
        )
        for column in RUNS.columns:
            if column.name in known and column.name != "config":
                own = present[column.name].astype(object)
                values = own.where(own.notna(), known[column.name].reindex(present.index))
                present[column.name] = values.astype(DTYPES[column.dtype])  # type: ignore[call-overload]
    for name in ("preset", "tau", "self_interaction", "nonlinearity"):
        # Missing strings are set to "", so that networks without them can be grouped and compared.
        present[name] = present[name].fillna("")
    return present


FINAL: Final = [state.value for state in EndState if state.is_final]
"""The values of `status` of networks that have ended; failed ones have not."""
DTYPES: Final = {"string": "str", "int64": "int64", "float64": "float64"}
"""The dtype of pandas for each dtype of a schema."""

_DERIVED: Final = ("settings", "limit", "replicate")


def _configs(runs: pd.DataFrame) -> list[RunConfig]:
    configs = []
    for key, text in zip(runs["network_id"], runs["config"], strict=True):
        try:
            configs.append(RunConfig.from_json(text))
        except ValidationError as error:
            why = explain(error)
            raise ResultsError(
                f"network {key}: its configuration cannot be read ({why}); `--plugin FILE` imports what defines it"
            ) from error
    return configs


def _derived(config: RunConfig) -> tuple[object, ...]:
    replicate = replace(config, end=_widest(config)).network_id
    return _settings(config), _limit(config), replicate


def _widest(config: RunConfig) -> EndRules:
    """Return end rules that are the same for all runs of a curriculum."""
    return EndRules(max_n=max(EndRules().max_n, config.curriculum.first_heads[-1]))


def _limit(config: RunConfig) -> int:
    """Return the N at which a run is done."""
    first = config.curriculum.first_state
    return first.newest if config.curriculum.advance(first) is None else config.end.max_n


def _preset(config: RunConfig) -> str:
    """Return the preset of a configuration that was recorded without it."""
    if config.training_task is not None:
        return "tuned"
    lengths = getattr(config.task, "lengths", None)
    return "authors" if getattr(lengths, "longest_beyond", 0) else "paper"


def _settings(config: RunConfig) -> str:
    """Return the settings without their own columns that differ from the defaults."""
    kept = [
        f"{'.'.join(path)}={value}"
        for path, value in _leaves(differences(config), ())
        if path[0] not in _UNRELATED and not any(path[: len(said)] == said for said in _SAID)
    ]
    return ", ".join(kept)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, name))
        else:
            # The default is None, and the setting has its own default values.
            yield (*path, name), "yes" if isinstance(value, Mapping) else value
