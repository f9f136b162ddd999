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
        name: in the files.
        dtype: of its values.
        unit: "" where it has none.
        meaning: in words.
        key: whether it is part of the key; a key is never empty. Other columns may be absent from files of earlier
            versions of tsrnn, and are empty there.
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
_NETWORK = Column("network_id", "string", "", "which network: RunConfig.network_id", key=True)
_EPOCH = Column("epoch", "int64", "epochs", "epochs this network had trained, counted from 1", key=True)


def _code(when: str) -> tuple[Column, ...]:
    return (
        Column("code", "string", "", f"hash of the Python files of tsrnn that training {when} with; empty if unknown"),
        Column("commit", "string", "", "their git commit, with -dirty where they are changed; empty without one"),
        Column("plugins", "string", "", "hash of each plugin's file, as a JSON object by name; empty without plugins"),
    )


RUNS = Table(
    "runs",
    "One row for each network, written when the sweep starts: its settings.",
    (
        _NETWORK,
        Column("sweep", "string", "", "the sweep that trained it"),
        Column("scale", "string", "", "quick, overnight, laptop or paper"),
        Column("task", "string", "", "the task's kind: parity, dms, sines or a user's own"),
        Column(
            "curriculum",
            "string",
            "",
            "the curriculum's name: single, multi, sliding-10-full or another; see `tsrnn.curricula`",
        ),
        Column("architecture", "string", "", "the network's kind: leaky, gru, lstm or a user's own"),
        Column("self_interaction", "string", "", "inside or outside the nonlinearity; empty where there is no leak"),
        Column("nonlinearity", "string", "", "leaky_relu, relu or tanh; empty where it is not chosen"),
        Column("tau", "string", "", "the tau constraint: trained, or the fixed value in time steps; empty without tau"),
        Column("hidden", "int64", "neurons", "H"),
        Column("seed", "int64", "", "the network's seed"),
        Column(
            "preset", "string", "", "paper, authors, momentum or tuned; empty where networks were configured otherwise"
        ),
        Column("precision", "string", "", "dtype of the products: float32, bfloat16 or float64"),
        Column("slope", "float64", "", "slope of the leaky ReLU below 0; empty for other nonlinearities"),
        Column("k", "string", "time steps", "time steps that a bit is held; one of several is drawn for each batch"),
        Column("dt", "string", "", "length of a time step: 1, or 1/k of the time that a bit lasts"),
        Column("optimizer", "string", "", "the optimiser's kind: sgd, adam, adamw or muon"),
        Column("learning_rate", "float64", "", "its learning rate"),
        Column("momentum", "float64", "", "its momentum; empty for optimisers without one"),
        Column("weight_decay", "float64", "", "its weight decay"),
        Column("batch_size", "int64", "sequences", "sequences a batch in training"),
        Column("steps_per_epoch", "int64", "steps", "optimiser steps an epoch"),
        Column("max_steps", "int64", "steps", "optimiser steps at most: the budget"),
        Column("config", "string", "", "the whole RunConfig as JSON"),
        *_code("began"),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "One row for each network, written when it ends: its result.",
    (
        _NETWORK,
        Column("status", "string", "", f"how it ended: {_ENDS}"),
        Column("reason", "string", "", "the status in words"),
        Column("max_n", "int64", "time steps", "the largest N solved; 0 where none was"),
        Column("epochs", "int64", "epochs", "epochs trained"),
        Column("steps", "int64", "steps", "optimiser steps taken"),
        Column("operations", "float64", "operations", "useful floating-point operations of its matrix products"),
        Column("wall_s", "float64", "s", "its own computing time: its share of its population's"),
        Column("confirm_operations", "float64", "operations", "those that confirmed what tests solved, apart"),
        Column("device", "string", "", "cpu or cuda, with the processor's name and its instruction set"),
        Column("products", "string", "", "what multiplied, and how many networks were stepped together"),
        Column("versions", "string", "", "tsrnn, torch and Python, as JSON"),
        *_code("ended"),
    ),
)

EPOCHS = Table(
    "epochs",
    "One row for each network and epoch: the learning curve. Counters run from the start of training.",
    (
        _NETWORK,
        _EPOCH,
        Column("n_min", "int64", "time steps", "smallest N in training"),
        Column("n_max", "int64", "time steps", "newest N in training"),
        Column(
            "loss",
            "float64",
            "",
            "training loss (cross-entropy in nats; sines: squared error): sum over heads, mean over the epoch's steps",
        ),
        Column(
            "accuracy_newest", "float64", "", "test accuracy of the newest head: share of right answers; sines: R^2"
        ),
        Column("accuracy_mean", "float64", "", "test accuracy, mean over heads"),
        Column("grad_norm", "float64", "", "gradient norm before clipping, mean over the epoch's steps"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd", "float64", "time steps", "standard deviation of tau over neurons (population); empty without tau"
        ),
        Column("steps", "int64", "steps", "optimiser steps so far"),
        Column("operations", "float64", "operations", "useful floating-point operations so far"),
        Column("wall_s", "float64", "s", "computing time so far: its share of its population's"),
        Column("confirm_operations", "float64", "operations", "those that confirmed what tests solved, apart"),
    ),
)

SOLVED = Table(
    "solved",
    "One row for each network and solved N: the first test that found it solved, and confirmed it if asked to.",
    (
        _NETWORK,
        Column("n", "int64", "time steps", "the N that was solved", key=True),
        Column("epoch", "int64", "epochs", "the epoch whose test it passed"),
        Column("epochs_taken", "int64", "epochs", "epochs trained in the curriculum's step that solved it"),
        Column("accuracy", "float64", "", "test accuracy of its head"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd", "float64", "time steps", "standard deviation of tau over neurons (population); empty without tau"
        ),
        Column("checkpoint", "string", "", "the network's weights then: a path below the sweep's folder"),
    ),
)

HEADS = Table(
    "heads",
    "One row for each network, epoch and head: test accuracy of every N that is trained.",
    (
        _NETWORK,
        _EPOCH,
        Column("n", "int64", "time steps", "the head's N", key=True),
        Column("accuracy", "float64", "", "test accuracy: share of right answers; sines: R^2"),
    ),
)

TABLES = (RUNS, OUTCOMES, EPOCHS, SOLVED, HEADS)
"""The tables of a sweep; those below are made by the analysis that fills them."""

_N = Column("n", "int64", "time steps", "the solved N whose checkpoint was measured", key=True)

ANALYSES = Table(
    "analyses",
    "One row for each network, solved N and analysis: the outcome of measuring the checkpoint.",
    (
        _NETWORK,
        Column("analysis", "string", "", "the analysis: the command's name", key=True),
        _N,
        Column("status", "string", "", "done, or failed: its tables then have no rows for this N"),
        Column("message", "string", "", "why it failed, in one line; empty where it is done"),
        Column("settings", "string", "", "what it was measured with, as JSON"),
        Column("wall_s", "float64", "s", "computing time"),
    ),
)

# Interventions ask the newest head, the one for `n`, in time: every step of random bits, p = 0.5.
_IN_TIME = (
    Column("accuracy", "float64", "", "in-time accuracy of the head for n, in 0..1, mean over sequences"),
    Column("standard_error", "float64", "", "its standard error over sequences"),
)
_RELATIVE = Column("relative_accuracy", "float64", "", "(accuracy - 0.5) / (accuracy of the network as it is - 0.5)")

ABLATION = Table(
    "ablation",
    "One row for each network, solved N and set of removed neurons of longest or shortest tau (figures 7a, 7b, S9).",
    (
        _NETWORK,
        _N,
        Column(
            "removed", "string", "", "none, longest or shortest: the neurons of the longest or shortest tau", key=True
        ),
        Column("neuron", "int64", "", "the one removed, counted from 0; -1: all of them together, or none", key=True),
        Column("tau", "float64", "time steps", "its tau, or the mean over those removed; empty where none is"),
        *_IN_TIME,
        _RELATIVE,
    ),
)

PERTURBATION = Table(
    "perturbation",
    "One row for each network, solved N, strength and random direction (figures 7c, 7d; Tables 1, 2).",
    (
        _NETWORK,
        _N,
        Column("perturbed", "string", "", "weights or taus", key=True),
        Column(
            "perturbation", "float64", "", "its norm relative to that of W or tau; 0: the network as it is", key=True
        ),
        Column("trial", "int64", "", "the random direction, and the sequences, counted from 0", key=True),
        *_IN_TIME,
        _RELATIVE,
    ),
)

INHIBITION = Table(
    "inhibition",
    "One row for each network, solved N and scaling of the inhibitory weights (figure S19).",
    (
        _NETWORK,
        _N,
        Column("change", "float64", "", "c: each negative W_ij became (1 + c) W_ij", key=True),
        *_IN_TIME,
        _RELATIVE,
        Column(
            "activity_low", "float64", "", "least activity of a neuron at the steps that count; empty where infinite"
        ),
        Column("activity_high", "float64", "", "greatest activity; empty where infinite"),
        Column("exploded", "int64", "sequences", "sequences whose activity left the range of floating-point numbers"),
    ),
)

HEADS_RETRAINING = Table(
    "heads_retraining",
    "One row for each network, solved N and N': the readout alone retrained on N' (appendix H, figure S17).",
    (
        _NETWORK,
        _N,
        Column("head", "int64", "time steps", "N', which the readout was retrained on", key=True),
        Column(
            "accuracy", "float64", "", "in-time accuracy on N' of the retrained readout, on sequences it had not seen"
        ),
        Column("standard_error", "float64", "", "its standard error over sequences"),
        Column("iterations", "int64", "", "of the optimiser until the logistic regression was solved"),
    ),
)

RETRAINING = Table(
    "retraining",
    "One row for each network, solved N and N': the whole network retrained on N' (figures 7e, S14; Table 3).",
    (
        _NETWORK,
        _N,
        Column("retrained_n", "int64", "time steps", "N'; where it is n, the network as it was", key=True),
        Column("epochs", "int64", "epochs", "epochs it was retrained"),
        Column("accuracy", "float64", "", "in-time accuracy on N' after that, p = 0.5"),
        Column("standard_error", "float64", "", "its standard error over sequences"),
        _RELATIVE,
    ),
)

TIME_STEPS = Table(
    "time_steps",
    "One row for each network trained at dt = 1/k, solved N and k: its accuracy with other time steps (figure S5).",
    (
        _NETWORK,
        _N,
        Column("k", "int64", "time steps", "bits were held for k steps of 1/k", key=True),
        Column("accuracy", "float64", "", "of the head for n, p = 0.5; --as-trained: mean over heads, task's p"),
        Column("standard_error", "float64", "", "its standard error over batches"),
    ),
)

_NEURON = Column("neuron", "int64", "", "counted from 0; -1: the summed activity of all neurons (tau_pop)", key=True)
_WEIGHTS = (
    Column("weight_mean", "float64", "", "mean of its incoming recurrent weights, the absent self-connection left out"),
    Column("weight_positive", "float64", "", "the part of weight_mean from positive weights"),
    Column("weight_negative", "float64", "", "the part of weight_mean from negative weights, <= 0"),
)

NEURONS = Table(
    "neurons",
    "One row for each network, solved N and neuron: its tau, its weights and its mean activity.",
    (
        _NETWORK,
        _N,
        Column("neuron", "int64", "", "counted from 0", key=True),
        Column("tau", "float64", "time steps", "its tau; empty without tau"),
        *_WEIGHTS,
        Column("activity_mean", "float64", "", "mean activity over steps and trials; empty where not finite"),
        Column("activity_sd", "float64", "", "its standard deviation; empty where not finite"),
    ),
)

AUTOCORRELATIONS = Table(
    "autocorrelations",
    "One row for each network, solved N, neuron and lag: the mean over trials of the normalised autocorrelation.",
    (
        _NETWORK,
        _N,
        _NEURON,
        Column("lag", "int64", "time steps", "from 0 on", key=True),
        Column("autocorrelation", "float64", "", "1 at lag 0; empty where the activity is constant or not finite"),
    ),
)

TIMESCALES = Table(
    "timescales",
    "One row for each network, solved N, neuron and method: tau_net (neuron -1: tau_pop), and the fits it comes from.",
    (
        _NETWORK,
        _N,
        _NEURON,
        Column("method", "string", "", "paper or robust: see docs/timescales.md", key=True),
        Column(
            "status",
            "string",
            "",
            "single or double: the model chosen; else why there is no tau_net: not_a_decay, constant, not_finite, "
            "too_short, failed",
        ),
        Column("tau_net", "float64", "time steps", "the single timescale, or the slower of two; empty without one"),
        Column("tau_low", "float64", "time steps", "lower end of its 95 % interval; empty for the paper's method"),
        Column("tau_high", "float64", "time steps", "upper end; empty for the paper's method"),
        Column("tau_fast", "float64", "time steps", "the faster of two; empty for a single timescale"),
        Column("weight_slow", "float64", "", "share of the slower component in the chosen fit; 1 for a single one"),
        Column("amplitude", "float64", "", "a, the chosen fit at lag 0"),
        Column("r_squared", "float64", "", "of the chosen fit"),
        Column("aic_single", "float64", "", "Akaike's criterion of the single exponential"),
        Column("aic_double", "float64", "", "of the sum of two"),
        Column("bic_single", "float64", "", "the Bayesian criterion of the single exponential"),
        Column("bic_double", "float64", "", "of the sum of two"),
    ),
)

DIMENSIONALITY = Table(
    "dimensionality",
    "One row for each network, solved N and trial: the dimensionality of its activity (figures 6b, S20).",
    (
        _NETWORK,
        _N,
        Column("trial", "int64", "", "counted from 0; -1: all trials pooled", key=True),
        Column("components", "int64", "", "principal components for 90 % of the variance; empty where not finite"),
        Column("participation_ratio", "float64", "", "(sum of variances)^2 / sum of their squares, over components"),
    ),
)

MEMORY = Table(
    "memory",
    "One row for each network, solved N and product of past bits: the share of it that a linear readout explains.",
    (
        _NETWORK,
        _N,
        Column("bits", "int64", "", "how many bits are multiplied: 1 a single bit, 2 a pair, more a parity", key=True),
        Column("nearest", "int64", "time steps", "the shortest delay; 0 is the present bit", key=True),
        Column("farthest", "int64", "time steps", "the longest delay; of a parity all between count too", key=True),
        Column(
            "capacity", "float64", "", "share of its variance, without bias: may be below 0; empty where not finite"
        ),
    ),
)

SPECTRA = Table(
    "spectra",
    "One row for each network and solved N: how its state forgets a change: its Lyapunov exponent and mean Jacobian.",
    (
        _NETWORK,
        _N,
        Column("lyapunov", "float64", "1 / time steps", "largest Lyapunov exponent; empty where not finite"),
        Column("spectral_radius", "float64", "", "largest size of an eigenvalue of the mean Jacobian"),
        Column("timescale_slowest", "float64", "time steps", "-1 / ln of it; empty where it is 1 or more"),
        Column("modes_slow", "int64", "", "eigenvalues of the mean Jacobian with a timescale above 2 time steps"),
        Column("departure", "float64", "", "Henrici's, of the mean Jacobian: 0 normal, 1 a delay line"),
        Column("fisher_memory", "float64", "", "sum of the Fisher memory curve over |v|^2: 1 in normal networks"),
        Column("fisher_delay", "float64", "time steps", "mean delay of the curve"),
    ),
)

_LOSS = Column(
    "loss",
    "string",
    "",
    "newest: of the head for n; trained: the sum over all heads that were trained, where there are several; next: of "
    "the newest head after the curriculum's next step, before it is trained",
    key=True,
)

GRADIENTS = Table(
    "gradients",
    "One row for each network, solved N, loss and delay: the gradient of the loss at past states.",
    (
        _NETWORK,
        _N,
        _LOSS,
        Column("delay", "int64", "time steps", "d; 0 is the state that is read out", key=True),
        Column("norm", "float64", "", "|dL / dh(T - d)|, mean over sequences; empty where not finite"),
    ),
)

GRADIENT_COSINES = Table(
    "gradient_cosines",
    "One row for each network, solved N and pair of heads: the cosine of the gradients of their losses.",
    (
        _NETWORK,
        _N,
        Column("head", "int64", "time steps", "N' of the one; n + 1 is a head that is not trained yet", key=True),
        Column(
            "other", "int64", "time steps", "N'' < N' of the other; -1: all smaller ones that were trained", key=True
        ),
        Column("cosine_weights", "float64", "", "of the gradients by W; empty where one of them is 0 or not finite"),
        Column("cosine_taus", "float64", "", "of the gradients by tau; empty also where taus are fixed"),
    ),
)

CURVATURE = Table(
    "curvature",
    "One row for each network, solved N and loss: its value, its gradient and its sharpness.",
    (
        _NETWORK,
        _N,
        _LOSS,
        Column("value", "float64", "nats", "the loss; empty where not finite, as the others"),
        Column("gradient_norm", "float64", "", "of its gradient by all parameters that are trained"),
        Column("sharpness", "float64", "", "largest eigenvalue of its Hessian, by the same parameters"),
    ),
)

CAUSES = Table(
    "causes",
    "One row for each network, solved N, change and part that was retrained: do networks remember by tau or by W?",
    (
        _NETWORK,
        _N,
        Column(
            "change",
            "string",
            "",
            "none; tau_1, shuffled_taus; other_taus, other_weights: those of the network of the other curriculum with "
            "the same seed; singular_values, schur_modes: W cut down to the leading ones",
            key=True,
        ),
        Column("share", "float64", "", "of the modes of W that is left, 1 where W is whole", key=True),
        Column("draw", "int64", "", "the random order of the taus, counted from 0", key=True),
        Column("retrained", "string", "", "nothing, readout, weights, taus or everything", key=True),
        *_IN_TIME,
        _RELATIVE,
    ),
)

CONNECTIVITY = Table(
    "connectivity",
    "One row for each network and solved N: its recurrent weights (figures 6a, S19c, S19d).",
    (
        _NETWORK,
        _N,
        *_WEIGHTS,
        Column("weight_mean_sd", "float64", "", "standard deviation over neurons of their mean incoming weight"),
        Column(
            "tau_correlation",
            "float64",
            "",
            "Pearson's r over neurons of mean incoming weight and tau; empty without tau or where tau does not vary",
        ),
    ),
)

BY_NAME = {table.name: table for table in tuple(vars().values()) if isinstance(table, Table)}
"""Every table of this module by its name."""
