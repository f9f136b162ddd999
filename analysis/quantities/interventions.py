"""The accuracy of networks after interventions (figures 7, S9, S14, S17, S19; Tables 1 to 3).

Accuracy is relative to that of the unchanged network: 1 is the same accuracy, 0 is chance.
"""

import numpy as np
import pandas as pd

from analysis.quantities.base import INTERVENTIONS_COMMAND, RETRAINING_COMMAND, quantity


@quantity("relative accuracy without some neurons", "relative accuracy", needs=INTERVENTIONS_COMMAND, per_neuron=True)
def ablated_accuracy(ablation: pd.DataFrame) -> pd.DataFrame:
    """Return relative accuracy after removing neurons (figures 7a, 7b, S9).

    Further columns: `removed` (longest or shortest: the neurons with the longest or the shortest taus) and `manner`
    (alone: the mean over neurons that are removed one at a time; or together).
    """
    rows = ablation[ablation["removed"] != "none"]
    rows = rows.assign(manner=np.where(rows["neuron"] < 0, "together", "alone"))
    keys = ["network_id", "n", "removed", "manner"]
    return rows.groupby(keys)["relative_accuracy"].mean().rename("value").reset_index()


@quantity("tau of the removed neurons", "τ of the removed neurons", needs=INTERVENTIONS_COMMAND)
def ablated_tau(ablation: pd.DataFrame) -> pd.DataFrame:
    """Return the mean tau of the removed neurons, in time steps; the columns are those of `ablated_accuracy`."""
    rows = ablation[ablation["removed"] != "none"]
    rows = rows.assign(manner=np.where(rows["neuron"] < 0, "together", "alone"))
    keys = ["network_id", "n", "removed", "manner"]
    return rows.groupby(keys)["tau"].mean().rename("value").reset_index()


@quantity("relative accuracy after a perturbation", "relative accuracy", needs=INTERVENTIONS_COMMAND)
def perturbed_accuracy(perturbation: pd.DataFrame) -> pd.DataFrame:
    """Return relative accuracy (mean over random directions) after a perturbation (figures 7c, 7d).

    Further columns: `perturbed` (weights or taus) and `perturbation` (the relative norm; 0 for the unchanged network).
    """
    keys = ["network_id", "n", "perturbed", "perturbation"]
    return perturbation.groupby(keys)["relative_accuracy"].mean().rename("value").reset_index()


@quantity("accuracy after a perturbation in one direction", "accuracy", needs=INTERVENTIONS_COMMAND)
def perturbed_draws(perturbation: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy for every random direction, which the paper's pooled tests use (Tables 1, 2).

    Further columns: `perturbed`, `perturbation` and `trial`.
    """
    keys = ["network_id", "n", "perturbed", "perturbation", "trial"]
    return perturbation[keys].assign(value=perturbation["accuracy"].astype(float))


@quantity("accuracy on N' after retraining", "accuracy", needs=RETRAINING_COMMAND)
def retrained_draws(retraining: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy on N' of networks retrained on it (Table 3); further column: `retrained_n`."""
    return retraining[["network_id", "n", "retrained_n"]].assign(value=retraining["accuracy"].astype(float))


@quantity("relative accuracy after retraining", "relative accuracy", needs=RETRAINING_COMMAND)
def retrained_accuracy(retraining: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy on N' relative to that at N, for networks retrained on N' (figure 7e; Table 3).

    Further column: `retrained_n`, N'; rows in which it equals N are about the network before retraining.
    """
    keys = ["network_id", "n", "retrained_n"]
    return retraining[keys].assign(value=retraining["relative_accuracy"].astype(float))


@quantity("training on N', in the paper's epochs", "paper's epochs of retraining", needs=RETRAINING_COMMAND)
def retrained_for(runs: pd.DataFrame, retraining: pd.DataFrame) -> pd.DataFrame:
    """Return the number of sequences that networks were retrained with, in the paper's epochs (600 steps of 256).

    Further column: `retrained_n`, N'.
    """
    epoch = (runs["steps_per_epoch"] * runs["batch_size"] / (600 * 256)).set_axis(runs["network_id"])
    value = retraining["epochs"] * retraining["network_id"].map(epoch)
    return retraining[["network_id", "n", "retrained_n"]].assign(value=value.astype(float))


@quantity("accuracy of a retrained readout", "accuracy", needs=INTERVENTIONS_COMMAND)
def readout_accuracy(heads_retraining: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy on N' after retraining only the readout (figure S17); further column: `head`, N'."""
    keys = ["network_id", "n", "head"]
    return heads_retraining[keys].assign(value=heads_retraining["accuracy"].astype(float))


@quantity("relative accuracy with scaled inhibition", "relative accuracy", needs=INTERVENTIONS_COMMAND)
def inhibited_accuracy(inhibition: pd.DataFrame) -> pd.DataFrame:
    """Return relative accuracy by the change c of the negative weights, which become (1 + c) W (figure S19a)."""
    keys = ["network_id", "n", "change"]
    return inhibition[keys].assign(value=inhibition["relative_accuracy"].astype(float))


@quantity("range of activity with scaled inhibition", "largest absolute activity", needs=INTERVENTIONS_COMMAND)
def activity_range(inhibition: pd.DataFrame) -> pd.DataFrame:
    """Return the largest absolute activity by the change c of the negative weights (figure S19b).

    Activity outside the range of floating-point numbers counts as the largest single-precision number.
    """
    reach = inhibition[["activity_low", "activity_high"]].abs().max(axis=1)
    reach = reach.where((inhibition["exploded"] == 0) & reach.notna(), float(np.finfo(np.float32).max))
    return inhibition[["network_id", "n", "change"]].assign(value=reach)
