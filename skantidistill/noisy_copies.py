"""Many copies of a network, each with its own noise in the parameters, evaluated in batched products."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from skantidistill.network import ACTIVATIONS, Parameters

__all__ = ["NoisyCopies", "draw_noise"]


def draw_noise(params: Parameters, n_draws: int, generator: torch.Generator) -> Parameters:
    """Draw standard normal noise in single precision: stacks of arrays shaped as the parameters.

    A draw takes the same numbers out of the generator whether it is drawn alone or with others.
    """
    sizes = [p.numel() for p in params]
    flat = torch.empty(n_draws, sum(sizes))
    for row in flat:
        row.normal_(generator=generator)
    parts = flat.split(sizes, dim=1)
    return tuple(part.reshape(n_draws, *p.shape) for part, p in zip(parts, params, strict=True))


class NoisyCopies:
    """Networks ``w + epsilon * scale * noise``, one for every draw of the noise.

    Their first layer is that of w, plus epsilon times that of the noise: two products serve all epsilons, and
    that of the noise, which is most of the work, is in single precision whatever the others are in.

    Parameters
    ----------
    params : tuple of tensor
        The network, ``(W_1, b_1, ...)``.
    noise : tuple of tensor of shape (n_draws, ...)
        Float32, as :func:`draw_noise` gives it.
    activation : str
        Of the hidden layers.
    relative : bool
        Whether every weight matrix and bias vector has noise in proportion to its own root mean square.
    """

    def __init__(self, params: Parameters, noise: Parameters, activation: str, relative: bool) -> None:
        self.params, self.activation = params, activation
        scales = [float(p.square().mean().sqrt()) if relative else 1.0 for p in params]
        self.noise = tuple(n if s == 1.0 else n * s for n, s in zip(noise, scales, strict=True))

    def logits(self, X: np.ndarray, epsilons: Sequence[float]) -> Iterator[np.ndarray]:
        """Yield, for every epsilon, logits of shape (n_draws, n_samples, n_classes).

        X is dense or sparse, what the first layer sees; for a sparse one no dense copy is made.
        """
        weight, bias = self.params[:2]
        shift, offset = self.noise[:2]
        if issparse(X):
            clean = torch.from_numpy(X @ weight.numpy().T).to(weight.dtype) + bias
            stacked = X.astype(np.float32) @ shift.reshape(-1, shift.shape[-1]).numpy().T
            noisy = torch.from_numpy(stacked).reshape(X.shape[0], *shift.shape[:2]).transpose(0, 1)
        else:
            # A copy: torch takes no rows that are read-only or have negative strides.
            rows = torch.from_numpy(np.array(X, order="C"))
            clean = torch.addmm(bias, rows.to(weight.dtype), weight.T)
            noisy = torch.matmul(rows.float(), shift.transpose(1, 2))
        noisy = noisy.add_(offset[:, None]).to(weight.dtype)
        for epsilon in epsilons:
            yield self._behind_first_layer(torch.add(clean, noisy, alpha=epsilon), epsilon).numpy()

    def _behind_first_layer(self, z: Tensor, epsilon: float) -> Tensor:
        function = ACTIVATIONS[self.activation].function
        for layer in range(2, len(self.params), 2):
            weight, bias = (
                torch.add(self.params[k], self.noise[k].to(z.dtype), alpha=epsilon)
                for k in (layer, layer + 1)
            )
            z = torch.baddbmm(bias[:, None], function(z), weight.transpose(1, 2))
        return z
