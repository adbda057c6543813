"""Algebra of conics Ax^2 + Bxy + Cy^2 + Dx + Ey + F = 0, kept as arrays (A, B, C, D, E, F) or batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def fit_conics(points: Points, weights: Points) -> Points:
    """Returns the best ellipse conics (batch, 6) of points (batch, n, 2); NaN where there is none."""
    x, y = points[..., 0], points[..., 1]
    quadratic = np.stack([x * x, x * y, y * y], axis=-1)
    linear = np.stack([x, y, np.ones_like(x)], axis=-1)
    weighted = linear * weights[..., None]
    s1 = np.swapaxes(quadratic * weights[..., None], 1, 2) @ quadratic
    s2 = np.swapaxes(quadratic, 1, 2) @ weighted
    s3 = np.swapaxes(linear, 1, 2) @ weighted
    t = -np.linalg.pinv(s3, hermitian=True) @ np.swapaxes(s2, 1, 2)
    m = s1 + s2 @ t
    # Inverse of the constraint matrix of 4AC - B^2 = 1, written out.
    reduced = np.stack([m[:, 2] / 2, -m[:, 1], m[:, 0] / 2], axis=1)
    vectors = np.real(np.linalg.eig(reduced)[1])
    condition = 4 * vectors[:, 0] * vectors[:, 2] - vectors[:, 1] ** 2
    best = np.argmax(condition, axis=1)
    rows = np.arange(len(points))
    first = vectors[rows, :, best]
    conic = np.concatenate([first, (t @ first[..., None])[..., 0]], axis=1)
    conic[condition[rows, best] <= 1e-12] = np.nan
    return conic * np.where(conic[:, :1] < 0, -1.0, 1.0)


def sampson(conics: Points, points: Points) -> Points:
    """Returns signed first-order distances (batch, n) of points (n, 2) to conics (batch, 6)."""
    x, y = points[..., 0], points[..., 1]
    a, b, c, d, e, f = (conics[:, i : i + 1] for i in range(6))
    value = a * x * x + b * x * y + c * y * y + d * x + e * y + f
    return value / np.maximum(gradient(conics, points), 1e-12)


def gradient(conics: Points, points: Points) -> Points:
    x, y = points[..., 0], points[..., 1]
    a, b, c, d, e, _ = (conics[:, i : i + 1] for i in range(6))
    return np.hypot(2 * a * x + b * y + d, b * x + 2 * c * y + e)


def axis_ratio(conics: Points) -> Points:
    """Returns short axis / long axis of each conic; 0 where it is no real ellipse."""
    a, b, c = conics[:, 0], conics[:, 1], conics[:, 2]
    spread = np.hypot(a - c, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt((a + c - spread) / (a + c + spread))
    return np.nan_to_num(ratio, nan=0.0)


def discriminant(first: Points, second: Points) -> float:
    """Returns the bilinear form of 4AC - B^2, positive for ellipses."""
    return float(2 * (first[0] * second[2] + second[0] * first[2]) - first[1] * second[1])


def roundest(first: Points, second: Points) -> Points:
    """Returns the mix of two conics with the largest (4AC - B^2) / (A + C)^2, which grows with b / a.

    On mixes with A + C = 1 the quotient is a parabola that opens downwards; its top is in closed form.
    """
    traces = np.array([first[0] + first[2], second[0] + second[2]])
    conics = np.stack([first, second])
    base = traces @ conics / max(float(traces @ traces), 1e-12)
    along = np.array([traces[1], -traces[0]]) @ conics
    curvature = discriminant(along, along)
    return base - along * (discriminant(base, along) / curvature if curvature < -1e-12 else 0.0)


def line(a: Points, b: Points) -> Points:
    """Returns (u, v, w) of the line ux + vy + w = 0 through two points."""
    return np.array([a[1] - b[1], b[0] - a[0], a[0] * b[1] - a[1] * b[0]])


def line_pair(first: Points, second: Points) -> Points:
    """Returns the conic made of two lines."""
    product = np.outer(first, second)
    product = product + product.T
    return np.array(
        [product[0, 0] / 2, product[0, 1], product[1, 1] / 2, product[0, 2], product[1, 2], product[2, 2] / 2]
    )
