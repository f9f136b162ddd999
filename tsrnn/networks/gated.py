"""GRU and LSTM (appendix G), run by torch's own fused layers.

A layer takes one network's weights, so these populations loop over their networks; everything else about them
is stacked as anywhere. Their input is -1 for a bit 0 and 1 for a bit 1 (appendix G).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tsrnn.config import Network
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT, NetworkState, Population, Stack, uniform
from tsrnn.networks.leaky import BIAS, INPUT_BIAS, INPUT_WEIGHT, WEIGHT

_PARAMETERS = (INPUT_WEIGHT, WEIGHT, INPUT_BIAS, BIAS)  # the order in which torch's layers take them


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
        return (*_PARAMETERS, READOUT_WEIGHT, READOUT_BIAS)

    def remove_untrained_gradients_(self, gradients: Stack) -> None:
        """Do nothing: every entry is trained."""

    def project_(self) -> None:
        """Do nothing: every value is allowed."""

    def tau(self) -> np.ndarray | None:
        """Return None: gates take the place of tau."""
        return None

    def _networks(self, inputs: Tensor, initial: Tensor) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
        """Yield each network's weights as torch's layers take them, its inputs [T, B, 1] in {-1, 1}, its state."""
        signs = (2 * inputs - 1).to(self.dtype)
        # unbind, whose gradient is one stack; indexing would fill a whole stack for each network.
        stacked = (self.parameters[name].unbind() for name in _PARAMETERS)
        for *parts, x, state in zip(*stacked, signs.unbind(1), initial.unbind(), strict=True):
            input_weight, *rest = parts
            yield [input_weight[:, None], *rest], x[..., None], state


class GRUPopulation(_GatedPopulation):
    """R gated recurrent units.

        r = s(W_r h + b_r + u_r x + c_r)
        z = s(W_z h + b_z + u_z x + c_z)
        n = tanh(r (W_n h + b_n) + u_n x + c_n)
        h' = (1 - z) n + z h,

    s the logistic function, x in {-1, 1}. Parameters: W "recurrent.weight" [R, 3 H, H], b "recurrent.bias",
    u "input.weight", c "input.bias", each [R, 3 H], in the order r, z, n. The state is h.
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
        """H."""
        return self.network.hidden

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        runs = zip(lengths, self._networks(inputs, initial), strict=True)
        return torch.stack([self._run(weights, x[len(x) - m :], h)[-1] for m, (weights, x, h) in runs])

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        return torch.stack([self._run(*network) for network in self._networks(inputs, initial)], dim=1)

    @staticmethod
    def _run(weights: list[Tensor], x: Tensor, h: Tensor) -> Tensor:
        """Return one network's states [T, B, H]."""
        states, _ = torch.gru(x, h[None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return states


class LSTMPopulation(_GatedPopulation):
    """R networks of long short-term memory.

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
        """2 H: hidden state and cell state."""
        return 2 * self.network.hidden

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        last = []
        for length, (weights, x, state) in zip(lengths, self._networks(inputs, initial), strict=True):
            h_and_m = [part[None].contiguous() for part in state.chunk(2, dim=-1)]
            _, h, m = torch.lstm(
                x[len(x) - length :], h_and_m, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False
            )
            last.append(torch.cat((h[0], m[0]), dim=-1))
        return torch.stack(last)

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        # torch's layer tells the cell state of the last step only, its cell that of every step.
        runs = []
        for weights, x, state in self._networks(inputs, initial):
            states = []
            h, m = state.chunk(2, dim=-1)
            for now in x:
                h, m = torch.lstm_cell(now, (h, m), *weights)
                states.append(torch.cat((h, m), dim=-1))
            runs.append(torch.stack(states))
        return torch.stack(runs, dim=1)
