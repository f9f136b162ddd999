"""The search space of the hyperparameter study, and the conversion of a candidate's parameters to networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from sweeps.search.names import CurriculumName
from tsrnn.config import (
    SGD,
    SOAP,
    Adam,
    AdamW,
    Confirmation,
    EndRules,
    GradientClip,
    Leaky,
    LeakyReLU,
    MultiHead,
    Muon,
    Optimizer,
    Precision,
    RateDecay,
    RunConfig,
    SingleHead,
    TrainedTau,
    Training,
)
from tsrnn.tasks import TASKS, BitTask, Lengths

if TYPE_CHECKING:
    from optuna import Trial

Parameters = dict[str, Any]
"""The parameters of a candidate. The names are those in existing databases of studies and are therefore kept: "asked"
and "asked_all" are readout steps."""

# Sequences of a whole test, and of the one screening batch before it. The paper's 50 batches of 256 would cost as much
# as a hundred steps with batches of 32; this number measures 98 % with a standard error of 0.3 %.
_TESTED: Final = 2560
_TEST_BATCH: Final = 256
# If heads are read out at all steps that have N bits, the shortest sequence has this number of readouts.
_SHORTEST_READOUTS: Final = 17
_PROBABILITIES: Final[dict[str, Any]] = {"uniform": "uniform", "half": 0.5}


KNOWN: Final[tuple[Parameters, ...]] = (
    # The paper's training, tested three times as often.
    {
        "batch_size": 256, "steps_per_epoch": 200, "optimizer": "sgd", "sgd_learning_rate": 0.05, "momentum": 0.1,
        "rate_decay": False, "clip": 2.0, "input_probability": "uniform", "asked_all": False, "asked": 1,
        "longest_factor": 4, "slope": 0.1, "tau_high": 2.0, "ahead": 1, "solved_weight": 1.0,
    },
    # The same with momentum, small batches and frequent tests.
    {
        "batch_size": 64, "steps_per_epoch": 50, "optimizer": "sgd", "sgd_learning_rate": 0.02, "momentum": 0.9,
        "rate_decay": False, "clip": 2.0, "input_probability": "uniform", "asked_all": False, "asked": 1,
        "longest_factor": 4, "slope": 0.1, "tau_high": 2.0, "ahead": 1, "solved_weight": 1.0,
    },
    # Adam, with readouts at sixteen steps of short sequences.
    {
        "batch_size": 32, "steps_per_epoch": 50, "optimizer": "adam", "adam_learning_rate": 1e-3, "beta2": 0.999,
        "rate_decay": False, "clip": 2.0, "input_probability": "half", "asked_all": False, "asked": 16,
        "longest_factor": 2, "slope": 0.1, "tau_high": 2.0, "ahead": 4, "solved_weight": 1.0,
    },
    # The next one with SOAP instead of Muon.
    {
        "batch_size": 32, "steps_per_epoch": 20, "optimizer": "soap", "adam_learning_rate": 4e-3, "soap_rate": 2e-3,
        "beta1": 0.9, "beta2": 0.999, "recurrent_beta2": 0.95, "rate_decay": True, "rate_decay_n": 20,
        "rate_decay_power": 2.0, "clip": 2.0, "input_probability": "half", "asked_all": True, "longest_factor": 2,
        "slope": 0.1, "tau_high": 2.0, "ahead": 5, "solved_weight": 1.0,
    },
    # The preset "tuned", with heads trained ahead: docs/hyperparameters.md.
    {
        "batch_size": 32, "steps_per_epoch": 20, "optimizer": "muon", "adam_learning_rate": 4e-3,
        "recurrent_rate": 0.04, "beta1": 0.9, "beta2": 0.999, "rate_decay": True, "rate_decay_n": 20,
        "rate_decay_power": 2.0, "clip": 2.0, "input_probability": "half", "asked_all": True, "longest_factor": 2,
        "slope": 0.1, "tau_high": 2.0, "ahead": 5, "solved_weight": 1.0,
    },
)  # fmt: skip
"""The first candidates of each optimiser's search; all of them are in the search space."""

TUNED: Final = KNOWN[-1]
"""The preset tuned, with heads ahead."""

_OF_OPTIMIZER: Final[dict[str, tuple[str, ...]]] = {
    "sgd": ("sgd_learning_rate", "momentum"),
    "adam": ("adam_learning_rate", "beta2"),
    "adamw": ("adam_learning_rate", "beta2", "weight_decay"),
    "muon": ("adam_learning_rate", "beta2", "recurrent_rate", "beta1"),
    "soap": ("adam_learning_rate", "beta2", "soap_rate", "beta1", "recurrent_beta2"),
}
_OF_MULTI_HEAD: Final = ("ahead", "solved_weight")


def lying_in_space(parameters: Parameters, curriculum_name: CurriculumName) -> Parameters:
    """Return the parameters of a candidate without those that do not apply to its optimiser, curriculum or choices."""
    ruled_out = {name for names in _OF_OPTIMIZER.values() for name in names}
    ruled_out -= set(_OF_OPTIMIZER[parameters["optimizer"]])
    if not parameters["rate_decay"]:
        ruled_out |= {"rate_decay_n", "rate_decay_power"}
    if parameters["asked_all"]:
        ruled_out |= {"asked"}
    if curriculum_name == "single":
        ruled_out |= set(_OF_MULTI_HEAD)
    return {name: value for name, value in parameters.items() if name not in ruled_out}


def known(optimizer: str, curriculum_name: CurriculumName) -> list[Parameters]:
    """Return the first candidates of an optimiser's search."""
    own = [parameters for parameters in KNOWN if parameters["optimizer"] == optimizer]
    return [lying_in_space(parameters, curriculum_name) for parameters in own]


def suggest(trial: "Trial", optimizers: Sequence[str], curriculum_name: CurriculumName) -> None:
    """Draw the parameters of a candidate that apply to its optimiser and curriculum.

    Args:
        trial: the trial that proposes them.
        optimizers: the optimisers to choose from.
        curriculum_name: multi or single.
    """
    trial.suggest_int("batch_size", 8, 256, log=True)
    trial.suggest_int("steps_per_epoch", 10, 200, log=True)
    if trial.suggest_categorical("optimizer", list(optimizers)) == "sgd":
        trial.suggest_float("sgd_learning_rate", 1e-3, 0.3, log=True)
        trial.suggest_float("momentum", 0.0, 0.98)
    else:
        trial.suggest_float("adam_learning_rate", 1e-4, 1e-2, log=True)
        trial.suggest_categorical("beta2", [0.95, 0.99, 0.999])
        if trial.params["optimizer"] == "muon":
            trial.suggest_float("recurrent_rate", 3e-3, 0.3, log=True)
        if trial.params["optimizer"] == "soap":
            trial.suggest_float("soap_rate", 2e-4, 2e-2, log=True)
            trial.suggest_categorical("recurrent_beta2", [0.9, 0.95, 0.99])
        if trial.params["optimizer"] in ("muon", "soap"):
            trial.suggest_float("beta1", 0.8, 0.98)
        if trial.params["optimizer"] == "adamw":
            trial.suggest_float("weight_decay", 1e-4, 0.3, log=True)
    if trial.suggest_categorical("rate_decay", [False, True]):
        trial.suggest_int("rate_decay_n", 5, 40, log=True)
        trial.suggest_float("rate_decay_power", 0.5, 3.0)
    trial.suggest_float("clip", 0.1, 20.0, log=True)
    trial.suggest_categorical("input_probability", ["uniform", "half"])
    if not trial.suggest_categorical("asked_all", [False, True]):
        trial.suggest_int("asked", 1, 64, log=True)
    trial.suggest_int("longest_factor", 2, 4)
    trial.suggest_float("slope", 0.01, 0.5, log=True)
    trial.suggest_float("tau_high", 1.0, 3.0)
    if curriculum_name == "multi":
        trial.suggest_int("ahead", 1, 8)
        trial.suggest_float("solved_weight", 0.1, 1.0)


def network_of(
    parameters: Parameters,
    *,
    task: str = "parity",
    curriculum_name: CurriculumName = "multi",
    hidden: int = 500,
    precision: Precision = "float32",
    seed: int = 0,
) -> RunConfig:
    """Return the network that the parameters of a candidate define.

    Training draws its own sequences (`RunConfig.training_task`), and tests use the paper's. With the single-head
    curriculum, there are no heads ahead and no solved heads.

    Args:
        parameters: the result of `suggest`.
        task: the task's kind, one about bits.
        curriculum_name: multi or single.
        hidden: H.
        precision: the dtype of the products of the recurrence.
        seed: the seed of the network.

    Raises:
        ValueError: if the task is not about bits.
    """
    kind = TASKS[task]
    if not issubclass(kind, BitTask):
        raise ValueError(f"task = {task}: allowed are tasks about bits")
    readout_steps: int | Literal["all"] = "all" if parameters["asked_all"] else int(parameters["asked"])
    # The shortest sequence has N bits at the first readout; the longest grows with it.
    shortest = max(2, (_SHORTEST_READOUTS if readout_steps == "all" else readout_steps) - 1)
    lengths = Lengths(
        shortest_beyond=shortest, longest_factor=parameters["longest_factor"], longest_beyond=shortest - 2
    )
    several = curriculum_name == "multi"
    return RunConfig(
        task=kind(),
        training_task=kind(
            readout_steps=readout_steps,
            lengths=lengths,
            input_probability=_PROBABILITIES[parameters["input_probability"]],
        ),
        network=Leaky(
            hidden=hidden,
            nonlinearity=LeakyReLU(slope=parameters["slope"]),
            tau=TrainedTau(high=parameters["tau_high"]),
        ),
        curriculum=MultiHead(ahead=parameters["ahead"]) if several else SingleHead(),
        training=Training(
            batch_size=parameters["batch_size"],
            steps_per_epoch=parameters["steps_per_epoch"],
            test_batches=_TESTED // _TEST_BATCH,
            test_batch_size=_TEST_BATCH,
            screening_batches=1,
            optimizer=_optimizer_of(parameters),
            rate_decay=(
                RateDecay(n=parameters["rate_decay_n"], power=parameters["rate_decay_power"])
                if parameters["rate_decay"]
                else None
            ),
            clip=GradientClip(max_norm=parameters["clip"]),
            solved_weight=parameters["solved_weight"] if several else 1.0,
            precision=precision,
            confirm=Confirmation(),
        ),
        # The budget of a candidate is in operations, not in epochs.
        end=EndRules(max_epochs=1_000_000),
        seed=seed,
    )


def _optimizer_of(parameters: Parameters) -> Optimizer:
    match parameters["optimizer"]:
        case "sgd":
            return SGD(learning_rate=parameters["sgd_learning_rate"], momentum=parameters["momentum"])
        case "adam":
            return Adam(learning_rate=parameters["adam_learning_rate"], beta2=parameters["beta2"])
        case "muon":
            return Muon(
                learning_rate=parameters["adam_learning_rate"],
                recurrent_rate=parameters["recurrent_rate"],
                beta1=parameters["beta1"],
                beta2=parameters["beta2"],
            )
        case "soap":
            return SOAP(
                learning_rate=parameters["adam_learning_rate"],
                recurrent_rate=parameters["soap_rate"],
                beta1=parameters["beta1"],
                beta2=parameters["beta2"],
                recurrent_beta2=parameters["recurrent_beta2"],
            )
        case _:
            return AdamW(
                learning_rate=parameters["adam_learning_rate"],
                beta2=parameters["beta2"],
                weight_decay=parameters["weight_decay"],
            )
