"""Single-object tracking's correlations as written in the papers, in float64, with `torch.fft`."""

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
    """Cross-correlation of (S, G, G, C) with the middle of (G, G, C): (S, R, R) float64."""
    windowed, template = under_window(search), middle(first, inner).astype(np.float64)
    reached = search.shape[1] - inner + 1
    response = np.zeros((len(search), reached, reached))
    for v, u in np.ndindex(inner, inner):
        response += windowed[:, v : v + reached, u : u + reached] @ template[v, u]
    return response


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
        self.power = None  # of the last crop

    def learn(self, crop, rate):
        """(G, G, C) with the target in the middle; a first time forgets nothing."""
        start = self.cells // 2 - self.inner // 2
        masked = np.zeros(crop.shape)
        inside = slice(start, start + self.inner)
        masked[inside, inside] = crop[inside, inside]
        template = torch.fft.fft2(torch.from_numpy(masked).permute(2, 0, 1))
        self.power = (template.abs() ** 2).sum(0)
        alpha = self.label / (self.power + self.regularisation)
        if self.template is None:
            self.template, self.alpha = template, alpha
        else:
            self.template = (1 - rate) * self.template + rate * template
            self.alpha = (1 - rate) * self.alpha + rate * alpha

    def correlate(self, search):
        """(S, G, G, C) → (S, G, G) complex, in the Fourier domain."""
        transformed = torch.fft.fft2(torch.from_numpy(under_window(search)).permute(0, 3, 1, 2))
        return (transformed * self.template.conj()).sum(1)

    def respond(self, search):
        """(S, G, G, C) → (S, G, G) float64."""
        return torch.fft.ifft2(self.alpha * self.correlate(search)).real.numpy()
