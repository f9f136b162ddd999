"""The largest N that networks solve, and how fast (figures 3, 4a, S10 to S13, S15, S16, S18)."""

import pandas as pd

from analysis.quantities.base import quantity


@quantity("largest N solved", "largest N solved")
def max_n(runs: pd.DataFrame, solved: pd.DataFrame) -> pd.DataFrame:
    """Return the largest N that each network has solved so far; 0 if it has solved none (figures 3b, 4a)."""
    largest = solved.groupby("network_id")["n"].max()
    return runs[["network_id"]].assign(value=runs["network_id"].map(largest).fillna(0).astype(float))


@quantity("epochs trained in the step that solved N", "epochs to solve N")
def epochs_taken(solved: pd.DataFrame) -> pd.DataFrame:
    """Return the number of epochs of the curriculum's step that solved N (figures 3c, S12)."""
    return solved[["network_id", "n"]].assign(value=solved["epochs_taken"].astype(float))


@quantity("epoch in which N was solved", "epoch in which N was solved")
def epoch_solved(solved: pd.DataFrame) -> pd.DataFrame:
    """Return the epoch, counted from 1, whose test first solved N (figures 3b, S15, S16, S18)."""
    return solved[["network_id", "n"]].assign(value=solved["epoch"].astype(float))


@quantity("training until N was solved, in the paper's epochs", "paper's epochs until N was solved")
def sequences_until(runs: pd.DataFrame, solved: pd.DataFrame) -> pd.DataFrame:
    """Return the number of training sequences until N was solved, in the paper's epochs (600 steps of 256)."""
    epoch = (runs["steps_per_epoch"] * runs["batch_size"] / (600 * 256)).set_axis(runs["network_id"])
    value = solved["epoch"] * solved["network_id"].map(epoch)
    return solved[["network_id", "n"]].assign(value=value.astype(float))


@quantity("test accuracy of the newest head", "test accuracy")
def learning_curve(epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the test accuracy of the newest head in each epoch (figure S13)."""
    return epochs[["network_id", "epoch"]].assign(value=epochs["accuracy_newest"].astype(float))


@quantity("test accuracy of a head", "test accuracy")
def head_accuracy(heads: pd.DataFrame) -> pd.DataFrame:
    """Return the test accuracy of each head in each epoch (figure S18)."""
    return heads[["network_id", "epoch", "n"]].assign(value=heads["accuracy"].astype(float))
