"""The leaky RNN (section 2): recurrent weights without self-connections, and one tau for each neuron."""

import copy
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from tsrnn.config import FixedTau, Leaky, Library, Network, TrainedTau
from tsrnn.networks import _compiled, _losses, _readout, recurrence
from tsrnn.networks._passage import Sequences
from tsrnn.networks._torch import slope_into
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT, NetworkState, Population, Stack, uniform
from tsrnn.networks.choice import Plan
from tsrnn.networks.planning import plan_for
from tsrnn.networks.workspace import Workspace

WEIGHT = "recurrent.weight"
BIAS = "recurrent.bias"
INPUT_WEIGHT = "input.weight"
INPUT_BIAS = "input.bias"
TAU = "tau"

# The most rounding errors of a state that one step adds to it.
_ROUNDING: Final = 8


class LeakyPopulation(Population):
    """R leaky RNNs: h(t) = phi((1 - alpha) h(t-1) + alpha (W h(t-1) + b + u x(t) + c)), alpha = 1 / tau.

    Parameters: W "recurrent.weight" [R, H, H], b "recurrent.bias", u "input.weight", c "input.bias" and "tau", each
    [R, H]. tau is in units of time, which are time steps except with dt = 1/k. Two invariants hold for what is stored:
    the diagonal of W is zero, and tau >= `tau.least` (unless the config asks for the authors' "clamp_forward").
    """

    network: Leaky

    _dt: Tensor | float = 1.0

    def with_steps(self, dt: Sequence[float]) -> Self:
        """Return the same networks, sharing their tensors, in time steps of dt [R]: alpha = dt / tau.

        Raises:
            ValueError: if one is not 1 where the self-interaction is inside, which has no continuous time.
        """
        if all(step == 1 for step in dt):
            return self
        if self.network.self_interaction == "inside":
            return super().with_steps(dt)
        same = copy.copy(self)
        same._dt = torch.tensor(dt, dtype=self.dtype, device=self.device)[:, None]
        return same

    def only(self, r: int) -> Self:
        """Return the network at one place as a population of one; see `Population.only`."""
        one = super().only(r)
        one._workspace = self._workspace
        if isinstance(self._dt, Tensor):
            one._dt = self._dt[r : r + 1]
        return one

    @cached_property
    def _workspace(self) -> Workspace[Any]:
        return Workspace()

    @staticmethod
    def shapes(network: Network) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of one network but the heads'."""
        h = network.hidden
        return {WEIGHT: (h, h), BIAS: (h,), INPUT_WEIGHT: (h,), INPUT_BIAS: (h,), TAU: (h,)}

    @staticmethod
    def initial_state_of(network: Network, seed: int) -> NetworkState:
        """Return a new network without heads: U(-k, k), k = 1/sqrt(fan in); tau as configured."""
        state: NetworkState = {}
        for name, shape in LeakyPopulation.shapes(network).items():
            if name == TAU:
                continue
            fan_in = network.hidden if name in (WEIGHT, BIAS) else 1
            state[name] = uniform(fan_in**-0.5, shape, seed, "init", name)
        state[WEIGHT].fill_diagonal_(0.0)
        match network:
            case Leaky(tau=FixedTau(tau=tau)):
                state[TAU] = torch.full((network.hidden,), tau)
            case Leaky(tau=TrainedTau(low=low, high=high)):
                state[TAU] = (low + high) / 2 + uniform((high - low) / 2, (network.hidden,), seed, "init", TAU)
        return state

    @property
    def state_size(self) -> int:
        """H: the state of a leaky network consists of its activities."""
        return self.network.hidden

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes; tau is one of them only if it is trained."""
        names = (WEIGHT, BIAS, INPUT_WEIGHT, INPUT_BIAS, READOUT_WEIGHT, READOUT_BIAS)
        return (*names, TAU) if isinstance(self.network.tau, TrainedTau) else names

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        return recurrence.last_states(
            **self._dynamics(), inputs=inputs.to(self.dtype), initial=initial, lengths=lengths
        )

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        return recurrence.all_states(**self._dynamics(), inputs=inputs.to(self.dtype), initial=initial)

    def logits(self, state: Tensor) -> Tensor:
        """Read out every head, in compiled code if the recurrence is compiled; see `Population.logits`."""
        if self._compiled_plan is None or state.dtype != self.dtype:
            return super().logits(state)
        weight, bias = self.parameters[READOUT_WEIGHT], self.parameters[READOUT_BIAS]
        return _readout.read(state, weight, bias, [len(own) * bias.shape[2] for own in self.heads])

    def cross_entropy_with_gradient(
        self,
        inputs: Tensor,
        lengths: Sequence[int],
        initial: Tensor,
        readout_steps: Sequence[int],
        targets: Tensor,
        share: Tensor,
        names: Collection[str],
    ) -> tuple[Tensor, Stack] | None:
        """Return losses and gradients if the recurrence is compiled; see `Population.cross_entropy_with_gradient`."""
        plan = self._compiled_plan
        if plan is None:
            return None
        dynamics = self._dynamics()
        sequences = Sequences(inputs.to(self.dtype), initial, tuple(lengths), every=False)
        form, own = recurrence.form(dynamics, plan, gradient=True), recurrence.parameters(dynamics)
        if not _losses.fit(form, sequences):
            return None
        heads = [len(ns) for ns in self.heads]
        questions = _losses.Questions(
            self.parameters[READOUT_WEIGHT], self.parameters[READOUT_BIAS], heads, readout_steps, targets, share
        )
        losses, found, weight, bias = _losses.cross_entropy(form, sequences, own, questions, self._workspace)
        of = {WEIGHT: found.weight, BIAS: found.bias, INPUT_WEIGHT: found.input_weight, INPUT_BIAS: found.bias}
        of |= {READOUT_WEIGHT: weight, READOUT_BIAS: bias}
        if TAU in names:
            of[TAU] = self._tau_gradient(dynamics["alpha"], found.alpha)
        return losses, {name: of[name] for name in names}

    def _tau_gradient(self, alpha: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient at tau from that at alpha = dt / tau; there is none where the least tau is in effect."""
        tau, trained = self.parameters[TAU], self.network.tau
        slope = alpha / tau if isinstance(self._dt, Tensor) else alpha * alpha
        found = -grad * slope
        if isinstance(trained, TrainedTau) and trained.constraint == "clamp_forward":
            return found.masked_fill_(tau < trained.least, 0.0)
        return found

    @property
    def _compiled_plan(self) -> Plan | None:
        """The plan, if the recurrence is compiled."""
        return self.plan if self.plan is not None and self.plan.library in _compiled.LIBRARIES else None

    def plan_for(self, batch: int, library: Library | None = None) -> Plan:
        """Measure the fastest way to compute the products of training; see `Population.plan_for`."""
        return plan_for(
            self.replicates,
            batch,
            self.network.hidden,
            dtype=self.dtype,
            device=self.device,
            products=self.products,
            self_interaction=self.network.self_interaction,
            gradient=True,
            library=library,
            nonlinearity=self.network.nonlinearity,
        )

    def _dynamics(self) -> recurrence.Dynamics:
        """Return what the recurrence needs: alpha from the tau in effect, and the two biases' sum."""
        parameters = self.parameters
        return {
            "weight": parameters[WEIGHT],
            "alpha": self._dt / self.tau_in_effect(),
            "input_weight": parameters[INPUT_WEIGHT],
            "bias": parameters[BIAS] + parameters[INPUT_BIAS],
            "nonlinearity": self.network.nonlinearity,
            "self_interaction": self.network.self_interaction,
            "products": self.products,
            "plan": self.plan,
            "workspace": self._workspace,
        }

    def tau_in_effect(self) -> Tensor:
        """Return the taus that the recurrence uses, [R, H] in units of time.

        They are not below the least allowed value, also if the parameters are, as in the authors' networks.
        """
        tau, rule = self.parameters[TAU], self.network.tau
        return tau.clamp(min=rule.least) if isinstance(rule, TrainedTau) and rule.constraint == "clamp_forward" else tau

    def slopes(self, before: Tensor, after: Tensor) -> Tensor:
        """Return phi'(z) of the steps that lead from some states to others, [..., R, B, H].

        With self-interaction outside, phi(z) is what the step added to the decay of the state. A sum that differs from
        the decayed state by rounding only is taken as phi(z) = 0, which a ReLU has for all z < 0.

        Args:
            before: [..., R, B, H].
            after: [..., R, B, H] one time step later.
        """
        activity = after
        if self.network.self_interaction == "outside":
            alpha = self._dynamics()["alpha"][:, None]
            added = after - (1 - alpha) * before
            rounding = _ROUNDING * torch.finfo(before.dtype).eps * before.abs()
            activity = torch.where(added.abs() <= rounding, 0, added) / alpha
        result = torch.empty_like(activity)
        slope_into(self.network.nonlinearity, torch.ones_like(activity), activity.contiguous(), result)
        return result

    def tangent(self, slopes: Tensor, directions: Tensor) -> Tensor:
        """Multiply small changes of the state by the Jacobian dh(t) / dh(t-1).

        With self-interaction inside the nonlinearity the Jacobian is D ((1 - alpha) + alpha W), outside it is
        (1 - alpha) + alpha D W, where D is the diagonal of phi'(z).

        Args:
            slopes: phi'(z), [R, H].
            directions: [R, H, K] changes of the state before the step; the identity gives the Jacobian itself.

        Returns:
            [R, H, K] the changes after it.
        """
        alpha = self._dynamics()["alpha"].to(directions.dtype)[..., None]
        products = alpha * (self.parameters[WEIGHT].to(directions.dtype) @ directions)
        slopes = slopes.to(directions.dtype)[..., None]
        if self.network.self_interaction == "inside":
            return slopes * ((1 - alpha) * directions + products)
        return (1 - alpha) * directions + slopes * products

    def cotangent(self, slopes: Tensor, gradients: Tensor) -> Tensor:
        """Multiply gradients by the transposed Jacobian (dh(t) / dh(t-1))': go back by one time step.

        Args:
            slopes: phi'(z) of each sequence's own step, [R, B, H].
            gradients: [R, B, H] of something by the states after the step.

        Returns:
            [R, B, H] its gradients by the states before the step.
        """
        alpha = self._dynamics()["alpha"].to(gradients.dtype)[:, None]
        through = slopes.to(gradients.dtype) * gradients
        back = (alpha * through) @ self.parameters[WEIGHT].to(gradients.dtype)
        return (1 - alpha) * (through if self.network.self_interaction == "inside" else gradients) + back

    def input_gain(self, slopes: Tensor) -> Tensor:
        """Return how the states change with the input of the same step, [R, H]: alpha phi'(z) u.

        Args:
            slopes: phi'(z), [R, H].
        """
        return self._dynamics()["alpha"] * slopes * self.parameters[INPUT_WEIGHT]

    def remove_untrained_gradients_(self, gradients: Stack) -> None:
        """Zero the gradient of the diagonal of W, where W has one: there are no self-connections."""
        if WEIGHT in gradients:
            gradients[WEIGHT].diagonal(dim1=1, dim2=2).zero_()

    def project_(self) -> None:
        """Set the diagonal of W to zero, and every tau below the least allowed value to that value."""
        self.parameters[WEIGHT].diagonal(dim1=1, dim2=2).zero_()
        if isinstance(self.network.tau, TrainedTau) and self.network.tau.constraint == "project":
            self.parameters[TAU].clamp_(min=self.network.tau.least)

    def tau(self) -> np.ndarray:
        """Return the neurons' tau in effect in units of time, [R, H] float64."""
        return self.tau_in_effect().detach().double().cpu().numpy()
