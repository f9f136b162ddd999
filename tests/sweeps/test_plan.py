"""From options to networks: axes, grids, titles, what a folder may hold."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
from pydantic import ValidationError

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder, require_same_base
from sweeps.engine.grid import axes_of, title, with_curriculum, with_network, with_tau
from sweeps.engine.options import Options
from sweeps.engine.plan import groups_of, plan_of
from sweeps.engine.runner import Axes, Sweep, main
from sweeps.engine.scales import SCALES, base_config
from sweeps.fixed_tau import SWEEP as FIXED_TAU
from sweeps.no_curriculum import SWEEP as NO_CURRICULUM
from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    EndState,
    FixedTau,
    Leaky,
    LeakyReLU,
    ReLU,
    RunConfig,
    Tanh,
    Training,
)
from tsrnn.io.rows import outcomes_row, runs_row
from tsrnn.io.schemas import OUTCOMES, RUNS
from tsrnn.io.store import StoreError
from tsrnn.training.reports import Outcome


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--taus", "1", "2"], "taus = 1 2"),
        (["--self-interactions", "outside"], "self-interactions = outside"),
        (["--tasks", "dms"], "tasks = dms"),
    ],
)
def test_an_option_that_a_grid_does_not_vary_is_refused(monkeypatch, capsys, tmp_path, option, named):
    def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
        for name in axes.curricula:
            yield with_curriculum(base, name)

    def run(*given: str) -> tuple[int, str, str]:
        where = ["--scale", "quick", "--storage", str(tmp_path), "--dry-run", "--json"]
        monkeypatch.setattr(sys, "argv", ["one_axis.py", *where, *given])
        with pytest.raises(SystemExit) as end:
            main(Sweep("one_axis", "One axis.", Axes(curricula=("single", "multi")), grid))
        return end.value.code, *capsys.readouterr()

    status, output, errors = run(*option)
    assert (status, output) == (2, "")
    assert errors == (
        f"error: {named}: the sweep one_axis does not vary this option; leave it out (allowed here: curricula)\n"
    )
    status, output, _ = run("--curricula", "multi")
    assert status == 0
    assert [one["title"] for one in json.loads(output)["runs"]] == ["parity multi tau trained"]


def test_titles_tell_nonlinearities_and_weight_decay_apart():
    cases = [(LeakyReLU(), ""), (LeakyReLU(slope=0.01), " slope 0.01"), (ReLU(), " relu"), (Tanh(), " tanh")]
    for phi, words in cases:
        assert title(with_network(RunConfig(), nonlinearity=phi)) == f"parity multi tau trained{words}"
    decayed = RunConfig(training=Training(optimizer=SGD(weight_decay=1e-4)))
    assert title(decayed) == "parity multi tau trained weight decay 0.0001"
    gated = replace(decayed, network=GRU())
    assert title(gated) == "parity multi gru weight decay 0.0001"


class TestParts:
    def test_with_tau(self):
        assert with_tau(RunConfig(), "2").network.tau == FixedTau(tau=2)
        assert with_tau(RunConfig(), "trained") == RunConfig()

    def test_axes_give_the_grid_back(self):
        networks = [with_tau(RunConfig(), tau) for tau in ("1", "1.2345678", "trained")]
        found = axes_of([*networks, networks[0]])
        assert (found["tasks"], found["curricula"], found["self_interactions"]) == (["parity"], ["multi"], ["inside"])
        assert [with_tau(RunConfig(), tau) for tau in found["taus"]] == networks

    @pytest.mark.parametrize("network", [GRU(), LSTM()], ids=lambda network: network.kind)
    def test_an_architecture_without_tau(self, network):
        config = RunConfig(network=network)
        with pytest.raises(ValueError, match=f"taus = '2': a {network.kind} has no tau"):
            with_tau(config, "2")
        with pytest.raises(ValidationError, match="self_interaction"):
            with_network(config, self_interaction="outside")
        assert with_network(config, hidden=9).network == replace(network, hidden=9)
        assert axes_of([config]) == {"tasks": ["parity"], "curricula": ["multi"]}
        assert axes_of([config, RunConfig()])["taus"] == ["trained"]
        assert title(config) == f"parity multi {network.kind}"
        runs = [*RunConfig().replicates(2), *config.replicates(2), with_tau(RunConfig(), "1")]
        assert [[run.seed for run in group] for group in groups_of(runs)] == [[0, 1], [0, 1], [0]]

    def test_networks_retrained_on_the_same_n_are_one_trial(self):
        """Stacked, whichever networks they start from; networks with other fixed taus are trials of their own."""
        alike = [RunConfig(seed=seed, source=source) for source in ("n1/5", "n2/5") for seed in (0, 1)]
        other = with_tau(alike[0], "2")
        assert groups_of([*alike, other]) == [alike, [other]]

    @pytest.mark.parametrize("name", ["single", "multi", "sliding-5", "sliding-10-by-5-full", "none-12", "all-20"])
    def test_a_curriculum_by_its_name(self, name: str):
        config = with_curriculum(RunConfig(), name)
        assert axes_of([config])["curricula"] == [name]
        assert title(config) == f"parity {name} tau trained"

    def test_an_absent_folder_holds_nothing(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        assert folder.read() is None
        assert folder.unfinished([RunConfig()]) == [RunConfig()]

    def test_what_ended_is_read_once_and_what_failed_again(self, tmp_path):
        networks = RunConfig().replicates(3)
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        folder.store.create()
        for network, status in zip(networks, ("epochs", "failed"), strict=False):
            outcome = Outcome(EndState(status), "")
            folder.store.write(OUTCOMES, network.network_id, [outcomes_row(network, outcome)])
        assert folder.unfinished(networks) == networks[1:]
        # Whoever reads this file again fails.
        (folder.path / "outcomes" / f"{networks[0].network_id}.parquet").write(b"PAR1 half")
        row = outcomes_row(networks[1], Outcome(EndState("epochs"), ""))
        folder.store.write(OUTCOMES, networks[1].network_id, [row])
        assert folder.unfinished(networks) == networks[2:]
        with pytest.raises(StoreError):
            SweepFolder(str(tmp_path), "fixed_tau").unfinished(networks)

    def test_the_precision_is_the_bases(self, tmp_path):
        sweep = Sweep("one", "One network.", Axes(), lambda base, axes: [base])
        coarse, fine = (
            plan_of(
                sweep,
                Options(scale="quick", preset="tuned", hidden=9, precision=precision, dry_run=True),
                SweepFolder(str(tmp_path), "one"),
            )
            for precision in ("bfloat16", None)
        )
        coarse, fine = coarse.record.base, fine.record.base
        assert (coarse.training.precision, fine.training.precision) == ("bfloat16", "float32")
        assert replace(coarse, training=replace(coarse.training, precision="float32")) == fine

    def test_the_budget_and_the_largest_n_are_options_and_are_resumed(self, tmp_path):
        sweep = Sweep("one", "One network.", Axes(), lambda base, axes: [base])
        folder = SweepFolder(str(tmp_path), "one")

        def planned(**options):
            return plan_of(sweep, Options(replicates=1, storage=str(tmp_path), **options), folder)

        plan = planned(scale="quick", epochs=45, max_n=20)
        assert plan.networks[0].end == replace(base_config("quick", "paper").end, max_epochs=45, max_n=20)
        folder.store.create()
        folder.write(plan.record)
        assert planned(resume=True).networks == plan.networks
        with pytest.raises(SweepError, match=r"end.max_epochs \(45, now 40\)"):
            planned(scale="quick", max_n=20)
        for option, value, field in (("epochs", 0, "max_epochs"), ("max_n", 1, "max_n")):
            with pytest.raises(ValidationError, match=field):
                planned(scale="quick", **{option: value})

    def test_a_value_that_is_added_to_a_resumed_grid_gets_the_recorded_seeds(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")

        def planned(**options):
            return plan_of(FIXED_TAU, Options(storage=str(tmp_path), **options), folder)

        grid = {"scale": "quick", "tasks": ("parity",), "curricula": ("single",), "replicates": 2}
        folder.store.create()
        for seed in (0, 100):
            folder.write(planned(**grid, taus=("1",), seed=seed).record)
        networks = planned(resume=True, taus=("2",)).networks
        of_two = {network.seed for network in networks if network.network.tau == FixedTau(tau=2.0)}
        assert of_two == {network.seed for network in networks} == {0, 1, 100, 101}

    def test_the_truncation_is_the_bases_and_is_resumed(self, tmp_path):
        sweep = Sweep("one", "One network.", Axes(), lambda base, axes: [base])
        folder = SweepFolder(str(tmp_path), "one")

        def planned(**options):
            return plan_of(sweep, Options(replicates=1, storage=str(tmp_path), **options), folder)

        plan = planned(scale="quick", preset="tuned", truncation=16)
        assert [network.training.truncation for network in plan.networks] == [16]
        folder.store.create()
        folder.write(plan.record)
        assert planned(resume=True).networks == plan.networks

    def test_a_stall_rule_is_the_bases_and_is_resumed(self, tmp_path):
        sweep = Sweep("one", "One network.", Axes(), lambda base, axes: [base])
        folder = SweepFolder(str(tmp_path), "one")

        def planned(**options):
            return plan_of(sweep, Options(scale="quick", replicates=1, storage=str(tmp_path), **options), folder)

        plan = planned(stall=700)
        assert [network.end.max_steps_without_solving for network in plan.networks] == [700]
        assert {planned(preset="tuned", stall=700).networks[0].end.max_steps_without_solving} == {700}
        folder.store.create()
        folder.write(plan.record)
        assert planned(stall=700, resume=True).networks == planned(resume=True).networks == plan.networks
        with pytest.raises(SweepError, match=r"end.max_steps_without_solving \(700, now default\)"):
            planned()
        with pytest.raises(SweepError, match=r"end.max_steps_without_solving \(700, now 800\)"):
            planned(stall=800, resume=True)
        with pytest.raises(ValidationError, match="max_steps_without_solving"):
            planned(stall=0)

    def test_a_fifth_network_of_figure_3a(self, tmp_path):
        """The paper has five a point in parity, the scale four: `--replicates 5` adds one to each."""
        folder = SweepFolder(str(tmp_path), "no_curriculum")
        four, five = (
            plan_of(NO_CURRICULUM, Options(tasks=["parity"], replicates=r), folder).networks for r in (None, 5)
        )
        assert {network.seed for network in set(five) - set(four)} == {4}
        assert set(four) < set(five)
        assert (len(four), len(five)) == (4 * 9, 5 * 9)

    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize("preset", ["paper", "authors", "tuned"])
    def test_solved_is_confirmed_where_tests_are_smaller_or_more_frequent_than_the_papers(self, scale, preset):
        training, papers = base_config(scale, preset).training, Training()
        tested = training.test_batches * training.sequences_tested
        as_theirs = tested >= 12_800 and training.steps_per_epoch >= papers.steps_per_epoch
        assert papers.test_batches * papers.sequences_tested == 12_800
        assert (training.confirm is None) == as_theirs
        assert as_theirs == (scale == "paper" and preset != "tuned")

    def test_rows_of_an_earlier_version_get_their_preset(self, tmp_path):
        base = RunConfig(network=Leaky(hidden=3))
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        folder.store.create()
        for config, preset in zip(base.replicates(2), (None, "paper"), strict=True):
            folder.store.write(RUNS, config.network_id, [runs_row(config, "fixed_tau", "quick", preset)])
        as_it_was = {path: path.read_bytes() for path in (folder.path / "runs").glob("n*")}
        folder.write(Record("fixed_tau", "quick", "paper", base, tuple(base.replicates(3))))
        runs = pd.read_parquet(folder.path / "runs")
        assert runs["preset"].tolist() == ["paper"] * 3
        assert sorted(runs["seed"]) == [0, 1, 2]
        assert sum(path.read_bytes() == content for path, content in as_it_was.items()) == 1

    def test_another_base_is_named(self, tmp_path):
        base = RunConfig()
        record = Record("fixed_tau", "paper", "paper", base, ())
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        require_same_base(folder, record, RunConfig())
        with pytest.raises(SweepError, match=r"network.hidden \(default, now 9\)"):
            require_same_base(folder, record, base.with_hidden(9))
