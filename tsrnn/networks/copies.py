"""Copies of networks that share the W of their source: the copies of a source form one batch.

Copies that differ in everything except W (in taus, biases, readout, silenced neurons) need one product with one matrix
at each step, however many copies there are. Such a product runs at the full speed of the processor, whereas a stack of
products of single copies is limited by memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsrnn.config import Network
from tsrnn.networks._stepped import activate_
from tsrnn.networks.base import READOUT_WEIGHT, NetworkState, Stack, unstack
from tsrnn.networks.leaky import BIAS, INPUT_BIAS, INPUT_WEIGHT, WEIGHT, LeakyPopulation

# Bytes of the states that are stepped together on a CPU: enough for products at the full rate and for few calls, and
# few enough for a core's cache.
_STATES = 1 << 18


class LeakyCopies(LeakyPopulation):
    """C copies of each of S leaky networks, a population of R = S C; the copies of a source are adjacent.

    They cannot be trained: no gradient reaches the shared W.

    Attributes:
        parameters: "recurrent.weight" [S, H, H], one of each source; all others [R, ...].
        silent: [R, H] bool: neurons that are held at 0. Their other parameters are 0, too.
    """

    def __init__(
        self,
        network: Network,
        parameters: Stack,
        heads: Sequence[Sequence[int]],
        products: torch.dtype | None = None,
        *,
        silent: Tensor | None = None,
    ) -> None:
        """Store the tensors without a copy; if neurons are silent, their parameters are set to 0 first.

        Raises:
            ValueError: if the copies do not divide evenly among the sources.
        """
        if silent is None:
            silent = torch.zeros_like(parameters[BIAS], dtype=torch.bool)
        else:
            alive = (~silent).to(parameters[BIAS])
            parameters = dict(parameters)
            for name in (BIAS, INPUT_BIAS, INPUT_WEIGHT):
                parameters[name] = parameters[name] * alive
            parameters[READOUT_WEIGHT] = parameters[READOUT_WEIGHT] * alive[:, None, None]
        super().__init__(network, parameters, heads, products)
        self.silent = silent
        self._copies, rest = divmod(self.replicates, len(parameters[WEIGHT]))
        if rest:
            raise ValueError(
                f"heads: {self.replicates} copies of {len(parameters[WEIGHT])} networks; allowed are as many of each"
            )

    def states(self) -> list[NetworkState]:
        """Return copies of the R networks' tensors, each with its own W, without the weights of its silent neurons."""
        alive = (~self.silent).to(self.dtype)
        weight = self.parameters[WEIGHT].repeat_interleave(self._copies, 0)
        return unstack(self.parameters | {WEIGHT: weight * alive[:, :, None] * alive[:, None]}, self.heads)

    def answers(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor, readout_steps: Sequence[int]) -> Tensor:
        """Run the copies and read every head; see `Population.answers`."""
        if max(readout_steps) == 1 or len(set(lengths)) == 1:
            return super().answers(inputs, lengths, initial, readout_steps)
        return self._apart().answers(inputs, lengths, self._silenced(initial), readout_steps)

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the copies individually, as separate networks; see `Population.last_states`."""
        return self._apart().last_states(inputs, lengths, self._silenced(initial))

    def _apart(self) -> LeakyPopulation:
        apart = LeakyPopulation.from_states(self.network, self.states(), self.heads, self.products)
        apart._dt = self._dt
        return apart

    def _silenced(self, initial: Tensor) -> Tensor:
        return initial.masked_fill(self.silent[:, None], 0.0)

    @torch.no_grad()
    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the copies and return every state, without a gradient; see `Population.all_states`.

        Silent neurons are at 0 throughout, including before the first step.
        """
        steps, batch = len(inputs), initial.shape[1]
        states = initial.new_empty(steps, *initial.shape)
        rows = self.replicates * batch
        if self.device.type == "cpu":
            rows = _STATES // (initial.shape[2] * initial.element_size())
        together = max(1, min(self._copies, rows // batch))
        for source in range(len(self.parameters[WEIGHT])):
            end = (source + 1) * self._copies
            for first in range(source * self._copies, end, together):
                at = slice(first, min(first + together, end))
                self._run(source, at, inputs[:, at].to(self.dtype), initial[at], states[:, at])
        return states

    def _run(self, source: int, at: slice, inputs: Tensor, initial: Tensor, states: Tensor) -> None:
        """Fill the states [T, C, B, H] of some copies of one source."""
        dynamics = self._dynamics()
        weight = dynamics["weight"][source].T.to(self.products)
        alpha, bias, input_weight = (dynamics[name][at, None] for name in ("alpha", "bias", "input_weight"))
        leak = 1 - alpha
        inside = self.network.self_interaction == "inside"
        alive = (~self.silent[at, None]).to(self.dtype) if self.silent[at].any() else None
        before = initial if alive is None else initial * alive
        target = torch.empty_like(before)
        rows = target.flatten(0, 1)
        for bits, now in zip(inputs.unbind(), states.unbind(), strict=True):
            torch.addcmul(bias, bits[..., None], input_weight, out=target)
            if self.products == self.dtype:
                torch.addmm(rows, before.flatten(0, 1), weight, out=rows)
            else:
                rows.add_(before.flatten(0, 1).to(self.products) @ weight)
            if not inside:
                activate_(self.network.nonlinearity, target)
            # torch.lerp does the same in one call, several times slower.
            torch.mul(before, leak, out=now).addcmul_(target, alpha)
            if inside:
                activate_(self.network.nonlinearity, now)
            if alive is not None:
                now.mul_(alive)
            before = now
