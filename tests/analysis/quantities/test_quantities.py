"""One quantity, one function: the figure, the claim, the command and the query that is shown have the same numbers."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.tools import eval_measures

from analysis import quantities
from analysis.claims.evidence import Evidence
from analysis.claims.measures import Curve
from analysis.data.cell import COLUMNS, TRAINING, Cell, alike, beyond_main
from analysis.data.study import Study
from analysis.figures import FIGURES, build
from analysis.measure.dynamics_summary import by_network
from analysis.quantities import (
    causes,
    connectivity,
    gradients,
    interventions,
    memory,
    pace,
    spectra,
    taus,
    time_steps,
    timescales,
)
from analysis.quantities.base import Quantity
from tests.analysis.figures.test_figures import everything
from tsrnn.io.schemas import CONNECTIVITY, DIMENSIONALITY, NEURONS, SOLVED, TIMESCALES

MODULES = (causes, connectivity, gradients, interventions, memory, pace, spectra, taus, time_steps, timescales)
ALL = [value for module in MODULES for value in vars(module).values() if isinstance(value, Quantity)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return everything(tmp_path_factory.mktemp("everything"))


def keyed(rows: pd.DataFrame, value: str) -> "pd.Series[float]":
    names = ("network_id", "n", "epoch", "neuron", "lag", "removed", "manner", "perturbed", "perturbation", "change")
    more = ("head", "retrained_n", "trial", "asked_k", "share", "retrained")
    keys = [name for name in (*names, *more) if name in rows and name != value]
    keys = [name for name in keys if not (name == "epoch" and value != "learning_curve" and "n" in rows)]
    return rows.dropna(subset=value).set_index(keys)[value].astype(float).sort_index()


def test_every_module_of_quantities_is_here():
    folder = Path(inspect.getfile(quantities)).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__", "base", "reach"} == {
        module.__name__.rsplit(".", 1)[1] for module in MODULES
    }


@pytest.mark.parametrize("own", ALL, ids=lambda own: own.name)
class TestEveryQuantity:
    def test_its_source_is_its_query(self, study: Study, own: Quantity):
        """What a figure shows as its query, run by itself with pandas and numpy alone."""
        names = {"pd": pd, "np": np}
        exec(own.source, names)
        frames = [study.load(table, where=own.where.get(table.name)) for table in own.tables]
        names |= {table.name: frame for table, frame in zip(own.tables, frames, strict=True)}
        found = eval(own.call, names).dropna(subset="value").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, own.rows(study))
        assert len(found) > 0

    def test_one_value_for_each_network_and_key(self, study: Study, own: Quantity):
        rows = own.rows(study)
        assert not rows.duplicated([column for column in rows if column != "value"]).any()
        assert rows.columns[0] == "network_id"


def test_figures_claims_and_quantities_agree(study: Study):
    """Every figure with a column of a quantity's name has its values, and so has the curve that claims are made of."""
    seen = set()
    evidence, everyone = Evidence(study), Cell(**dict.fromkeys(COLUMNS))
    values = [(own, own.rows(study).rename(columns={"value": own.name})) for own in ALL]
    for id in FIGURES:
        figure = build(study, id)
        main = next(iter(figure.data.values()))
        for own, rows in values:
            if own.name not in main or figure.missing:
                continue
            shown = keyed(main, own.name)
            expected = keyed(rows, own.name)
            assert list(shown.index.names) == list(expected.index.names), id
            pd.testing.assert_series_equal(shown, expected[expected.index.isin(shown.index)], check_names=False)
            seen.add(own.name)
            if {"network_id", "n"} == set(shown.index.names):
                claimed = Curve.of(own).rows(evidence, everyone)
                again = keyed(claimed.rename(columns={"value": own.name}), own.name)
                pd.testing.assert_series_equal(again[again.index.isin(shown.index)], shown, check_names=False)
    assert {
        "tau_mean",
        "tau_net_mean",
        "tau_pop",
        "agreement",
        "r_squared",
        "weight_mean",
        "components",
        "max_n",
    } <= seen


def test_the_command_has_the_same_numbers(study: Study):
    solved = study.load(SOLVED)[["network_id", "n"]]
    tables = {table: study.load(table) for table in (TIMESCALES, NEURONS, DIMENSIONALITY, CONNECTIVITY)}
    printed = by_network(tables, solved)
    printed = printed[printed["method"] == "paper"].set_index(["network_id", "n"])
    for column, own in {
        "mean_above_1": timescales.tau_net_mean,
        "fraction_above_1": timescales.tau_net_share,
        "tau_pop": timescales.tau_pop,
        "components": connectivity.components,
        "weight_mean": connectivity.weight_mean,
        "tau_correlation": connectivity.tau_correlation,
    }.items():
        rows = own.rows(study).set_index(["network_id", "n"])["value"]
        shared = printed.index.intersection(rows.index)
        assert len(shared) > 10
        np.testing.assert_allclose(printed.loc[shared, column].astype(float), rows[shared], rtol=1e-12)


class TestCell:
    @pytest.mark.parametrize(
        "cell",
        [
            Cell(),
            Cell(None, None),
            Cell(curriculum="multi", slope=0.01),
            Cell(architecture="gru"),
            Cell(k=None, dt=None),
        ],
        ids=lambda cell: cell.words,
    )
    def test_what_it_selects_is_what_its_conditions_select(self, study: Study, cell: Cell):
        selected = cell.select(study.networks)["network_id"].tolist()
        assert study.networks.query(" and ".join(cell.conditions()))["network_id"].tolist() == selected

    def test_alike_networks_differ_in_their_seed_alone(self, study: Study):
        for _, group in alike(study.networks):
            assert group["seed"].is_unique
            assert all(group[name].nunique(dropna=False) == 1 for name in (*COLUMNS, *TRAINING))

    def test_in_words(self, study: Study):
        words = {beyond_main(row) for row in study.networks.to_dict("records")}
        assert {"", "self-interaction outside", "GRU", "relu", "slope 0.01", "k = 3, dt = 1"} <= words


def test_agreement_is_that_of_the_criteria_of_statsmodels():
    lags, rng = np.arange(3, 103), np.random.default_rng(0)
    single = rng.normal(size=100)
    double = single + rng.uniform(0, 8, 100)
    aic = [eval_measures.aic(single, lags, 2), eval_measures.aic(double, lags, 4)]
    bic = [eval_measures.bic(single, lags, 2), eval_measures.bic(double, lags, 4)]
    rows = pd.DataFrame(
        {"network_id": lags.astype(str), "n": 2, "aic_single": aic[0], "aic_double": aic[1], "lags": lags}
    )
    found = timescales.agreement(rows).set_index("network_id")["value"]
    expected = (aic[0] <= aic[1]) == (bic[0] <= bic[1])
    assert 0.1 < expected.mean() < 0.9
    assert found[lags.astype(str)].tolist() == expected.astype(float).tolist()
