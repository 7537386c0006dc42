"""Run lifting networks that tools/export_onnx.py has written, in ONNX Runtime on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import normalize_screen
from ..models import SequencePoseLifter
from ..models.heads.lifting_head import mirror_poses
from .key_frame_lifting import KeyFrameLifter

if TYPE_CHECKING:
    from .clip_lifter import ClipLifter

INPUT, OUTPUT = 'keypoints', 'poses'  # of the graph
MISSING_ONNXRUNTIME = ("backend 'onnx' needs the package onnxruntime: "
                       'pip install "onnxruntime>=1.20"')


def signature(lifter: 'ClipLifter') -> Dict[str, str]:
    """What an exported file says about its model and the config it runs with must say, too.

    Returns:
        ``backbone``, ``skeleton``, ``frames`` T, ``joints`` J, ``channels`` C of the input,
        ``fps`` ('any' for models of single frames) and ``output_stride`` (frames between tokens).
    """
    return dict(
        backbone=type(lifter.model.backbone).__name__, skeleton=lifter.skeleton.name,
        frames=str(lifter.window), joints=str(lifter.skeleton.num_joints),
        channels=str(example_window(lifter).shape[-1]),
        fps='any' if lifter.fps is None else f'{lifter.fps:g}',
        output_stride=str(lifter.output_stride))


def example_window(lifter: 'ClipLifter') -> Tensor:
    """(T, J, C) input of the network in which every frame has a (random) 2D pose."""
    pixels = np.random.default_rng(0).random((lifter.window, lifter.skeleton.num_joints, 3))
    return torch.from_numpy(lifter.normalise(pixels.astype(np.float32), (1, 1)))


class OnnxNetwork:
    """A network of an .onnx file: normalised 2D keypoints to 3D poses, without flip test.

    It uses as many threads as PyTorch does when it is made (``torch.get_num_threads()``).

    Args:
        path: File written by :func:`~mmpose_lift.apis.onnx_export.export_onnx`.
        lifter: The lifter that will run it; the file is checked against its config.

    Raises:
        FileNotFoundError: No such file.
        ImportError: ``onnxruntime`` is not installed.
        ValueError: The file cannot be read, was not exported by this package, or is of another
            model.
    """

    def __init__(self, path: Union[str, Path], lifter: 'ClipLifter') -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f'weights {str(path)!r}: no such file')
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(MISSING_ONNXRUNTIME) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # its exceptions have no base class of their own
            raise ValueError(f'weights {str(path)!r}: ONNX Runtime cannot read this file '
                             f'({str(error).splitlines()[0]}); write it again with '
                             'tools/export_onnx.py') from error
        self.metadata: Dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        expected = signature(lifter)
        differences = [f'{name} is {self.metadata[name]}, expected {value}'
                       if name in self.metadata else f'{name} is not stated, expected {value}'
                       for name, value in expected.items() if self.metadata.get(name) != value]
        if differences:
            raise ValueError(f'weights {str(path)!r} do not fit model {lifter.name!r}: '
                             f'{"; ".join(differences)}. Give the config the file was exported '
                             'from, or export this model with tools/export_onnx.py')

    def __call__(self, inputs: Tensor) -> Tensor:
        """(B, T, J, C) float32 to (B, T, J, 3) poses, before the codec decodes them.

        Of models that see key-frames only the poses are those of the centre, (B, 1, J, 3).
        """
        return torch.from_numpy(self._session.run([OUTPUT], {INPUT: inputs.float().numpy()})[0])


class OnnxKeyFrameLifter(KeyFrameLifter):
    """A :class:`KeyFrameLifter` whose network is one graph for whole windows.

    The graph makes the pose tokens itself, so that those of a key-frame are computed once in every
    window that shows it, not once per clip; what stands for tokens here are normalised keypoints.

    Args:
        network: The graph.
        model, seq_len, seq_step, batch_size: See :class:`KeyFrameLifter`; the model's weights are
            not used.
    """

    def __init__(self, network: OnnxNetwork, model: SequencePoseLifter, seq_len: int,
                 seq_step: int, batch_size: int = 32) -> None:
        super().__init__(model, seq_len, seq_step, batch_size)
        self._network = network

    def pose_tokens(self, keypoints: np.ndarray, image_size: Tuple[int, int]) -> Tensor:
        """(n, K, 2) pixels to (1, n, K, 2) normalised keypoints."""
        poses = normalize_screen(keypoints.astype(np.float32, copy=False), *image_size)
        return torch.from_numpy(poses)[None]

    def predict_centres(self, table: Tensor, rows: np.ndarray) -> np.ndarray:
        """Poses of the middle frames of windows.

        Args:
            table: (1, n, K, 2) of :meth:`pose_tokens`.
            rows: (m, L) row of the table for each token of each window, -1 where there is none.

        Returns:
            (m, K, 3) float32 root-relative metres.

        Raises:
            ValueError: A missing token, and the model has no upsampling token.
        """
        if self.model.backbone.upsample_token is None and (rows < 0).any():
            raise ValueError('the model has no upsampling token (upsample_token=False): it needs a '
                             '2D pose at every token of a window. Use an input stride equal to the '
                             'output stride, or a model with upsample_token=True')
        flip = list(self.model.skeleton.flip_indices)
        poses = []
        for batch in torch.from_numpy(rows).split(self.batch_size):
            given = batch >= 0
            flags = given[..., None, None].expand(*batch.shape, table.shape[2], 1)
            inputs = torch.cat([table[0][batch.clamp(min=0)], flags], -1)  # [m, L, K, 3]
            found = self._network(inputs)
            if self.model.test_cfg.get('flip_test', False):
                mirrored = self._network(mirror_poses(inputs, flip))
                found = (found + mirror_poses(mirrored, flip)) / 2
            poses.append(self.model.head.decode(found[:, 0])[0])
        return np.concatenate(poses)
