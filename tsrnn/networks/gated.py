"""GRU and LSTM (appendix G), computed by torch's fused layers.

Such a layer takes the weights of one network, so these populations loop over their networks. Everything else about them
is stacked as in other populations. Their input is -1 for a bit 0 and 1 for a bit 1 (appendix G).
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tsrnn.config import Network
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT, NetworkState, Population, Stack, uniform
from tsrnn.networks.leaky import BIAS, INPUT_BIAS, INPUT_WEIGHT, WEIGHT

# What torch's layers and cells call the parameters; a layer adds the number of the layer.
_NAMES = {INPUT_WEIGHT: "weight_ih", WEIGHT: "weight_hh", INPUT_BIAS: "bias_ih", BIAS: "bias_hh"}


_LAYER = "{}_l0"
_CELL = "cell.{}"


@cache
def _layer(kind: type[nn.GRU] | type[nn.LSTM], hidden: int) -> nn.GRU | nn.LSTM:
    """Return a layer of torch's for one input, without parameters: each call passes those of a network."""
    return kind(1, hidden, device="meta")


class _EveryLSTMState(nn.Module):
    """Returns the cell state of every step; torch's own layer returns that of the last step only."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(1, hidden, device="meta")

    def forward(self, inputs: Tensor, h: Tensor, m: Tensor) -> Tensor:
        """Return hidden states and cell states [T, B, 2 H], from inputs [T, B, 1] and the states [B, H] before."""
        states = []
        for now in inputs:
            h, m = self.cell(now, (h, m))
            states.append(torch.cat((h, m), dim=-1))
        return torch.stack(states)


def _shapes(network: Network, gates: int) -> dict[str, tuple[int, ...]]:
    rows = gates * network.hidden
    return {WEIGHT: (rows, network.hidden), BIAS: (rows,), INPUT_WEIGHT: (rows,), INPUT_BIAS: (rows,)}


def _initial(network: Network, gates: int, seed: int) -> NetworkState:
    """Draw all parameters from U(-k, k), k = 1/sqrt(H), as torch's layers do."""
    shapes = _shapes(network, gates)
    return {name: uniform(network.hidden**-0.5, shape, seed, "init", name) for name, shape in shapes.items()}


class _GatedPopulation(Population):
    """What GRU and LSTM share: the names of parameters, and how a network's part is handed to torch."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes: all."""
        return (*_NAMES, READOUT_WEIGHT, READOUT_BIAS)

    def remove_untrained_gradients_(self, gradients: Stack) -> None:
        """Do nothing: every entry is trained."""

    def project_(self) -> None:
        """Do nothing: every value is allowed."""

    def tau(self) -> np.ndarray | None:
        """Return None: these networks have gates and no tau."""
        return None

    def _networks(self, inputs: Tensor, initial: Tensor, name: str) -> Iterator[tuple[Stack, Tensor, Tensor]]:
        """Yield each network's weights, inputs [T, B, 1] in {-1, 1} and state; `name` formats the weights' names."""
        signs = (2 * inputs - 1).to(self.dtype)
        # The gradient of unbind is one stack, whereas that of indexing is a whole stack for each network.
        stacked = (self.parameters[name].unbind() for name in _NAMES)
        names = [name.format(own) for own in _NAMES.values()]
        for *parts, x, state in zip(*stacked, signs.unbind(1), initial.unbind(), strict=True):
            input_weight, *rest = parts
            yield dict(zip(names, (input_weight[:, None], *rest), strict=True)), x[..., None], state


class GRUPopulation(_GatedPopulation):
    """R gated recurrent units.

        r = s(W_r h + b_r + u_r x + c_r)
        z = s(W_z h + b_z + u_z x + c_z)
        n = tanh(r (W_n h + b_n) + u_n x + c_n)
        h' = (1 - z) n + z h,

    s the logistic function, x in {-1, 1} (inputs are mapped by 2 x - 1, also those that are not bits).
    Parameters: W "recurrent.weight" [R, 3 H, H], b "recurrent.bias", u "input.weight", c "input.bias", each [R, 3 H],
    in the order r, z, n. The state is h.
    """

    @staticmethod
    def shapes(network: Network) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of one network but the heads'."""
        return _shapes(network, gates=3)

    @staticmethod
    def initial_state_of(network: Network, seed: int) -> NetworkState:
        """Return a new network without heads: U(-k, k), k = 1/sqrt(H)."""
        return _initial(network, gates=3, seed=seed)

    @property
    def state_size(self) -> int:
        """The size of the state: H."""
        return self.network.hidden

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        runs = zip(lengths, self._networks(inputs, initial, _LAYER), strict=True)
        return torch.stack([self._run(weights, x[len(x) - m :], h)[-1] for m, (weights, x, h) in runs])

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        return torch.stack([self._run(*network) for network in self._networks(inputs, initial, _LAYER)], dim=1)

    @staticmethod
    def _run(weights: Stack, x: Tensor, h: Tensor) -> Tensor:
        """Return one network's states [T, B, H]."""
        states: Tensor = functional_call(_layer(nn.GRU, h.shape[-1]), weights, (x, h[None]))[0]
        return states


class LSTMPopulation(_GatedPopulation):
    """R long short-term memory (LSTM) networks.

        i = s(W_i h + b_i + u_i x + c_i)
        f = s(W_f h + b_f + u_f x + c_f)
        g = tanh(W_g h + b_g + u_g x + c_g)
        o = s(W_o h + b_o + u_o x + c_o)
        m' = f m + i g
        h' = o tanh(m'),

    s the logistic function, x in {-1, 1}. Parameters: W "recurrent.weight" [R, 4 H, H], b "recurrent.bias",
    u "input.weight", c "input.bias", each [R, 4 H], in the order i, f, g, o. The state is h, then the cell state m.
    """

    @staticmethod
    def shapes(network: Network) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of one network but the heads'."""
        return _shapes(network, gates=4)

    @staticmethod
    def initial_state_of(network: Network, seed: int) -> NetworkState:
        """Return a new network without heads: U(-k, k), k = 1/sqrt(H)."""
        return _initial(network, gates=4, seed=seed)

    @property
    def state_size(self) -> int:
        """The size of the state: 2 H, for the hidden state and the cell state."""
        return 2 * self.network.hidden

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        last = []
        layer = _layer(nn.LSTM, self.network.hidden)
        for length, (weights, x, state) in zip(lengths, self._networks(inputs, initial, _LAYER), strict=True):
            before = tuple(part[None].contiguous() for part in state.chunk(2, dim=-1))
            _, (h, m) = functional_call(layer, weights, (x[len(x) - length :], before))
            last.append(torch.cat((h[0], m[0]), dim=-1))
        return torch.stack(last)

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        cells = _EveryLSTMState(self.network.hidden)
        runs = [
            functional_call(cells, weights, (x, *state.chunk(2, dim=-1)))
            for weights, x, state in self._networks(inputs, initial, _CELL)
        ]
        return torch.stack(runs, dim=1)
