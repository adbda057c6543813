"""Cone-beam CT of jaws: true cone beam, many energies, metal, few quanta, scatter, a head that is cut off.

A volume of materials is projected, a detector counts quanta, and the scanner reconstructs water-corrected
readings with Feldkamp's method. Volumes are (X, Y, Z), x to the patient's left, y to the back, z up; the axis
of rotation runs through their middle. Grey values are HU as a scanner calibrated with water gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbundles.errors import GridError, InputError
from medbundles.simulators import cone_rtk, cone_torch
from medbundles.simulators.cbct_detector import Detector
from medbundles.simulators.cbct_physics import beam, material_names
from medbundles.simulators.cbct_scanner import OTHER, TRAINED, Scanner
from medbundles.simulators.cbct_surroundings import Ellipsoid, Outside, head
from medbundles.simulators.cone_filter import filtered
from medbundles.simulators.cone_torch import Pose, backproject
from medbundles.simulators.fields import Draws, Grid

__all__ = ["OTHER", "TRAINED", "Ellipsoid", "Grid", "Scanner", "head", "project", "reconstruct", "scan"]

Floats = NDArray[np.float32]
Projector = Literal["torch", "rtk"]

AIR = -1000.0
NOD_DEG_PER_MM = 0.25  # how much a moving head also turns
_PROJECTORS = {"torch": cone_torch.project, "rtk": cone_rtk.project}


def scan(
    materials: Mapping[str, Floats],
    affine: NDArray,
    scanner: Scanner = TRAINED,
    *,
    seed: int,
    grid: Grid | None = None,
    device: torch.device | str = "cpu",
    projector: Projector = "torch",
) -> tuple[Floats, NDArray[np.float64]]:
    """Scans a volume; returns HU (X, Y, Z) and their affine.

    Args:
        materials: amounts (X, Y, Z) by name: "soft" as part of water, "mineral" in g/cm3 of hydroxyapatite,
            others (see `cbct_physics.material_names`) as part of the volume.
        affine: of the volume, to RAS mm; its axes run to the left, to the back and up, its voxels are cubes.
        scanner: the scanner and its protocol.
        seed: of noise, motion and rings.
        grid: points to reconstruct, in mm about the middle of the volume; as scanned if none is given.
        device: where to project and reconstruct.
        projector: "torch", or "rtk" for itk-rtk, which runs on the CPU only.

    Raises:
        InputError: an unknown material or projector, or volumes that do not fit the affine or each other.
    """
    scanned = scanned_grid(materials, affine)
    readings = project(materials, scanned, scanner, seed=seed, device=device, projector=projector)
    wanted = scanned if grid is None else grid
    middle = np.asarray(affine) @ [*((np.array(scanned.shape) - 1) / 2), 1.0]
    placed = np.diag([-wanted.spacing, -wanted.spacing, wanted.spacing, 1.0])
    placed[:3, 3] = middle[:3] + np.array(wanted.start) * (-1, -1, 1)
    return reconstruct(readings, wanted, scanner).cpu().numpy(), placed


def scanned_grid(materials: Mapping[str, Floats], affine: NDArray) -> Grid:
    """Returns the grid of a volume about its middle, after checking materials and affine."""
    unknown = sorted(set(materials) - set(material_names()))
    if unknown or not materials:
        raise InputError(
            f"the material '{unknown[0]}'" if unknown else "no material",
            expected=f"some of {', '.join(material_names())}",
            advice="correct the names of the materials",
        )
    shapes = {np.shape(amount) for amount in materials.values()}
    affine = np.asarray(affine, dtype=float)
    spacing = float(affine[2, 2])
    straight = np.allclose(affine[:3, :3], np.diag([-spacing, -spacing, spacing]), atol=1e-4 * abs(spacing))
    if len(shapes) != 1 or len(min(shapes)) != 3 or not straight or spacing <= 0:
        raise GridError(
            f"volumes of shape {', '.join(map(str, sorted(shapes)))} with the axes {affine[:3, :3].tolist()}",
            expected="equal 3D shapes, axes to the left, to the back and up, cubic voxels",
            advice="resample the volumes onto such a grid first",
        )
    (shape,) = shapes
    return Grid(shape, spacing, tuple(-spacing * (n - 1) / 2 for n in shape))


def project(
    materials: Mapping[str, Floats],
    grid: Grid,
    scanner: Scanner,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    projector: Projector = "torch",
) -> Tensor:
    """Returns what the scanner reads, as lengths of water in mm (view, rows, columns)."""
    if projector not in _PROJECTORS:
        raise InputError(f"the projector '{projector}'", expected=f"one of {', '.join(_PROJECTORS)}")
    names = tuple(dict.fromkeys([*materials, *(part.material for part in scanner.surroundings)]))
    basis, parts = beam(scanner.kvp, scanner.aluminium_mm, scanner.copper_mm).mixtures(names)
    volume = _mixed(materials, dict(zip(names, parts, strict=True)), device)
    outside = _outside(materials, grid, scanner)
    detector = Detector(scanner, basis, seed)
    poses = list(_poses(scanner, seed))
    readings = torch.empty(scanner.views, scanner.rows, scanner.columns)
    for index, view in enumerate(_PROJECTORS[projector](volume, grid, scanner, poses)):
        lengths = np.maximum(view.cpu().numpy(), 0)
        for material, length in _outside_lengths(outside, scanner, poses[index]):
            lengths[basis.index(material)] += length
        readings[index] = torch.from_numpy(detector.read(lengths))
    return readings.to(device)


def reconstruct(readings: Tensor, grid: Grid, scanner: Scanner) -> Tensor:
    """Returns HU (X, Y, Z) from lengths of water in mm (view, rows, columns); air outside the field."""
    hu = 1000 * (backproject(filtered(readings, scanner), grid, scanner) - 1)
    x, y, _ = grid.axes(readings.device)
    hu[torch.hypot(x[:, None], y) > scanner.field_mm] = AIR
    return hu


def _mixed(
    materials: Mapping[str, Floats], parts: Mapping[str, NDArray], device: torch.device | str
) -> Tensor:
    """Amounts (basis material, X, Y, Z)."""
    shape = np.shape(next(iter(materials.values())))
    volume = torch.zeros(len(next(iter(parts.values()))), *shape, device=device)
    for name, amount in materials.items():
        values = torch.as_tensor(np.asarray(amount, dtype=np.float32), device=device)
        for index in np.flatnonzero(parts[name]):
            volume[index].add_(values, alpha=float(parts[name][index]))
    return volume


def _poses(scanner: Scanner, seed: int) -> Iterator[Pose]:
    """Angle of the source in the head's own frame and shift of the head, for each view."""
    draws = Draws(seed, "motion")
    time = np.linspace(0, 1, scanner.views)
    # Two slow waves each to the left, to the back and up: breathing, and sinking into the chin rest.
    waves = [(draws.uniform(0.3, 3.0), draws.uniform(0, 2 * math.pi)) for _ in range(6)]
    sway = np.array([np.sin(2 * math.pi * turns * time + phase) for turns, phase in waves])
    shift = scanner.motion_mm * (sway[:3] + 0.5 * sway[3:]).T
    turned = np.deg2rad(NOD_DEG_PER_MM) * shift[:, 0]
    for angle, turn, moved in zip(scanner.angles, turned, shift, strict=True):
        yield float(angle - turn), tuple(float(value) for value in moved)


def _outside(materials: Mapping[str, Floats], grid: Grid, scanner: Scanner) -> Outside:
    """The head around the volume; none before its front face if that shows air between the cheeks."""
    low = tuple(start - grid.spacing / 2 for start in grid.start)
    high = tuple(a + grid.spacing * n for a, n in zip(low, grid.shape, strict=True))
    third = grid.shape[0] // 3
    face = sum(np.mean(amount[third : grid.shape[0] - third, 0]) for amount in materials.values())
    return Outside(low, high, scanner.surroundings, low[1] if face < 0.5 else -math.inf)


def _outside_lengths(outside: Outside, scanner: Scanner, pose: Pose) -> Iterator[tuple[str, Floats]]:
    if not outside.parts:
        return
    angle, shift = pose
    cos, sin = math.cos(angle), math.sin(angle)
    # From the source to the elements, in the frame of the head.
    rays = np.empty((scanner.rows, scanner.columns, 3))
    rays[..., 0] = scanner.source_detector_mm * cos - scanner.u * sin
    rays[..., 1] = scanner.source_detector_mm * sin + scanner.u * cos
    rays[..., 2] = scanner.v[:, None]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    source = -scanner.source_axis_mm * np.array([cos, sin, 0.0]) - np.array(shift)
    yield from outside.lengths(source, rays)
