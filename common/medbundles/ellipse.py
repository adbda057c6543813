"""Ellipses in the plane: the shape, its perimeter, its mask, and how to fit one to points.

Coordinates are (x, y) with the first array axis as x; pixel centres lie at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.conics import (
    Points,
    axis_ratio,
    discriminant,
    fit_conics,
    gradient,
    line,
    line_pair,
    roundest,
    sampson,
)


class EllipseFitError(ValueError):
    """The points do not determine an ellipse; the message says why."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse by centre, semi-axes and the angle of its long axis.

    Args:
        centre: (x, y).
        axes: the semi-axes; they are ordered so that the first is the longer.
        angle: radians from +x towards +y, of the longer axis; kept within [0, pi).
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float = 0.0

    def __post_init__(self) -> None:
        a, b = (float(v) for v in self.axes)
        values = (*self.centre, a, b, self.angle)
        if not np.all(np.isfinite(values)) or min(a, b) <= 0:
            raise ValueError(f"An ellipse needs finite values and positive semi-axes, got {values}.")
        angle = float(self.angle) + (np.pi / 2 if b > a else 0.0)
        object.__setattr__(self, "centre", (float(self.centre[0]), float(self.centre[1])))
        object.__setattr__(self, "axes", (max(a, b), min(a, b)))
        object.__setattr__(self, "angle", float(angle % np.pi))

    def circumference(self) -> float:
        """Returns the perimeter by Ramanujan's second formula (error below 1e-4 even for a flat ellipse)."""
        a, b = self.axes
        h = ((a - b) / (a + b)) ** 2
        return float(np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))

    def area(self) -> float:
        """Returns the enclosed area."""
        return float(np.pi * self.axes[0] * self.axes[1])

    def points(self, n: int = 128) -> Points:
        """Returns n points (n, 2) on the curve, evenly spaced in the parameter."""
        t = np.linspace(0, 2 * np.pi, n, endpoint=False)
        return np.asarray(self.centre) + np.stack([np.cos(t), np.sin(t)], axis=1) @ self._matrix().T

    def endpoints(self) -> tuple[Points, Points]:
        """Returns the two end points (2, 2) of the long and of the short axis."""
        centre, matrix = np.asarray(self.centre), self._matrix()
        long, short = (np.stack([centre - matrix[:, i], centre + matrix[:, i]]) for i in (0, 1))
        return long, short

    def radius(self, points: ArrayLike) -> Points:
        """Returns the elliptic radius of each point: 1 on the curve, below 1 inside."""
        offset = np.asarray(points, dtype=float) - np.asarray(self.centre)
        return np.linalg.norm(offset @ np.linalg.inv(self._matrix()).T, axis=-1)

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Returns which points lie inside or on the curve."""
        return self.radius(points) <= 1.0

    def distance(self, points: ArrayLike) -> Points:
        """Returns the first-order (Sampson) distance of each point to the curve, accurate near it."""
        return np.abs(sampson(self.conic()[None], np.asarray(points, dtype=float))[0])

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Returns a boolean array of `shape` (x, y): pixels whose centre lies inside."""
        x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
        return self.contains(np.stack([x, y], axis=-1))

    def transformed(self, matrix: ArrayLike, offset: ArrayLike = (0.0, 0.0)) -> Ellipse:
        """Returns the exact image of the ellipse under x -> matrix @ x + offset (matrix is 2 x 2)."""
        linear = np.asarray(matrix, dtype=float)
        centre = linear @ np.asarray(self.centre) + np.asarray(offset, dtype=float)
        return _from_frame(centre, linear @ self._matrix())

    def scaled(self, spacing: float | ArrayLike) -> Ellipse:
        """Returns the ellipse in millimetres when `spacing` is the pixel size, alike or not along x and y."""
        return self.transformed(np.diag(np.broadcast_to(np.asarray(spacing, dtype=float), (2,))))

    def conic(self) -> Points:
        """Returns (A, B, C, D, E, F) of Ax^2+Bxy+Cy^2+Dx+Ey+F = 0, negative inside."""
        inverse = np.linalg.inv(self._matrix())
        q = inverse.T @ inverse
        c = np.asarray(self.centre)
        linear = -2 * q @ c
        return np.array([q[0, 0], 2 * q[0, 1], q[1, 1], linear[0], linear[1], c @ q @ c - 1])

    def _matrix(self) -> Points:
        """Returns the 2 x 2 matrix that takes the unit circle to this ellipse about the origin."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]]) * np.asarray(self.axes)


def ellipse_from_diameters(p1: ArrayLike, p2: ArrayLike, q1: ArrayLike, q2: ArrayLike) -> Ellipse:
    """Returns the roundest ellipse through the four end points of two crossing diameters p1-p2 and q1-q2.

    Four points leave one degree of freedom, and clicked diameters are rarely perpendicular or bisect each
    other. On 259 real abdomens the roundest ellipse lies on the skin line better than taking the diameters as
    conjugate, or as axes turned to their mean direction: both leave the clicked points or cut across the
    abdomen, the more so the further the angle is from 90 degrees.
    """
    ends = np.asarray([p1, q1, p2, q2], dtype=float)
    shift, scale = _normalisation(ends)
    corners = (ends - shift) / scale
    sides = [line(corners[i], corners[(i + 1) % 4]) for i in range(4)]
    # Every conic through the points is a mix of the two pairs of opposite sides.
    first, second = line_pair(sides[0], sides[2]), line_pair(sides[1], sides[3])
    conic = roundest(first, second)
    if discriminant(conic, conic) <= 1e-9 or not _cross(ends):
        raise EllipseFitError("The two diameters do not cross, or three of their end points lie on a line.")
    return _from_conic(conic).transformed(np.eye(2) * scale, shift)


def ellipse_from_moments(mask: ArrayLike) -> Ellipse:
    """Returns the ellipse with the same centroid and second moments as a filled (x, y) mask or weight map."""
    weights = np.asarray(mask, dtype=float)
    index = np.argwhere(weights > 0).astype(float)
    if len(index) < 3:
        raise EllipseFitError(f"The mask has {len(index)} pixels; an ellipse needs at least 3.")
    w = weights[weights > 0]
    centre = np.average(index, axis=0, weights=w)
    # A pixel is a unit square, not a point: it adds 1/12 to the variance along each axis.
    covariance = np.cov(index.T, aweights=w, bias=True) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(covariance)
    return _from_frame(centre, vectors * (2 * np.sqrt(values)))


def fit_ellipse(points: ArrayLike, weights: ArrayLike | None = None) -> Ellipse:
    """Fits an ellipse by direct least squares, numerically stable form (Halir and Flusser 1998).

    Args:
        points: (n, 2), n >= 5, in any order.
        weights: (n,) non-negative weights of the squared algebraic residuals.
    """
    points = _check_points(points)
    shift, scale = _normalisation(points)
    w = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=float)
    conic = fit_conics(((points - shift) / scale)[None], w[None])[0]
    return _from_conic(conic).transformed(np.eye(2) * scale, shift)


def fit_ellipse_robust(
    points: ArrayLike,
    *,
    threshold: float | None = None,
    iterations: int = 300,
    seed: int = 0,
    min_axis_ratio: float = 0.3,
) -> tuple[Ellipse, NDArray[np.bool_]]:
    """Fits an ellipse that outliers do not pull: random samples of five, then reweighted direct fits.

    Args:
        points: (n, 2), n >= 5, in any order.
        threshold: distance to the curve up to which a point counts; None takes 3 % of the points' extent.
        iterations: number of random samples of five points.
        seed: of the sampling; the same points and seed give the same ellipse.
        min_axis_ratio: samples whose ellipse is flatter than this are thrown away.

    Returns:
        the ellipse and the mask (n,) of the points within the threshold.
    """
    points = _check_points(points)
    shift, scale = _normalisation(points)
    unit = (points - shift) / scale
    limit = 0.05 if threshold is None else threshold / scale
    conic = _best_sample(unit, limit, iterations, np.random.default_rng(seed), min_axis_ratio)
    conic = _reweighted(unit, conic, limit)
    inliers = np.abs(sampson(conic[None], unit)[0]) <= limit
    return _from_conic(conic).transformed(np.eye(2) * scale, shift), inliers


def _check_points(points: ArrayLike) -> Points:
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    array_ok = array[np.all(np.isfinite(array), axis=1)]
    if len(array_ok) < len(array):
        raise EllipseFitError("Some of the points are not finite.")
    if len(array) < 5:
        raise EllipseFitError(f"An ellipse needs at least 5 points, got {len(array)}.")
    return array


def _normalisation(points: Points) -> tuple[Points, float]:
    """Returns shift and scale that put the points around the unit circle; scatter matrices then behave."""
    shift = points.mean(axis=0)
    scale = float(np.sqrt(((points - shift) ** 2).sum(axis=1).mean()))
    if scale <= 0:
        raise EllipseFitError("All points coincide.")
    return shift, scale


def _from_frame(centre: ArrayLike, frame: Points) -> Ellipse:
    """Returns the ellipse centre + frame @ unit circle; the columns are any pair of conjugate radii."""
    u, s, _ = np.linalg.svd(frame)
    centre = np.asarray(centre, dtype=float)
    return Ellipse((centre[0], centre[1]), (s[0], s[1]), float(np.arctan2(u[1, 0], u[0, 0])))


def _from_conic(conic: Points) -> Ellipse:
    a, b, c, d, e, f = conic
    quadratic = np.array([[a, b / 2], [b / 2, c]])
    if not np.all(np.isfinite(conic)) or np.linalg.det(quadratic) <= 0:
        raise EllipseFitError(
            "The points lie on no ellipse (they are collinear, or on a parabola or hyperbola)."
        )
    centre = np.linalg.solve(quadratic, [-d / 2, -e / 2])
    level = centre @ quadratic @ centre - f
    values, vectors = np.linalg.eigh(quadratic)
    if np.any(level / values <= 0):
        raise EllipseFitError("The best conic is imaginary.")
    return _from_frame(centre, vectors * np.sqrt(level / values))


def _best_sample(
    points: Points, limit: float, iterations: int, rng: np.random.Generator, min_ratio: float
) -> Points:
    """Returns the conic of five points with the lowest truncated residual over all points."""
    samples = points[np.argsort(rng.random((iterations, len(points))), axis=1)[:, :5]]
    conics = np.concatenate([fit_conics(samples, np.ones(samples.shape[:2])), _fit_all(points)])
    conics = conics[axis_ratio(conics) >= min_ratio]
    if not len(conics):
        raise EllipseFitError("No five of the points lie on an ellipse of plausible shape.")
    cost = np.minimum(sampson(conics, points) ** 2, limit**2).mean(axis=1)
    return conics[np.argmin(cost)]


def _fit_all(points: Points) -> Points:
    return fit_conics(points[None], np.ones((1, len(points))))


def _reweighted(points: Points, conic: Points, limit: float, rounds: int = 10) -> Points:
    """Returns the conic after Tukey-weighted direct fits.

    Dividing by the squared gradient turns the algebraic residual into a geometric one, which takes away
    the direct fit's known bias towards small ellipses.
    """
    for _ in range(rounds):
        distance = sampson(conic[None], points)[0]
        tukey = np.clip(1 - (distance / (2 * limit)) ** 2, 0, None) ** 2
        slope = np.maximum(gradient(conic[None], points)[0], 1e-6)
        if np.count_nonzero(tukey) < 5:
            break
        updated = fit_conics(points[None], (tukey / slope**2)[None])[0]
        if not np.all(np.isfinite(updated)):
            break
        conic = updated
    return conic


def _cross(ends: Points) -> bool:
    """Returns whether the four points, in order, are the corners of a convex quadrilateral."""
    side = np.roll(ends, -1, axis=0) - ends
    turn = side[:, 0] * np.roll(side[:, 1], -1) - side[:, 1] * np.roll(side[:, 0], -1)
    return bool(np.all(turn > 0) or np.all(turn < 0))
