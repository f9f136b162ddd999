"""The schema of every table: the names, types, units and meanings of its columns."""

from dataclasses import dataclass
from typing import Any, Literal

from tsrnn.config.ends import EndState

DType = Literal["string", "int64", "float64"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: the name in the files.
        dtype: the type of the values.
        unit: the unit of the values; "" if they have none.
        meaning: a description in words.
        key: whether the column is part of the key. Key columns are never empty. Other columns may be missing from files
            of earlier versions of tsrnn; they are then read as empty.
    """

    name: str
    dtype: DType
    unit: str
    meaning: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """One table, a folder of Parquet files with these columns."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that together identify a row."""
        return tuple(column.name for column in self.columns if column.key)


_ENDS = ", ".join(state for state in EndState if state is not EndState.RUNNING)
_NETWORK = Column("network_id", "string", "", "the network: RunConfig.network_id", key=True)
_EPOCH = Column("epoch", "int64", "epochs", "the epoch, counted from 1 for each network", key=True)


def _code(when: str) -> tuple[Column, ...]:
    return (
        Column("code", "string", "", f"hash of the Python files of tsrnn when training {when}; empty if unknown"),
        Column(
            "commit", "string", "", "git commit of these files, with -dirty if they were changed; empty without git"
        ),
        Column("plugins", "string", "", "hashes of the plugin files, as a JSON object by name; empty without plugins"),
    )


RUNS = Table(
    "runs",
    "Settings: one row for each network, written when the sweep starts.",
    (
        _NETWORK,
        Column("sweep", "string", "", "the sweep that trained the network"),
        Column("scale", "string", "", "quick, overnight, laptop or paper"),
        Column("task", "string", "", "the kind of task: parity, dms, sines, or one defined by a plugin"),
        Column("curriculum", "string", "", "name of the curriculum, such as single, multi or sliding-10-full"),
        Column("architecture", "string", "", "the kind of network: leaky, gru, lstm, or one defined by a plugin"),
        Column("self_interaction", "string", "", "inside or outside the nonlinearity; empty without a leak"),
        Column("nonlinearity", "string", "", "leaky_relu, relu or tanh; empty for networks without this setting"),
        Column("tau", "string", "", "trained, or the fixed value in time steps; empty for networks without tau"),
        Column("hidden", "int64", "neurons", "H, the number of neurons"),
        Column("seed", "int64", "", "the network's seed"),
        Column("preset", "string", "", "paper, authors, momentum, tuned or soap; empty for other configurations"),
        Column("precision", "string", "", "dtype of the matrix products: float32, bfloat16 or float64"),
        Column("slope", "float64", "", "slope of the leaky ReLU for negative inputs; empty for other nonlinearities"),
        Column("k", "string", "time steps", "time steps for which a bit is held; one of several is drawn per batch"),
        Column("dt", "string", "", "length of a time step: 1, or 1/k of a bit; taus count bits then"),
        Column("optimizer", "string", "", "the optimiser: sgd, adam, adamw, muon or soap"),
        Column("learning_rate", "float64", "", "learning rate"),
        Column("momentum", "float64", "", "momentum; empty for optimisers without momentum"),
        Column("weight_decay", "float64", "", "weight decay"),
        Column("batch_size", "int64", "sequences", "sequences per training batch"),
        Column("steps_per_epoch", "int64", "steps", "optimiser steps per epoch"),
        Column("max_steps", "int64", "steps", "the budget: the largest number of optimiser steps"),
        Column("config", "string", "", "the whole RunConfig as JSON"),
        *_code("began"),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "Results: one row for each network, written when its training ends.",
    (
        _NETWORK,
        Column("status", "string", "", f"how training ended: {_ENDS}"),
        Column("reason", "string", "", "the status in words"),
        Column("max_n", "int64", "time steps", "the largest N solved; 0 if none was solved"),
        Column("epochs", "int64", "epochs", "number of epochs trained"),
        Column("steps", "int64", "steps", "optimiser steps taken"),
        Column("operations", "float64", "operations", "useful floating-point operations of the matrix products"),
        Column("wall_s", "float64", "s", "computing time: the network's share of the time of its population"),
        Column(
            "confirm_operations", "float64", "operations", "those of tests that confirm a solved N, counted separately"
        ),
        Column("device", "string", "", "cpu or cuda, with the name and the instruction set of the processor"),
        Column("products", "string", "", "library of the matrix products, and how many networks it computed together"),
        Column("versions", "string", "", "versions of tsrnn, torch and Python, as JSON"),
        *_code("ended"),
    ),
)

EPOCHS = Table(
    "epochs",
    "Learning curves: one row for each network and epoch. Counts are totals since the start of training.",
    (
        _NETWORK,
        _EPOCH,
        Column("n_min", "int64", "time steps", "smallest N that was tested"),
        Column("n_max", "int64", "time steps", "newest N that was tested"),
        Column(
            "loss",
            "float64",
            "",
            "training loss (cross-entropy in nats; sines: squared error): sum over heads, mean over the epoch's steps",
        ),
        Column(
            "accuracy_newest",
            "float64",
            "",
            "test accuracy of the newest head: share of correct answers; for sines, R^2",
        ),
        Column("accuracy_mean", "float64", "", "test accuracy: mean over heads"),
        Column("grad_norm", "float64", "", "norm of the gradient before clipping: mean over the epoch's steps"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd",
            "float64",
            "time steps",
            "standard deviation of tau over neurons (divided by H); empty without tau",
        ),
        Column("steps", "int64", "steps", "optimiser steps"),
        Column("operations", "float64", "operations", "useful floating-point operations of the matrix products"),
        Column("wall_s", "float64", "s", "computing time: the network's share of the time of its population"),
        Column(
            "confirm_operations", "float64", "operations", "those of tests that confirm a solved N, counted separately"
        ),
    ),
)

SOLVED = Table(
    "solved",
    "Solved N: one row for each network and solved N, from the first test that found N solved (and confirmed it, if "
    "confirmation is configured).",
    (
        _NETWORK,
        Column("n", "int64", "time steps", "the N that was solved", key=True),
        Column("epoch", "int64", "epochs", "the epoch whose test the network passed"),
        Column("epochs_taken", "int64", "epochs", "epochs trained in the step of the curriculum that solved N"),
        Column("accuracy", "float64", "", "test accuracy of the head for N"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd",
            "float64",
            "time steps",
            "standard deviation of tau over neurons (divided by H); empty without tau",
        ),
        Column(
            "checkpoint",
            "string",
            "",
            "file of the network's weights at that time: a path relative to the sweep's folder",
        ),
    ),
)

HEADS = Table(
    "heads",
    "Accuracy of every tested head: one row for each network, epoch and head.",
    (
        _NETWORK,
        _EPOCH,
        Column("n", "int64", "time steps", "the N of the head", key=True),
        Column("accuracy", "float64", "", "test accuracy: share of correct answers; for sines, R^2"),
    ),
)

TABLES = (RUNS, OUTCOMES, EPOCHS, SOLVED, HEADS)
"""The tables of a sweep. Each table below is created by the analysis that fills it."""

_N = Column("n", "int64", "time steps", "the solved N at which the checkpoint was saved", key=True)

ANALYSES = Table(
    "analyses",
    "Measurements of checkpoints: one row for each network, solved N and analysis.",
    (
        _NETWORK,
        Column("analysis", "string", "", "the analysis, by the name of its command", key=True),
        _N,
        Column("status", "string", "", "done or failed; a failed analysis has no rows for this N in its tables"),
        Column("message", "string", "", "the reason for a failure, in one line; empty if the analysis is done"),
        Column("settings", "string", "", "the settings of the measurement, as JSON"),
        Column("wall_s", "float64", "s", "computing time"),
    ),
)

# Interventions test the newest head, the one for `n`, in time: at every step of random bits with p = 0.5.
_IN_TIME = (
    Column("accuracy", "float64", "", "in-time accuracy of the head for n: mean over sequences"),
    Column("standard_error", "float64", "", "standard error of the accuracy over sequences"),
)
_RELATIVE = Column("relative_accuracy", "float64", "", "(accuracy - 0.5) / (accuracy of the unchanged network - 0.5)")

ABLATION = Table(
    "ablation",
    "Accuracy without neurons of the longest or shortest tau: one row for each network, solved N and set of removed "
    "neurons (figures 7a, 7b, S9).",
    (
        _NETWORK,
        _N,
        Column("removed", "string", "", "none, or the neurons of the longest or of the shortest tau", key=True),
        Column("neuron", "int64", "", "the removed neuron, counted from 0; -1 for all together, or none", key=True),
        Column("tau", "float64", "time steps", "tau of the removed neuron, or mean over all removed; empty for none"),
        *_IN_TIME,
        _RELATIVE,
    ),
)

PERTURBATION = Table(
    "perturbation",
    "Accuracy after a random change of W or of the taus: one row for each network, solved N, strength and random "
    "direction (figures 7c, 7d; Tables 1, 2).",
    (
        _NETWORK,
        _N,
        Column("perturbed", "string", "", "what was perturbed: weights or taus", key=True),
        Column(
            "perturbation", "float64", "", "norm relative to that of W or tau; 0 for the unchanged network", key=True
        ),
        Column("trial", "int64", "", "the random direction and the test sequences, counted from 0", key=True),
        *_IN_TIME,
        _RELATIVE,
    ),
)

INHIBITION = Table(
    "inhibition",
    "Effect of scaled inhibitory weights: one row for each network, solved N and scaling (figure S19).",
    (
        _NETWORK,
        _N,
        Column("change", "float64", "", "c: each negative W_ij was replaced by (1 + c) W_ij", key=True),
        *_IN_TIME,
        _RELATIVE,
        Column("activity_low", "float64", "", "lowest activity of a neuron in the counted steps; empty if infinite"),
        Column("activity_high", "float64", "", "highest activity of a neuron in the counted steps; empty if infinite"),
        Column("exploded", "int64", "sequences", "sequences whose activity left the range of floating-point numbers"),
    ),
)

HEADS_RETRAINING = Table(
    "heads_retraining",
    "Accuracy of readouts retrained on N': one row for each network, solved N and N' (appendix H, figure S17).",
    (
        _NETWORK,
        _N,
        Column("head", "int64", "time steps", "N', on which the readout was retrained", key=True),
        Column("accuracy", "float64", "", "in-time accuracy on N', on sequences that were not used for the fit"),
        Column("standard_error", "float64", "", "standard error of the accuracy over sequences"),
        Column("iterations", "int64", "", "iterations until the logistic regression had converged"),
    ),
)

RETRAINING = Table(
    "retraining",
    "Accuracy of networks retrained on N': one row for each network, solved N and N' (figures 7e, S14; Table 3).",
    (
        _NETWORK,
        _N,
        Column(
            "retrained_n",
            "int64",
            "time steps",
            "N'; rows in which it equals n are about the network before retraining",
            key=True,
        ),
        Column("epochs", "int64", "epochs", "number of epochs of retraining"),
        Column("accuracy", "float64", "", "in-time accuracy on N' after retraining, with p = 0.5"),
        Column("standard_error", "float64", "", "standard error of the accuracy over sequences"),
        _RELATIVE,
    ),
)

TIME_STEPS = Table(
    "time_steps",
    "Accuracy, with other k, of networks trained with dt = 1/k: one row for each network, solved N and k (figure S5).",
    (
        _NETWORK,
        _N,
        Column("k", "int64", "time steps", "k of the test: each bit was held for k time steps of length 1/k", key=True),
        Column(
            "accuracy",
            "float64",
            "",
            "accuracy of the head for n, p = 0.5 (--as-trained: mean over heads, the task's p)",
        ),
        Column("standard_error", "float64", "", "standard error of the accuracy over batches"),
    ),
)

_NEURON = Column(
    "neuron", "int64", "", "the neuron, counted from 0; -1 for the summed activity of all neurons (tau_pop)", key=True
)
_WEIGHTS = (
    Column(
        "weight_mean",
        "float64",
        "",
        "mean incoming recurrent weight, without the self-connection, which does not exist",
    ),
    Column("weight_positive", "float64", "", "contribution of the positive weights to weight_mean"),
    Column("weight_negative", "float64", "", "contribution of the negative weights to weight_mean; at most 0"),
)

NEURONS = Table(
    "neurons",
    "Tau, incoming weights and mean activity: one row for each network, solved N and neuron.",
    (
        _NETWORK,
        _N,
        Column("neuron", "int64", "", "the neuron, counted from 0", key=True),
        Column("tau", "float64", "time steps", "tau of the neuron; empty for networks without tau"),
        *_WEIGHTS,
        Column("activity_mean", "float64", "", "mean activity over steps and trials; empty if not finite"),
        Column("activity_sd", "float64", "", "standard deviation of the activity; empty if not finite"),
    ),
)

AUTOCORRELATIONS = Table(
    "autocorrelations",
    "Normalised autocorrelations, mean over trials: one row for each network, solved N, neuron and lag.",
    (
        _NETWORK,
        _N,
        _NEURON,
        Column("lag", "int64", "time steps", "the lag, from 0 on", key=True),
        Column("autocorrelation", "float64", "", "1 at lag 0; empty if the activity is constant or not finite"),
    ),
)

TIMESCALES = Table(
    "timescales",
    "Timescales tau_net (tau_pop for neuron -1) and the fits that they come from: one row for each network, solved N, "
    "neuron and method.",
    (
        _NETWORK,
        _N,
        _NEURON,
        Column("method", "string", "", "paper or robust; see docs/timescales.md", key=True),
        Column(
            "status",
            "string",
            "",
            "the chosen model, single or double; otherwise the reason why there is no tau_net: not_a_decay, constant, "
            "not_finite, too_short or failed",
        ),
        Column(
            "tau_net", "float64", "time steps", "the single timescale, or the slower of two; empty if there is none"
        ),
        Column(
            "tau_low",
            "float64",
            "time steps",
            "lower end of the 95 % interval of tau_net; empty for the paper's method",
        ),
        Column("tau_high", "float64", "time steps", "upper end of the interval; empty for the paper's method"),
        Column("tau_fast", "float64", "time steps", "the faster of two timescales; empty for a single timescale"),
        Column(
            "weight_slow", "float64", "", "share of the slower component in the chosen fit; 1 for a single exponential"
        ),
        Column("amplitude", "float64", "", "a, the value of the chosen fit at lag 0"),
        Column("r_squared", "float64", "", "R^2 of the chosen fit"),
        Column("aic_single", "float64", "", "Akaike information criterion of the single exponential"),
        Column("aic_double", "float64", "", "Akaike information criterion of the sum of two exponentials"),
        Column("lags", "int64", "", "the number of lags that were fitted; the Bayesian criterion follows from it"),
    ),
)

DIMENSIONALITY = Table(
    "dimensionality",
    "Dimensionality of the activity: one row for each network, solved N and trial (figures 6b, S20).",
    (
        _NETWORK,
        _N,
        Column("trial", "int64", "", "the trial, counted from 0; -1 for all trials pooled", key=True),
        Column(
            "components", "int64", "", "principal components that explain 90 % of the variance; empty if not finite"
        ),
        Column(
            "participation_ratio", "float64", "", "(sum of variances)^2 / (sum of squared variances), over components"
        ),
    ),
)

MEMORY = Table(
    "memory",
    "Memory capacities: one row for each network, solved N and product of past bits. A capacity is the share of the "
    "variance of the product that a linear readout of the activity explains.",
    (
        _NETWORK,
        _N,
        Column("bits", "int64", "", "how many bits are multiplied: 1, 2 (a pair) or more (a parity)", key=True),
        Column("nearest", "int64", "time steps", "the shortest delay; 0 for the present bit", key=True),
        Column(
            "farthest", "int64", "time steps", "the longest delay; a parity includes all delays in between", key=True
        ),
        Column("capacity", "float64", "", "unbiased estimate, which may be below 0; empty if not finite"),
    ),
)

SPECTRA = Table(
    "spectra",
    "How the state forgets a small change (Lyapunov exponent, mean Jacobian): one row for each network and solved N.",
    (
        _NETWORK,
        _N,
        Column("lyapunov", "float64", "1 / time steps", "largest Lyapunov exponent; empty if not finite"),
        Column("spectral_radius", "float64", "", "largest absolute value of the eigenvalues of the mean Jacobian"),
        Column(
            "timescale_slowest", "float64", "time steps", "-1 / ln(spectral_radius); empty if the radius is 1 or more"
        ),
        Column("modes_slow", "int64", "", "number of eigenvalues with a timescale above 2 time steps"),
        Column(
            "departure", "float64", "", "Henrici's departure from normality: 0 for a normal matrix, 1 for a delay line"
        ),
        Column(
            "fisher_memory", "float64", "", "sum of the Fisher memory curve over |v|^2; at most 1 in normal networks"
        ),
        Column("fisher_delay", "float64", "time steps", "mean delay of the Fisher memory curve"),
    ),
)

_LOSS = Column(
    "loss",
    "string",
    "",
    "newest: the loss of the head for n; trained: the sum over all trained heads, if there are several; next: the loss "
    "of the newest head after the next step of the curriculum, before it is trained",
    key=True,
)

GRADIENTS = Table(
    "gradients",
    "Gradients of the loss with respect to past states: one row for each network, solved N, loss and delay.",
    (
        _NETWORK,
        _N,
        _LOSS,
        Column("delay", "int64", "time steps", "d; 0 for the state that is read out", key=True),
        Column("norm", "float64", "", "|dL / dh(T - d)|, mean over sequences; empty if not finite"),
    ),
)

GRADIENT_COSINES = Table(
    "gradient_cosines",
    "Cosines between the gradients of the losses of two heads: one row for each network, solved N and pair of heads.",
    (
        _NETWORK,
        _N,
        Column(
            "head", "int64", "time steps", "N' of the first head; n + 1 for a head that is not yet trained", key=True
        ),
        Column(
            "other",
            "int64",
            "time steps",
            "N'' < N' of the second head; -1 for the sum over all smaller trained heads",
            key=True,
        ),
        Column("cosine_weights", "float64", "", "cosine with respect to W; empty if a gradient is 0 or not finite"),
        Column("cosine_taus", "float64", "", "cosine with respect to tau; empty also if taus are fixed"),
    ),
)

CURVATURE = Table(
    "curvature",
    "Value, gradient and sharpness of the loss: one row for each network, solved N and loss.",
    (
        _NETWORK,
        _N,
        _LOSS,
        Column("value", "float64", "nats", "the loss; this column and the next two are empty if not finite"),
        Column("gradient_norm", "float64", "", "norm of the gradient with respect to all trained parameters"),
        Column("sharpness", "float64", "", "largest eigenvalue of the Hessian with respect to the same parameters"),
    ),
)

CAUSES = Table(
    "causes",
    "Accuracy after changes of tau or W: one row for each network, solved N, change and retrained part.",
    (
        _NETWORK,
        _N,
        Column(
            "change",
            "string",
            "",
            "none; tau_1 (all taus are 1); shuffled_taus; other_taus, other_weights (those of the network of the other "
            "curriculum with the same seed); singular_values, schur_modes (W is reduced to its leading ones)",
            key=True,
        ),
        Column("share", "float64", "", "share of the modes of W that is kept; 1 if W is not reduced", key=True),
        Column("draw", "int64", "", "the random order of the taus, counted from 0", key=True),
        Column("retrained", "string", "", "nothing, readout, weights, taus or everything", key=True),
        *_IN_TIME,
        _RELATIVE,
    ),
)

CONNECTIVITY = Table(
    "connectivity",
    "Recurrent weights: one row for each network and solved N (figures 6a, S19c, S19d).",
    (
        _NETWORK,
        _N,
        *_WEIGHTS,
        Column("weight_mean_sd", "float64", "", "standard deviation of the mean incoming weight over neurons"),
        Column(
            "tau_correlation",
            "float64",
            "",
            "Pearson correlation over neurons of mean incoming weight and tau; empty if tau is absent or constant",
        ),
    ),
)

BY_NAME = {table.name: table for table in tuple(vars().values()) if isinstance(table, Table)}
"""Every table of this module by its name."""
