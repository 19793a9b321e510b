"""Single-object tracking's correlations as written in the papers: `conv2d` and `torch.fft`."""

from __future__ import annotations

import numpy as np
import torch


def middle(features, inner):
    """(G, G, C) → (inner, inner, C): `inner // 2` cells each side of the middle cell's corner."""
    start = features.shape[0] // 2 - inner // 2
    return features[start : start + inner, start : start + inner]


def under_window(features):
    """(S, G, G, C) float64 times a Hann window."""
    line = np.hanning(features.shape[1])
    return features.astype(np.float64) * np.outer(line, line)[None, :, :, None]


def xcorr(search, first, inner):
    """Cross-correlation of (S, G, G, C) with the middle of (G, G, C): (S, R, R) float32."""
    # PyTorch takes seconds for this in float64.
    windowed = torch.from_numpy(under_window(search).astype(np.float32)).permute(0, 3, 1, 2)
    template = torch.from_numpy(middle(first, inner)).permute(2, 0, 1)
    return torch.nn.functional.conv2d(windowed, template[None])[:, 0].numpy()


def gaussian(cells, sigma):
    """(G, G) float64: 1 at the origin, wrapping around."""
    response = np.zeros((cells, cells))
    for y in range(cells):
        for x in range(cells):
            away = min(y, cells - y) ** 2 + min(x, cells - x) ** 2
            response[y, x] = np.exp(-away / (2 * sigma**2))
    return response


class Filter:
    """DCF with its model and its numerator averaged in the Fourier domain, all channels of it."""

    def __init__(self, cells, inner, sigma, regularisation):
        self.cells, self.inner = cells, inner
        self.label = torch.fft.fft2(torch.from_numpy(gaussian(cells, sigma)))
        self.regularisation = regularisation
        self.template = None
        self.alpha = None

    def learn(self, crop, rate):
        """(G, G, C) with the target in the middle; a first time forgets nothing."""
        start = self.cells // 2 - self.inner // 2
        masked = np.zeros(crop.shape)
        inside = slice(start, start + self.inner)
        masked[inside, inside] = crop[inside, inside]
        template = torch.fft.fft2(torch.from_numpy(masked).permute(2, 0, 1))
        alpha = self.label / ((template.abs() ** 2).sum(0) + self.regularisation)
        if self.template is None:
            self.template, self.alpha = template, alpha
        else:
            self.template = (1 - rate) * self.template + rate * template
            self.alpha = (1 - rate) * self.alpha + rate * alpha

    def respond(self, search):
        """(S, G, G, C) → (S, G, G) float64."""
        transformed = torch.fft.fft2(torch.from_numpy(under_window(search)).permute(0, 3, 1, 2))
        product = self.alpha * (transformed * self.template.conj()).sum(1)
        return torch.fft.ifft2(product).real.numpy()
