"""3D Slicer's core without its windows: opens files as Slicer's own dialogs do, says and draws what it shows.

python tests/clients/slicer_scene.py RESULT.seg.nrrd PICTURE.png [azimuth elevation note]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BACKGROUND = (0.96, 0.96, 0.94)
SIZE = (1000, 700)


@dataclass(frozen=True)
class Shown:
    """A segment as Slicer knows it.

    Attributes:
        name: in the list of segments.
        colour: red, green and blue, 0 to 1.
        entry: its terminology, as text.
        voxels: how many it has.
        volume: in mm3.
        centre: in mm, RAS; nothing if it has no voxels.
    """

    name: str
    colour: tuple[float, float, float]
    entry: str
    voxels: int
    volume: float
    centre: np.ndarray | None


class Scene:
    """A scene of Slicer's with the logic of its segmentations."""

    def __init__(self) -> None:
        import slicer

        self._slicer = slicer
        self.scene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerSegmentationsModuleLogic()
        self._logic.SetMRMLScene(self.scene)

    def segmentation(self, path: Path) -> Any:
        """Opens a file as Add data does with the description Segmentation."""
        storage = self._slicer.vtkMRMLSegmentationStorageNode()
        return self._opened("vtkMRMLSegmentationNode", storage, [path])

    def volume(self, *paths: Path) -> Any:
        """Opens a file, or the slices of a DICOM series, as a volume."""
        storage = self._slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetCenterImage(0)
        return self._opened("vtkMRMLScalarVolumeNode", storage, paths)

    def _opened(self, kind: str, storage: Any, paths: Sequence[Path]) -> Any:
        node = self.scene.AddNewNodeByClass(kind)
        self.scene.AddNode(storage)
        storage.SetFileName(str(paths[0]))
        for path in paths if len(paths) > 1 else ():
            storage.AddFileName(str(path))
        assert storage.ReadData(node), f"Slicer cannot read {paths[0].name}"
        return node

    def segments(self, node: Any) -> list[Shown]:
        """Returns what Slicer lists for a segmentation, in its order."""
        listed = node.GetSegmentation()
        return [self._shown(node, listed.GetNthSegmentID(i)) for i in range(listed.GetNumberOfSegments())]

    def _shown(self, node: Any, identifier: str) -> Shown:
        import vtk

        segment = node.GetSegmentation().GetSegment(identifier)
        image, matrix, entry = self._slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4(), vtk.reference("")
        node.GetBinaryLabelmapRepresentation(identifier, image)
        image.GetImageToWorldMatrix(matrix)
        segment.GetTag("TerminologyEntry", entry)
        to_ras, first = array_of(matrix), image.GetExtent()[::2]
        places = np.argwhere(values_of(image) > 0)
        centre = to_ras[:3, :3] @ (places.mean(0) + first) + to_ras[:3, 3] if len(places) else None
        volume = len(places) * abs(np.linalg.det(to_ras[:3, :3]))
        return Shown(segment.GetName(), segment.GetColor(), str(entry), len(places), volume, centre)

    def brightest(self, node: Any) -> np.ndarray:
        """Returns the middle, RAS, of the voxels of a volume that are above half of its greatest value."""
        import vtk

        matrix, values = vtk.vtkMatrix4x4(), values_of(node.GetImageData())
        node.GetIJKToRASMatrix(matrix)
        places = np.argwhere(values > values.max() / 2)
        return array_of(matrix)[:3, :3] @ places.mean(0) + array_of(matrix)[:3, 3]

    def term(self, text: str) -> Any:
        """Returns a terminology as Slicer reads it."""
        entry = self._slicer.vtkSlicerTerminologyEntry()
        logic = self._slicer.vtkSlicerTerminologiesModuleLogic()
        assert logic.DeserializeTerminologyEntry(text, entry)
        return entry

    def picture(
        self, node: Any, path: Path, *, azimuth: float = 0.0, elevation: float = 0.0, note: str = ""
    ) -> np.ndarray:
        """Draws the surfaces that Slicer makes of segments, from the front, as a PNG; returns its pixels."""
        import vtk

        node.CreateClosedSurfaceRepresentation()
        renderer = vtk.vtkRenderer()
        renderer.SetBackground(*BACKGROUND)
        for actor in self._actors(node):
            renderer.AddActor(actor)
        renderer.AddViewProp(_note(note))
        window = vtk.vtkRenderWindow()
        window.SetOffScreenRendering(1)
        window.SetMultiSamples(8)
        window.SetSize(*SIZE)
        window.AddRenderer(renderer)
        _look(renderer, azimuth, elevation)
        window.Render()
        _save(window, path)
        from PIL import Image

        return np.asarray(Image.open(path).convert("RGB"))

    def _actors(self, node: Any) -> list[Any]:
        import vtk

        listed, actors = node.GetSegmentation(), []
        for index in range(listed.GetNumberOfSegments()):
            surface, identifier = vtk.vtkPolyData(), listed.GetNthSegmentID(index)
            node.GetClosedSurfaceRepresentation(identifier, surface)
            mapper, actor = vtk.vtkPolyDataMapper(), vtk.vtkActor()
            mapper.SetInputData(surface)
            mapper.ScalarVisibilityOff()
            actor.SetMapper(mapper)
            actor.GetProperty().SetColor(*listed.GetSegment(identifier).GetColor())
            actors.append(actor)
        return actors


def array_of(matrix: Any) -> np.ndarray:
    """Returns a 4x4 matrix of VTK's."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def values_of(image: Any) -> np.ndarray:
    """Returns the values (x, y, z) of an image of VTK's; of colours the first."""
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = image.GetPointData().GetScalars()
    if scalars is None or not scalars.GetNumberOfTuples():
        return np.zeros((0, 0, 0))
    values = vtk_to_numpy(scalars).reshape(len(vtk_to_numpy(scalars)), -1)[:, 0]
    return values.reshape(image.GetDimensions(), order="F")


def _note(words: str) -> Any:
    """Words in the corner of a picture."""
    import vtk

    actor = vtk.vtkTextActor()
    actor.SetInput(words)
    actor.SetPosition(16, 14)
    actor.GetTextProperty().SetFontSize(22)
    actor.GetTextProperty().SetColor(0.25, 0.25, 0.25)
    return actor


def _look(renderer: Any, azimuth: float, elevation: float) -> None:
    """From the front, the head upwards, as Slicer's button A does."""
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(0, 1, 0)
    camera.SetViewUp(0, 0, 1)
    camera.Azimuth(azimuth)
    camera.Elevation(elevation)
    renderer.ResetCamera()
    camera.Zoom(1.55)


def _save(window: Any, path: Path) -> None:
    import vtk

    picture, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    picture.SetInput(window)
    writer.SetFileName(str(path))
    writer.SetInputConnection(picture.GetOutputPort())
    writer.Write()


if __name__ == "__main__":
    source, target, azimuth, elevation, note = [*sys.argv[1:], *("0", "0", "")[len(sys.argv) - 3 :]]
    scene, angles = Scene(), {"azimuth": float(azimuth), "elevation": float(elevation)}
    scene.picture(scene.segmentation(Path(source)), Path(target), note=note, **angles)
