"""Studies made by hand, at the paper's scale: one in which every claim of the paper is true, one in which none is.

Replicates differ a little, by `wobble`: values that are all alike would show nothing.
"""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.cell import Cell
from analysis.data.networks import describe
from tsrnn import curricula
from tsrnn.config import GRU, LSTM, EndRules, FixedTau, Leaky, LeakyReLU, ReLU, RunConfig, Tanh, Time, Training
from tsrnn.io import schemas as records
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import Table
from tsrnn.io.store import schema
from tsrnn.tasks import TASKS

TABLES = list(records.BY_NAME.values())
EXAMPLES = {"string": "text", "int64": 3, "float64": 0.25}
PHIS = {"leaky_relu": LeakyReLU(), "relu": ReLU(), "tanh": Tanh()}

SWEEP_OF = {"none": "no_curriculum", "all": "all_heads", "sliding": "sliding_window"}
STEPS = Cell(self_interaction="outside")

CELLS = [
    *(Cell(task, name, tau) for task in ("parity", "dms") for name in ("single", "multi") for tau in "123"),
    *(Cell(task, name) for task in ("parity", "dms") for name in ("single", "multi")),
    *(
        Cell(curriculum=name, tau=tau, self_interaction="outside")
        for name in ("single", "multi")
        for tau in ("1", "2", "3", "trained")
    ),
    *(Cell(task, f"none-{n}") for task in ("parity", "dms") for n in (5, 10, 20, 30)),
    # The share of networks that fail is told from one of ten by 36 networks and no fewer.
    *(Cell("dms", f"none-{n}") for n in (25, 35, 40, 50, 60)),
    *(Cell(curriculum=f"sliding-{width}-full") for width in (3, 5, 10)),
    *(
        Cell(curriculum=name, self_interaction="outside", nonlinearity=phi)
        for name in ("single", "multi")
        for phi in ("relu", "tanh")
    ),
    *(Cell(curriculum=name, weight_decay=1e-4) for name in ("single", "multi")),
    *(Cell(curriculum=name, architecture=kind) for name in ("none-10", "single", "multi") for kind in ("gru", "lstm")),
    *(Cell(curriculum=name, k=str(k)) for name in ("single", "multi") for k in (2, 3, 5, 10)),
    *(
        Cell(curriculum=name, self_interaction="outside", k=k, dt="1/k")
        for name in ("single", "multi")
        for k in ("7,8,9,10", "10")
    ),
    *(Cell(curriculum=f"all-{count}") for count in (10, 20)),
]

ANALYSED = ("single", "multi", "sliding-5-full", "none-5", "none-10")


def configuration(cell: Cell, seed: int, hidden: int = 500, max_epochs: int = 1000) -> RunConfig:
    """Return what a network of a cell is trained by."""
    if cell.architecture == "leaky":
        network = Leaky(hidden=hidden, nonlinearity=PHIS[cell.nonlinearity], self_interaction=cell.self_interaction)
        if cell.tau != "trained":
            network = dataclasses.replace(network, tau=FixedTau(tau=float(cell.tau)))
        elif cell.dt == "1/k":
            network = dataclasses.replace(network, tau=dataclasses.replace(network.tau, least=1 / 7))
    else:
        network = {"gru": GRU, "lstm": LSTM}[cell.architecture](hidden=hidden)
    training = Training()
    optimizer = dataclasses.replace(training.optimizer, weight_decay=cell.weight_decay)
    return RunConfig(
        task=TASKS[cell.task](),
        network=network,
        curriculum=curricula.named(cell.curriculum),
        training=dataclasses.replace(training, optimizer=optimizer),
        end=EndRules(max_epochs=max_epochs if not cell.curriculum.startswith("none") else min(50, max_epochs)),
        time=Time(k=tuple(int(k) for k in cell.k.split(",")), dt=cell.dt),
        seed=seed,
    )


def accuracy(relative: float) -> dict:
    """Return the columns of an accuracy in time."""
    return {"accuracy": 0.5 + 0.49 * relative, "standard_error": 0.005, "relative_accuracy": relative}


class Simulated:
    """A study's tables as frames; what `analysis.quantities.base.Tables` asks for.

    Args:
        true: whether the paper's claims hold in it.
        replicates: networks a cell.
        cells: the cells that were run.
        scale: the name of the scale.
        max_epochs: each network's budget; all are out of it.
        farthest: no network gets beyond this N.
    """

    def __init__(
        self,
        true: bool,
        replicates: int = 6,
        cells: list[Cell] = CELLS,
        scale: str = "paper",
        hidden: int = 500,
        max_epochs: int = 1000,
        farthest: int = 101,
        analysed: bool = True,
    ):
        self.true = true
        self._loaded: dict[str, pd.DataFrame] = {}
        self.rows: dict[str, list[dict]] = {table.name: [] for table in TABLES}
        for cell in dict.fromkeys(cells):
            for seed in range(replicates):
                config = configuration(cell, seed, hidden, max_epochs)
                wobble = (seed % 3 - 1) / 2  # -0.5, 0, 0.5
                self._train(cell, config, wobble, scale, farthest)
                if analysed and cell.architecture == "leaky" and cell.curriculum in ANALYSED:
                    self._analyse(cell, config.network_id, wobble, 1 if seed % 6 < 3 else -1)

    def _add(self, table: Table, **values):
        """Add a row; numbers not given are None where the schema allows, words are empty."""
        row = {column.name: {"string": "", "int64": 0, "float64": None}[column.dtype] for column in table.columns}
        assert values.keys() <= row.keys(), values.keys() - row.keys()
        self.rows[table.name].append(row | values)

    # How far, and how fast.

    def _max_n(self, cell: Cell) -> float:
        kind, _, number = cell.curriculum.partition("-")
        if not self.true:
            base = 60 if cell.task == "parity" else 40
            if (kind == "multi" and cell.tau != "trained") or cell.weight_decay:
                return base / 2
            return base
        far = {"single": 35, "multi": 98, "sliding": 45 + 3 * int((number or "0").removesuffix("-full"))}[kind]
        if cell.task == "dms":
            far = {"single": 90, "multi": 98}[kind]
        if cell.tau != "trained":
            far = {"single": {"1": 15, "2": 10, "3": 8}, "multi": {"1": far, "2": 20, "3": 10}}[kind][cell.tau]
        if cell.dt == "1":
            far /= {"1": 1, "2": 2, "3": 2.2, "5": 2.5, "10": 3}[cell.k]
        elif cell.k == "10":
            far *= 0.9
        return far

    def _epochs_per_n(self, cell: Cell) -> float:
        kind, _, number = cell.curriculum.partition("-")
        if not self.true:
            slow = (kind == "multi" and cell.tau == "1") or cell.weight_decay
            return 20 if slow else 10
        wide = int((number or "0").removesuffix("-full"))
        per_n = {"single": 10, "multi": 1, "sliding": 8 - 0.4 * wide}[kind]
        if cell.architecture != "leaky":
            per_n /= 2
        # With tau = 1 multi-head networks are as fast as with trained taus.
        if cell.tau != "trained" and (kind, cell.tau) != ("multi", "1"):
            per_n *= 2
        if cell.dt == "1" and cell.k == "10":
            per_n *= 2
        return per_n

    def _train(self, cell: Cell, config: RunConfig, wobble: float, scale: str, farthest: int):
        network_id = config.network_id
        kind, _, number = cell.curriculum.partition("-")
        leaky = cell.architecture == "leaky"
        self._add(records.RUNS, **runs_row(config, SWEEP_OF.get(kind, "fixed_tau"), scale, "paper"))
        match kind:
            case "none":
                n = int(number)
                if cell.task == "dms":
                    epochs = (1.5 if n <= 10 else 20 if n <= 20 else 50) if self.true else 10
                else:
                    epochs = (20 if n <= 10 else 50) if self.true else 20
                epochs = max(1, round(epochs + wobble))
                fails = cell.task == "dms" and n > 20 and self.true
                epochs = min(epochs, config.end.max_epochs)
                solved = [] if fails else [(n, epochs)]
                total = config.end.max_epochs if fails else epochs
            case "all":
                ns = range(2, int(number) + 1)
                pace = 60 / int(number) * (1 + 0.04 * wobble)
                solved = [(n, round(pace * (n if self.true else int(number) + 2 - n))) for n in ns]
                total = max(epoch for _, epoch in solved)
            case _:
                per_n = self._epochs_per_n(cell)
                last = min(farthest, round(self._max_n(cell) + 2 * wobble))
                solved = [(n, max(1, round((n - 1) * per_n * (1 + 0.08 * wobble)))) for n in range(2, last + 1)]
                total = config.end.max_epochs
        before = 0
        for n, epoch in solved:
            mean, sd = self._tau(cell, n, wobble)
            self._add(
                records.SOLVED,
                network_id=network_id,
                n=n,
                epoch=epoch,
                epochs_taken=max(1, epoch - before),
                accuracy=0.985,
                tau_mean=mean if leaky else None,
                tau_sd=sd if leaky else None,
                checkpoint=f"checkpoints/{network_id}/n-{n:03}.safetensors",
            )
            before = epoch
        # A short learning curve: an epoch where an N was solved.
        for n, epoch in solved:
            self._add(records.EPOCHS, network_id=network_id, epoch=epoch, n_min=2, n_max=n, accuracy_newest=0.985)
        self._add(
            records.OUTCOMES,
            network_id=network_id,
            status="solved_all" if kind in ("none", "all") and solved else "epochs",
            max_n=max((n for n, _ in solved), default=0),
            epochs=total,
            steps=600 * total,
            operations=1e12 * total,
            wall_s=30.0 * total,
            device="cpu: made by hand",
            products="blas, 4 together",
            versions='{"tsrnn": "0.2.0", "torch": "2.13.0", "python": "3.11.7"}',
            code=None,
            commit=None,
            plugins=None,
        )

    def _tau(self, cell: Cell, n: int, wobble: float) -> tuple[float, float]:
        if cell.tau != "trained":
            return float(cell.tau), 0.0
        kind = cell.curriculum.partition("-")[0]
        grows = (kind != "multi") == self.true
        unit = float(cell.k) if cell.dt == "1" else 1.0 if self.true or cell.k != "7,8,9,10" else 2.0
        slope = 0.05 * (1 + 0.1 * wobble)
        if kind == "sliding" and self.true:
            return 1.5 + 0.4 * slope * n, 0.3
        if grows:
            return unit * (1.5 + slope * n), (0.3 + slope * n)
        if kind == "multi":
            falling = 1 + 0.5 * (1 + 0.1 * wobble) * math.exp(-n / 15)
            return unit * falling * (1 if self.true else 2), 0.3 * (1 + 0.001 * wobble * n)
        if kind == "none":
            return unit * 3 * (1.5 + slope * n), 0.3
        return unit * (4 - 0.02 * n + 0.1 * wobble), 0.3 - 0.001 * n * (1 + 0.2 * wobble)

    # What analyses measure.

    def _analyse(self, cell: Cell, network_id: str, wobble: float, sign: int):
        single, true = cell.curriculum != "multi", self.true
        key = {"network_id": network_id}
        if cell.dt == "1/k":
            worse = 0.03 if cell.k == "10" and true else 0.0
            for k in (1, 5, 7, 10, 20, 200):
                right = (k > 5) == true or 7 <= k <= 10
                self._add(
                    records.TIME_STEPS,
                    **key,
                    n=20,
                    k=k,
                    accuracy=(0.98 if right else 0.55) - worse + 0.01 * wobble,
                    standard_error=0.005,
                )
        if cell.k != "1" or cell.weight_decay or cell.tau != "trained":
            return
        alone = [int(cell.curriculum.split("-")[1])] if cell.curriculum.startswith("none") else None
        for n in alone or range(5, 41, 5):
            self._timescales(key | {"n": n}, cell.curriculum, wobble)
        if alone:
            return
        if cell.self_interaction == "outside":
            if cell.nonlinearity == "leaky_relu":
                self._ablation(key, cell.curriculum, wobble)
            return
        for n in range(5, 41, 5):
            weight = -0.001 * n * single if true else (0.001 * n if single else -0.03)
            # Weights fall with tau across networks, or rise; where it is true they are unrelated in multi-head ones.
            weight += 1e-4 * (sign if true and not single else -wobble if true else wobble)
            self._add(
                records.CONNECTIVITY,
                **key,
                n=n,
                weight_mean=weight,
                weight_positive=0.05 + weight / 2,
                weight_negative=-0.05 + weight / 2,
                weight_mean_sd=0.01,
                tau_correlation=-0.5 + 0.1 * wobble if true else 0.1 * wobble,
            )
            components = n / 2 if true else 5 + 0.1 * (n > 27)
            if cell.task == "dms":
                components = min(n, 20) / 2 + max(0, n - 20) * 0.1 if true else n / 2
            self._add(
                records.DIMENSIONALITY,
                **key,
                n=n,
                trial=-1,
                components=round(10 * components + wobble * (n % 10) * true),
                participation_ratio=3.0,
            )
        if cell.task == "parity":
            self._interventions(key, cell.curriculum, wobble)

    def _timescales(self, key: dict, curriculum: str, wobble: float):
        n = key["n"]
        if self.true:
            nets = {"single": 2 + (0.15 + 0.01 * wobble) * n, "multi": 2 + 3 * n / (n + 4) + wobble * n / 1000}
            nets["sliding"] = (nets["single"] + nets["multi"]) / 2
        else:
            nets = {"single": 9 - (0.1 + 0.02 * wobble) * n, "multi": 5 + (0.012 + 0.002 * wobble) * n}
            nets["none"] = 3 * nets["single"]
        net = nets.get(curriculum.split("-")[0], nets["single"])
        # The summed activity is as slow under both curricula, or half as slow in single-head networks.
        pop = nets["single"] if self.true else net * (0.5 if curriculum == "single" else 1.0)
        for neuron in range(-1, 6):
            agree = (self.true and (neuron, n) != (5, 10 + 10 * wobble)) or neuron % 2
            self._add(
                records.TIMESCALES,
                **key,
                neuron=neuron,
                method="paper",
                status="single",
                tau_net=net * (1 + 0.01 * neuron) if neuron >= 0 else pop,
                weight_slow=1.0,
                amplitude=1.0,
                r_squared=(0.99 if self.true else 0.5) + 0.004 * wobble,
                aic_single=1.0,
                # AIC prefers two exponentials by 1; BIC, to which their two parameters add 2.9 more, does not.
                aic_double=2.0 if agree else 0.0,
                lags=31,
            )
            if neuron >= 0:
                self._add(
                    records.NEURONS,
                    **key,
                    neuron=neuron,
                    tau=1.5,
                    weight_mean=0.0,
                    weight_positive=0.05,
                    weight_negative=-0.05,
                    activity_mean=0.1,
                    activity_sd=0.1,
                )
                for lag in range(3):
                    self._add(records.AUTOCORRELATIONS, **key, neuron=neuron, lag=lag, autocorrelation=0.8**lag)

    def _ablation(self, key: dict, curriculum: str, wobble: float):
        true, single = self.true, curriculum == "single"
        for n in (5, 30):
            self._add(records.ABLATION, **key, n=n, removed="none", neuron=-1, **accuracy(1.0))
            if n == 5:
                left = {"longest": 0.999, "shortest": 0.998} if true else {"longest": 0.95, "shortest": 0.95}
            else:
                left = (
                    {"longest": 0.454, "shortest": 0.926} if single == true else {"longest": 0.999, "shortest": 0.792}
                )
            for removed, value in left.items():
                tau = (5.28 if single and true else 1.95) if removed == "longest" else 1.0
                for neuron in range(3):
                    self._add(
                        records.ABLATION,
                        **key,
                        n=n,
                        removed=removed,
                        neuron=neuron,
                        tau=tau + 0.05 * wobble,
                        **accuracy(value + 0.001 * wobble),
                    )

    def _interventions(self, key: dict, curriculum: str, wobble: float):
        true, single = self.true, curriculum == "single"
        self._ablation(key, curriculum, wobble)
        for perturbed, strengths in (("weights", (0.01, 0.1)), ("taus", (0.001, 0.1))):
            robust = (0.5 if single else 0.8) if true else 0.6
            for perturbation in (0.0, *strengths):
                for trial in range(2):
                    self._add(
                        records.PERTURBATION,
                        **key,
                        n=30,
                        perturbed=perturbed,
                        perturbation=perturbation,
                        trial=trial,
                        **accuracy(1.0 if perturbation == 0 else robust + 0.05 * wobble),
                    )
        for n in (16, 31):
            left = {"single": 0.5, "multi": 0.7, "sliding-5-full": 0.9}[curriculum] if true else 0.6
            for retrained_n in range(n, n + 17):
                self._add(
                    records.RETRAINING,
                    **key,
                    n=n,
                    retrained_n=retrained_n,
                    epochs=20,
                    **accuracy(1.0 if retrained_n == n else left + 0.05 * wobble),
                )
        for head in range(2, 26):
            back, forward = (0.7, 0.6) if single or not true else (0.99, 0.8)
            value = (back if head <= 20 else forward) + 0.01 * wobble
            self._add(
                records.HEADS_RETRAINING,
                **key,
                n=20,
                head=head,
                accuracy=value,
                standard_error=0.005,
                iterations=20,
            )
        for change in (-0.1, 0.0, 0.1):
            explodes = single == true and change < 0
            self._add(
                records.INHIBITION,
                **key,
                n=30,
                change=change,
                **accuracy(0.5 if explodes else 1.0),
                activity_low=-0.1,
                activity_high=(1e5 if explodes else 1.0) * (1 + 0.1 * wobble),
            )

    # As results.

    def load(self, table: Table, columns=None, where=None) -> pd.DataFrame:
        """Return a table as `analysis.data.study.Study` does."""
        frame = self._whole(table)
        for column, operator, value in where or ():
            kept = {"==": frame[column].eq, ">=": frame[column].ge, "in": frame[column].isin}[operator](value)
            frame = frame[kept]
        return frame

    def _whole(self, table: Table) -> pd.DataFrame:
        if (cached := self._loaded.get(table.name)) is not None and len(cached) == len(self.rows[table.name]):
            return cached
        columns = {column.name: column.dtype for column in table.columns}
        frame = pd.DataFrame(self.rows[table.name], columns=list(columns))
        dtypes = {name: {"string": "str"}.get(dtype, dtype) for name, dtype in columns.items()}
        self._loaded[table.name] = frame.astype(dtypes).assign(sweep="simulated")
        return self._loaded[table.name]

    @property
    def networks(self) -> pd.DataFrame:
        """Return the networks as `analysis.data.study.Study` does."""
        tables = (records.RUNS, records.OUTCOMES, records.EPOCHS, records.SOLVED, records.ANALYSES)
        return describe(*(self.load(table) for table in tables))

    def write(self, folder: Path) -> Path:
        """Write it as a sweep's folder, a file a table."""
        for table in TABLES:
            (folder / table.name).mkdir(parents=True)
            rows = {name: [row[name] for row in self.rows[table.name]] for name in schema(table).names}
            pq.write_table(pa.table(rows, schema=schema(table)), folder / table.name / "all.parquet")
        return folder
