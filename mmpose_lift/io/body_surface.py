"""Surfaces of the people of a video, computed where they are asked for: they are large."""

from typing import Any, Dict, Sequence, Tuple, Union

import numpy as np
import torch

from ..models.body import BodyModel, LazyBodyModel
from .video_poses import PersonTrack, VideoPoses

__all__ = ['BodySurface']

CHUNK = 32  # surfaces of a person that are made at once [np]


class BodySurface:
    """Surfaces of the bodies of a video.

    Args:
        poses: People with bodies.
        body_model: The body they are of, as ``LazyBodyModel`` takes it; by default what ``poses``
            says.

    Attributes:
        body: The ``BodyModel``.
        faces: (F, 3) vertex numbers, counter-clockwise seen from outside.

    Raises:
        FileNotFoundError: There is no such file; the message says where to get it.
        ValueError: Nothing says which body it is, or it has no faces.
    """

    def __init__(self, poses: VideoPoses, body_model: Any = None) -> None:
        source = poses.body_model if body_model is None else body_model
        if source is None:
            raise ValueError(f'{poses.source}: nothing says which body model its people are of; '
                             'give body_model: a file, or the body itself')
        self.body: BodyModel = LazyBodyModel(source).body
        if self.body.faces is None:
            raise ValueError(f'{poses.source}: its body model has no faces, so there is no surface '
                             'to show; give one with faces (f)')
        self.faces = self.body.faces.cpu().numpy()
        self._kept: Dict[int, Tuple[int, np.ndarray]] = {}  # by track_id: first row, surfaces

    def vertices(self, track: PersonTrack, rows: Union[slice, Sequence[int]] = slice(None),
                 ) -> np.ndarray:
        """(m, V, 3) float32 metres, camera axes, origin at the camera, of some rows of a track.

        Raises:
            ValueError: The person has no body, or one of another number of shape coefficients.
        """
        body = track.body
        if body is None:
            raise ValueError(f'track {track.track_id} has no body; use a model that gives one')
        device = self.body.template.device
        with torch.inference_mode():
            vertices, _ = self.body(*(torch.as_tensor(array[rows], dtype=torch.float32).to(device)
                                      for array in (body.betas, body.rotmats)))
        return vertices.cpu().numpy() + body.transl[rows][:, None].astype(np.float32)

    def frame(self, track: PersonTrack, row: int) -> np.ndarray:
        """(V, 3) of one row of a track; fast for rows that are asked for in order."""
        first, surfaces = self._kept.get(track.track_id, (0, ()))
        if not first <= row < first + len(surfaces):
            first, surfaces = row, self.vertices(track, slice(row, row + CHUNK))
            self._kept[track.track_id] = first, surfaces
        return surfaces[row - first]
