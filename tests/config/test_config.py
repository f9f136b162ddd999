import dataclasses
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsrnn.config import (
    DMS,
    GRU,
    LSTM,
    SGD,
    SOAP,
    Adam,
    AdamW,
    AllHeads,
    Confirmation,
    EndRules,
    FixedTau,
    GradientClip,
    Leaky,
    LeakyReLU,
    Lengths,
    MultiHead,
    Muon,
    NoCurriculum,
    Parity,
    RateDecay,
    ReLU,
    RunConfig,
    SingleHead,
    SlidingWindow,
    Tanh,
    TrainedTau,
    Training,
    explain,
    stacking_key,
)
from tsrnn.config.presets import with_preset
from tsrnn.tasks import BitTask, Sines

OTHER = RunConfig(
    task=DMS(),
    network=Leaky(hidden=64, nonlinearity=Tanh(), self_interaction="outside", tau=FixedTau(tau=2)),
    curriculum=SingleHead(start=3),
    training=Training(clip=None, precision="float64"),
    end=EndRules(max_n=50),
    seed=7,
)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


probabilities = floats(0, 1) | st.just("uniform")
lengths = st.builds(
    Lengths, shortest_beyond=st.integers(0, 6), longest_factor=st.integers(4, 9), longest_beyond=st.integers(0, 9)
)
bit_tasks = st.builds(Parity, input_probability=probabilities, lengths=lengths) | st.builds(
    DMS, input_probability=probabilities, lengths=lengths, readout_steps=st.sampled_from([1, "all"])
)
patterns = st.builds(
    Sines, period=floats(2.1, 99), steps=st.integers(9, 999), warm_up=st.integers(0, 8), noise=floats(0, 9)
)
tasks = bit_tasks | patterns
taus = st.builds(FixedTau, tau=floats(1, 1e6)) | st.builds(
    TrainedTau, low=floats(1, 5), high=floats(5, 50), constraint=st.sampled_from(["project", "clamp_forward"])
)
leaky_networks = st.builds(
    Leaky,
    hidden=st.integers(1, 10_000),
    nonlinearity=st.builds(LeakyReLU, slope=floats(1e-9, 0.999)) | st.builds(ReLU) | st.builds(Tanh),
    self_interaction=st.sampled_from(["inside", "outside"]),
    tau=taus,
    initial_state=floats(0, 1e9),
)
gated_networks = st.builds(GRU, hidden=st.integers(1, 10_000), initial_state=floats(0, 1e9)) | st.builds(
    LSTM, hidden=st.integers(1, 10_000), initial_state=floats(0, 1e9)
)
decays = {"learning_rate": floats(1e-9, 1e9), "weight_decay": floats(0, 1e9)}
moments = {"beta1": floats(0, 0.999), "beta2": floats(0, 0.999), "epsilon": floats(1e-20, 1e9)}
optimizers = (
    st.builds(SGD, momentum=floats(0, 0.999), **decays)
    | st.builds(Adam, **moments, **decays)
    | st.builds(AdamW, **moments, **decays)
    | st.builds(Muon, recurrent_rate=floats(1e-9, 1e9), **moments, **decays)
    | st.builds(
        SOAP,
        recurrent_rate=floats(1e-9, 1e9),
        recurrent_beta2=floats(0, 0.999),
        shampoo_beta=floats(0, 0.999),
        frequency=st.integers(1, 10_000),
        **moments,
        **decays,
    )
)


def trainings(*counts: str) -> st.SearchStrategy[Training]:
    """Training whose clip, where there is one, counts one of these."""
    return st.builds(
        Training,
        batch_size=st.integers(1, 10_000),
        steps_per_epoch=st.integers(1, 10_000),
        test_batches=st.integers(1, 10_000),
        test_batch_size=st.none() | st.integers(1, 10_000),
        screening_batches=st.none() | st.integers(1, 10_000),
        optimizer=optimizers,
        rate_decay=st.none() | st.builds(RateDecay, n=st.integers(2, 100), power=floats(1e-9, 9)),
        clip=st.none() | st.builds(GradientClip, max_norm=floats(1e-9, 1e9), counts=st.sampled_from(counts)),
        solved_weight=floats(0, 1),
        solved_accuracy=floats(1e-9, 0.999),
        confirm=st.none() | st.builds(Confirmation, margin=floats(1e-9, 0.999), batches=st.integers(1, 99)),
        precision=st.sampled_from(["float32", "float64"]),
    )


ends = st.builds(
    EndRules,
    max_n=st.integers(50, 200),
    max_epochs=st.integers(1, 10**6),
    max_seconds=floats(1e-9, 1e300),
    max_steps_without_solving=st.none() | st.integers(1, 10**6),
)
starts = st.integers(2, 50)
windows = st.builds(
    SlidingWindow,
    width=st.integers(9, 99),
    shift=st.integers(1, 9),
    begins=st.just("grown"),
    start=starts,
) | st.builds(SlidingWindow, width=st.integers(1, 40), begins=st.just("full"), start=st.integers(2, 10))
curricula = (
    st.builds(SingleHead, start=starts)
    | st.builds(MultiHead, start=st.integers(2, 9), ahead=st.integers(1, 9))
    | windows
    | st.builds(NoCurriculum, n=starts)
    | st.builds(AllHeads, n=starts)
)
rest = {"task": tasks, "curriculum": curricula, "end": ends, "seed": st.integers(0, 2**63 - 1)}
leaky_configs = st.builds(
    RunConfig, network=leaky_networks, training=trainings("parameters", "parameters_and_diagonal"), **rest
)
gated_configs = st.builds(RunConfig, network=gated_networks, training=trainings("parameters"), **rest)
shown = leaky_configs.map(lambda run: dataclasses.replace(run, training_task=run.task))
configs = leaky_configs | gated_configs | shown


def shuffled(value: Any, randomness: random.Random) -> Any:
    """Return JSON data with the fields of every object in another order."""
    if not isinstance(value, dict):
        return value
    items = [(name, shuffled(item, randomness)) for name, item in value.items()]
    randomness.shuffle(items)
    return dict(items)


class TestJson:
    @given(configs)
    def test_round_trip(self, config: RunConfig):
        again = RunConfig.from_json(config.to_json())
        assert again == config
        assert again.network_id == config.network_id

    def test_what_is_left_out_is_as_it_was_before_it_was_a_setting(self):
        assert RunConfig.from_json("{}") == RunConfig(generator="mt19937")
        assert RunConfig.from_json('{"task": {"kind": "dms"}, "seed": 3}') == RunConfig(
            task=DMS(), seed=3, generator="mt19937"
        )

    def test_the_defaults_are_written(self):
        written = json.loads(RunConfig().to_json())
        assert written["training"]["optimizer"] == {
            "kind": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.1,
            "weight_decay": 0.0,
        }
        assert written["network"]["nonlinearity"] == {"kind": "leaky_relu", "slope": 0.1}
        unlimited = {"max_steps_without_solving": None}
        assert written["end"] == {"max_n": 101, "max_epochs": 1000, "max_seconds": 3 * 24 * 3600} | unlimited


class TestFrozen:
    @pytest.mark.parametrize("part", [OTHER, OTHER.task, OTHER.network, OTHER.network.tau, OTHER.training])
    def test_every_part(self, part):
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, getattr(part, name))

    def test_configurations_are_dictionary_keys(self):
        assert {OTHER: 1}[dataclasses.replace(OTHER)] == 1


class TestRefusals:
    @pytest.mark.parametrize("count", [0, -1])
    def test_no_replicates(self, count: int):
        with pytest.raises(ValueError, match=rf"^count = {count}: allowed are numbers of at least 1$"):
            RunConfig().replicates(count)

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ('{"colour": 1}', "colour = 1: Unexpected keyword argument"),
            ('{"network": {KIND, "hiden": 1}}', "network.leaky.hiden = 1: Unexpected keyword argument"),
            ('{"network": {KIND, "tau": {"kind": "fixed", "low": 2}}}', "network.leaky.tau.fixed.low = 2: Unexpected"),
            ('{"seed": -1}', "seed = -1: Input should be greater than or equal to 0"),
            ('{"seed": 9223372036854775808}', "seed = 9223372036854775808: Input should be less than"),
            ('{"seed": 1.5}', "seed = 1.5: Input should be a valid integer"),
            ('{"task": {"kind": "sin"}}', "task: unknown kind 'sin'; known are 'parity', 'dms', 'sines'.*; import the"),
            ('{"task": {"kind": ["dms"]}}', "task: Input tag '\\['dms'\\]' found using 'kind'"),
            ('{"task": "dms"}', "task = 'dms': Input should be a registered task or an object with its kind"),
            ('{"task": {"kind": "sines", "period": 2}}', "task.sines.period = 2: .* greater than 2"),
            ('{"task": {"kind": "sines", "noise": -1}}', "task.sines.noise = -1: .* equal to 0"),
            ('{"task": {"kind": "sines", "warm_up": 50}}', "task.sines: warm_up = 50: .* below steps = 50"),
            ('{"task": {}}', "task: Unable to extract tag using discriminator 'kind'"),
            ('{"task": {"kind": "dms", "input_probability": 1.5}}', "_probability.* = 1.5: .* equal to 1; .*'uniform'"),
            ('{"task": {"kind": "dms", "lengths": {"longest_factor": 1}}}', "longest_factor = 1: .* equal to 2"),
            ('{"task": {"kind": "dms", "lengths": {"shortest_beyond": 7}}}', "task.dms.lengths: at N = 2 .*9, 8"),
            ('{"network": {KIND, "hidden": 0}}', "network.leaky.hidden = 0: .* equal to 1"),
            ('{"network": {KIND, "initial_state": -0.1}}', "network.leaky.initial_state = -0.1: .* equal to 0"),
            ('{"network": {KIND, "nonlinearity": {"kind": "leaky_relu", "slope": 1}}}', "slope = 1: .* less than 1"),
            ('{"network": {KIND, "self_interaction": "beside"}}', "= 'beside': Input should be 'inside' or 'outside'"),
            ('{"network": {KIND, "tau": {"kind": "fixed", "tau": 0.5}}}', "tau.fixed.tau = 0.5: .* equal to 1"),
            ('{"network": {KIND, "tau": {"kind": "fixed", "tau": 1e999}}}', "tau.fixed.tau = inf: .* finite"),
            ('{"network": {KIND, "tau": {"kind": "trained", "high": 1e999}}}', "tau.trained.high = inf: .* finite"),
            (
                '{"network": {KIND, "tau": {"kind": "trained", "low": 3}}}',
                "network.leaky.tau.trained: low = 3.0 exceeds high = 2.0",
            ),
            ('{"network": {"kind": "gru", "tau": 1}}', "network.gru.tau = 1: Unexpected keyword argument"),
            ('{"network": {"kind": "lstm", "nonlinearity": 1}}', "network.lstm.nonlinearity = 1: Unexpected keyword"),
            ('{"network": {"kind": "rnn"}}', "network: unknown kind 'rnn'; known are 'leaky', 'gru', 'lstm'; import"),
            (
                '{"network": {"kind": "gru"}, "training": {"clip": {"counts": "parameters_and_diagonal"}}}',
                "training.clip.counts = 'parameters_and_diagonal': a gru has no .*; allowed is 'parameters'",
            ),
            (
                '{"network": {"kind": "lstm"}, "training": {"precision": "bfloat16"}}',
                "training.precision = 'bfloat16': for lstm allowed are 'float32' and 'float64'",
            ),
            ('{"curriculum": {"kind": "multi", "start": 1}}', "curriculum.multi.start = 1: .* equal to 2"),
            ('{"curriculum": {"kind": "multi", "start": 102}}', r"start = 102, .*\): .* N = 102; .*_n = 101"),
            ('{"curriculum": {"kind": "none", "n": 102}}', r"curriculum \(n = 102\): .* N = 102; al"),
            ('{"curriculum": {"kind": "all", "n": 5}, "end": {"max_n": 4}}', r"n = 5\): .*_n = 4"),
            ('{"curriculum": {"kind": "sliding", "width": 101, "begins": "full"}}', r"width = 101, .*trains N = 102"),
            ('{"curriculum": {"kind": "sliding", "width": 3, "shift": 4}}', "m.sliding: shift = 4 .* width = 3"),
            ('{"curriculum": {"kind": "sliding"}}', "curriculum.sliding.width: Field required"),
            ('{"curriculum": {"kind": "none", "n": 1}}', "curriculum.none.n = 1: .* equal to 2"),
            ('{"training": {"optimizer": {"kind": "sgd", "learning_rate": 0}}}', "learning_rate = 0: .* greater"),
            ('{"training": {"optimizer": {"kind": "sgd", "momentum": 1}}}', "sgd.momentum = 1: .* less than 1"),
            ('{"training": {"optimizer": {"kind": "sgd", "weight_decay": -1}}}', "weight_decay = -1: .* equal"),
            ('{"training": {"optimizer": {"kind": "adam", "momentum": 0.1}}}', "adam.momentum = 0.1: Un"),
            ('{"training": {"optimizer": {"kind": "adam", "beta2": 1}}}', "adam.beta2 = 1: .* less than 1"),
            ('{"training": {"optimizer": {"kind": "rmsprop"}}}', "optimizer: .* tags: 'sgd', 'adam'"),
            ('{"training": {"clip": {"max_norm": 0}}}', "training.clip.max_norm = 0: .* greater than 0"),
            ('{"training": {"precision": "float16"}}', "precision = 'float16': .* 'float32', 'bfloat16' or 'float64'"),
            ('{"training": {"solved_weight": 1.1}}', "training.solved_weight = 1.1: .* less than or equal to 1"),
            ('{"training": {"confirm": {"margin": 1}}}', "training.confirm.margin = 1: .* less than 1"),
            ('{"training": {"confirm": {"false_rate": 0}}}', "training.confirm.false_rate = 0: .* greater than 0"),
            ('{"training": {"confirm": {"stages": 2}}}', "training.confirm.stages = 2: Unexpected keyword"),
            ('{"training": {"screening_batches": 0}}', "training.screening_batches = 0: .* equal to 1"),
            (
                '{"shown": {"kind": "parity", "asked": 4}}',
                r"readout_steps = 4: with lengths from N \+ 2 on, allowed is 1 to 3, or 'all'",
            ),
            (
                '{"shown": {"kind": "parity", "asked": 2}, "time": {"k": [2]}}',
                r"time.k = \(2,\): parity is read out at several steps; allowed is \(1,\)",
            ),
            ('{"shown": {"kind": "dms"}}', r"training_task \(dms\): allowed is the run's task, parity, with"),
            ('{"training": {"solved_accuracy": 1}}', "training.solved_accuracy = 1: .* less than 1"),
            ('{"end": {"max_epochs": 0}}', "end.max_epochs = 0: .* equal to 1"),
            ('{"end": {"max_steps_without_solving": 0}}', "end.max_steps_without_solving = 0: .* equal to 1"),
            ('{"end": {"max_seconds": 1e999}}', "end.max_seconds = inf: .* finite"),
            ('{"network": {KIND, "hidden": "two\\nlines"}}', r"network.leaky.hidden = 'two\\nlines': .* valid integer"),
            ('{"seed": -1, "end": {"max_n": 1}}', "end.max_n = 1: .*; seed = -1: "),
            ('{"seed"', "Invalid JSON"),
            ("[]", "RunConfig: Input should be an object"),
        ],
    )  # fmt: skip
    def test_one_line_names_the_field_the_value_and_what_is_allowed(self, text: str, line: str):
        with pytest.raises(ValidationError) as caught:
            RunConfig.from_json(text.replace("KIND", '"kind": "leaky"'))
        told = explain(caught.value)
        assert "\n" not in told
        assert pytest.RaisesExc(ValueError, match=line).matches(ValueError(told)), told

    @pytest.mark.parametrize("make", [lambda: Leaky(hiden=3), lambda: RunConfig(sed=3), lambda: ReLU(slope=0.1)])
    def test_an_unknown_name_in_a_constructor(self, make):
        with pytest.raises(ValidationError, match="Unexpected keyword argument"):
            make()

    def test_replacing_validates(self):
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            RunConfig().with_hidden(0)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize(
        "make",
        [
            lambda value: FixedTau(tau=value),
            lambda value: TrainedTau(low=value, high=value),
            lambda value: TrainedTau(high=value),
            lambda value: LeakyReLU(slope=value),
            lambda value: Leaky(initial_state=value),
            lambda value: SGD(learning_rate=value),
            lambda value: SGD(momentum=value),
            lambda value: SGD(weight_decay=value),
            lambda value: Adam(epsilon=value),
            lambda value: AdamW(epsilon=value),
            lambda value: GradientClip(max_norm=value),
            lambda value: Training(solved_accuracy=value),
            lambda value: EndRules(max_seconds=value),
            lambda value: Parity(input_probability=value),
        ],
    )
    def test_numbers_are_finite(self, make, value: float):
        with pytest.raises(ValidationError):
            make(value)


class TestNetworkId:
    @pytest.mark.parametrize(
        ("config", "network_id"),
        [
            (dataclasses.replace(RunConfig(), generator="mt19937"), "n44136fa355b3678a"),
            (dataclasses.replace(OTHER, generator="mt19937"), "nfdf9fb3e4c93c0c7"),
        ],
    )
    def test_is_the_same_for_ever(self, config: RunConfig, network_id: str):
        assert config.network_id == network_id

    @given(configs, st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_fields(self, config: RunConfig, randomness: random.Random):
        text = json.dumps(shuffled(json.loads(config.to_json()), randomness))
        assert RunConfig.from_json(text).network_id == config.network_id

    @pytest.mark.parametrize("config", [RunConfig(), OTHER])
    def test_does_not_depend_on_how_numbers_are_spelled(self, config: RunConfig):
        as_floats = json.loads(config.to_json(), parse_int=float)
        assert RunConfig.from_json(json.dumps(as_floats)).network_id == config.network_id
        some, others = (RunConfig(network=Leaky(tau=FixedTau(tau=tau))) for tau in (2, 2.0))
        assert some.network_id == others.network_id

    def test_does_not_depend_on_defaults_being_spelled_out(self):
        spelled = RunConfig(
            task=Parity(kind="parity", input_probability="uniform", lengths=Lengths(shortest_beyond=2)),
            network=Leaky(hidden=500, tau=TrainedTau(low=1.0, high=2.0)),
            curriculum=MultiHead(start=2),
            training=Training(clip=GradientClip(max_norm=2.0)),
            seed=0,
        )
        assert spelled.network_id == RunConfig().network_id

    def test_changes_with_every_setting(self):
        def run(**parts: Any) -> RunConfig:
            return RunConfig(**parts)

        def training(**settings: Any) -> RunConfig:
            return RunConfig(training=Training(**settings))

        changed = [
            RunConfig(),
            OTHER,
            run(seed=1),
            run(task=DMS()),
            run(task=DMS(input_probability="uniform")),
            run(task=Parity(input_probability=0.5)),
            run(task=Parity(lengths=Lengths(shortest_beyond=3))),
            run(task=Parity(lengths=Lengths(longest_factor=5))),
            run(task=Parity(lengths=Lengths(longest_beyond=1))),
            run(task=Sines()),
            run(task=Sines(period=6)),
            run(task=Sines(steps=60)),
            run(task=Sines(warm_up=1)),
            run(task=Sines(noise=0.1)),
            run(network=Leaky(hidden=499)),
            run(network=Leaky(self_interaction="outside")),
            run(network=Leaky(initial_state=0.2)),
            run(network=Leaky(nonlinearity=LeakyReLU(slope=0.01))),
            run(network=Leaky(nonlinearity=ReLU())),
            run(network=Leaky(nonlinearity=Tanh())),
            run(network=Leaky(tau=TrainedTau(low=1.5))),
            run(network=Leaky(tau=TrainedTau(high=3))),
            run(network=Leaky(tau=TrainedTau(constraint="clamp_forward"))),
            run(network=Leaky(tau=FixedTau())),
            run(network=Leaky(tau=FixedTau(tau=2))),
            run(network=GRU()),
            run(network=GRU(hidden=499)),
            run(network=GRU(initial_state=0)),
            run(network=LSTM()),
            run(network=LSTM(hidden=499)),
            run(network=LSTM(initial_state=0)),
            run(curriculum=SingleHead()),
            run(curriculum=SingleHead(start=3)),
            run(curriculum=MultiHead(start=3)),
            run(curriculum=MultiHead(ahead=2)),
            run(curriculum=SlidingWindow(width=3)),
            run(curriculum=SlidingWindow(width=4)),
            run(curriculum=SlidingWindow(width=3, shift=2)),
            run(curriculum=SlidingWindow(width=3, begins="grown")),
            run(curriculum=SlidingWindow(width=3, start=3)),
            run(curriculum=NoCurriculum(n=2)),
            run(curriculum=NoCurriculum(n=3)),
            run(curriculum=AllHeads(n=3)),
            training(batch_size=64),
            training(steps_per_epoch=601),
            training(test_batches=51),
            training(test_batch_size=50),
            training(screening_batches=5),
            training(confirm=Confirmation()),
            training(confirm=Confirmation(margin=0.1)),
            training(confirm=Confirmation(false_rate=1e-3)),
            training(confirm=Confirmation(miss_rate=1e-3)),
            training(confirm=Confirmation(batch_size=64)),
            training(confirm=Confirmation(batches=9)),
            training(confirm=Confirmation(max_stages=9)),
            training(solved_weight=0.5),
            run(training_task=Parity(input_probability=0.5)),
            run(training_task=Parity(readout_steps=2)),
            run(training_task=Parity(readout_steps="all")),
            run(task=Parity(readout_steps=2)),
            run(training_task=Parity(lengths=Lengths(longest_factor=2))),
            training(optimizer=SGD(learning_rate=0.01)),
            training(optimizer=SGD(momentum=0.9)),
            training(optimizer=SGD(weight_decay=1e-5)),
            training(optimizer=Adam()),
            training(optimizer=Adam(learning_rate=0.05)),
            training(optimizer=Adam(beta1=0.8)),
            training(optimizer=Adam(beta2=0.8)),
            training(optimizer=Adam(epsilon=1e-6)),
            training(optimizer=Adam(weight_decay=1e-5)),
            training(optimizer=Muon()),
            training(optimizer=Muon(recurrent_rate=0.01)),
            training(optimizer=SOAP()),
            training(optimizer=SOAP(frequency=5)),
            training(rate_decay=RateDecay()),
            training(rate_decay=RateDecay(n=30)),
            training(rate_decay=RateDecay(power=1)),
            training(optimizer=AdamW()),
            training(optimizer=AdamW(weight_decay=0)),
            training(clip=None),
            training(clip=GradientClip(max_norm=1)),
            training(clip=GradientClip(counts="parameters_and_diagonal")),
            training(solved_accuracy=0.9),
            training(precision="float64"),
            run(end=EndRules(max_n=100)),
            run(end=EndRules(max_epochs=10)),
            run(end=EndRules(max_seconds=10)),
            run(end=EndRules(max_steps_without_solving=600)),
            run(end=EndRules(max_steps_without_solving=601)),
        ]
        assert len({config.network_id for config in changed}) == len(changed)

    def test_replicates_have_seeds_and_ids_of_their_own(self):
        runs = dataclasses.replace(OTHER, seed=5).replicates(3)
        assert [run.seed for run in runs] == [5, 6, 7]
        assert len({run.network_id for run in runs}) == 3
        assert {stacking_key(run) for run in runs} == {stacking_key(OTHER)}


class TestStackingKey:
    def test_seed_and_a_fixed_taus_value_may_differ_and_nothing_else(self):
        fixed = RunConfig(network=Leaky(tau=FixedTau(tau=1)))
        slow = RunConfig(network=Leaky(tau=FixedTau(tau=3)), seed=9)
        assert stacking_key(fixed) == stacking_key(slow)
        others = [RunConfig(), fixed.with_hidden(9), RunConfig(network=Leaky(tau=TrainedTau(high=3)))]
        gated = [RunConfig(network=network) for network in (GRU(), GRU(hidden=9), LSTM())]
        assert len({stacking_key(config) for config in [fixed, *others, *gated]}) == 7
        assert {stacking_key(one) for one in RunConfig(network=GRU()).replicates(3)} == {RunConfig(network=GRU())}


class TestPresets:
    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match=r"^name = 'fast': allowed are paper, authors, momentum, tuned, soap$"):
            with_preset(RunConfig(), "fast")  # type: ignore[arg-type]

    @given(configs)
    def test_paper_changes_nothing(self, config: RunConfig):
        assert with_preset(config, "paper") == config

    @given(gated_configs)
    def test_authors_changes_the_lengths_of_gated_networks(self, config: RunConfig):
        found = with_preset(config, "authors")
        lengths = {"lengths": Lengths(longest_beyond=1)} if isinstance(config.task, BitTask) else {}
        assert found == dataclasses.replace(config, task=dataclasses.replace(config.task, **lengths))

    @pytest.mark.parametrize(("preset", "optimizer", "tested"), [("tuned", "muon", 2560), ("soap", "soap", 256)])
    @given(config=configs)
    def test_tuned_and_soap_change_training_and_leave_what_is_judged(
        self, preset, optimizer, tested, config: RunConfig
    ):
        found = with_preset(config, preset)
        assert found.task_in_training.lengths_for(40)[0] == (
            56 if isinstance(config.task, BitTask) else config.task.steps
        )
        old, new = config.training, found.training
        assert new.sequences_tested * new.test_batches >= min(old.sequences_tested * old.test_batches, tested)
        assert new.optimizer.kind == (optimizer if isinstance(config.network, Leaky) else "adam")
        assert new.optimizer.weight_decay == old.optimizer.weight_decay
        assert found.end.max_epochs * new.steps_per_epoch >= config.end.max_epochs * old.steps_per_epoch
        changed = {"training": old, "end": config.end, "training_task": config.training_task}
        assert dataclasses.replace(found, **changed) == config
        kept = ("clip", "solved_weight", "solved_accuracy", "precision")
        assert all(getattr(new, name) == getattr(old, name) for name in kept)
        assert new.confirm == (old.confirm or Confirmation())

    @given(leaky_configs)
    def test_authors_changes_what_it_says(self, config: RunConfig):
        found = with_preset(config, "authors")
        if isinstance(config.task, BitTask):
            assert found.task == dataclasses.replace(config.task, lengths=Lengths(longest_beyond=1))
        else:
            assert found.task == config.task
        assert found.network.nonlinearity == LeakyReLU(slope=0.01)
        assert getattr(found.network.tau, "constraint", "clamp_forward") == "clamp_forward"
        assert (found.training.clip is None) == (config.training.clip is None)
        assert getattr(found.training.clip, "counts", None) in (None, "parameters_and_diagonal")
        kept = dataclasses.replace(
            found,
            task=config.task,
            network=dataclasses.replace(
                found.network, nonlinearity=config.network.nonlinearity, tau=config.network.tau
            ),
            training=dataclasses.replace(found.training, clip=config.training.clip),
        )
        assert kept == config
        assert with_preset(found, "authors") == found
