"""Write the network of a lifter as ONNX, for ONNX Runtime and others."""

import warnings
from pathlib import Path
from typing import Dict, Union

import torch
from torch import Tensor, nn

from ..io.atomic import atomic_write
from ..io.video_poses import CAMERA_FRAME
from ..models import SequencePoseLifter
from ..version import __version__
from .clip_lifter import ClipLifter
from .onnx_backend import INPUT, OUTPUT, example_window, signature

OPSET = 17  # the first with layer norm as one operator; 20 (GELU as one) was no faster
MISSING_ONNX = 'exporting needs the package onnx: pip install "onnx>=1.17"'


def export_onnx(lifter: ClipLifter, path: Union[str, Path]) -> Dict[str, str]:
    """Write the network of a lifter as one ONNX file (opset 17, float32), weights inside.

    The graph has a free batch size B and the model's own number of frames T:

    * input ``keypoints`` (B, T, J, C), screen-normalised: x in [-1, 1] over the width. C is 2, or 3
      with the 2D score or with the flag of key-frames: 1 or 0, the same for all joints of a frame.
      Coordinates of frames with flag 0 have no effect.
    * output ``poses`` (B, T, J, 3), root-relative metres; (B, 1, J, 3), those of the centre, for
      models that see key-frames only.

    Flip test, moving the root to the origin, windows and stitching are not in the graph. Batch
    norms of AMPose are folded. Where a model sees key-frames only, its spatial transformer runs on
    these. The file's metadata are the result of this function.

    The TorchScript exporter of PyTorch is used: its newer one cannot follow the choice of frames,
    which depends on the data.

    Args:
        lifter: Model and weights, in float32.
        path: Name that ends in .onnx.

    Returns:
        :func:`~mmpose_lift.apis.onnx_backend.signature`, ``model``, ``input_stride`` (the default),
        ``joint_names``, ``input``, ``units``, ``frame``, ``flip_test``, ``zero_root`` and
        ``version``.

    Raises:
        ImportError: ``onnx`` is not installed.
        MissingWeightsError: The model has no trained weights.
        ValueError: Another suffix, weights that are not float32, or a lifter that runs on ONNX.
    """
    lifter.check_runs()
    path = Path(path)
    if path.suffix.lower() != '.onnx':
        raise ValueError(f'{path}: expected a name that ends in .onnx')
    weight = next(lifter.model.parameters())
    if weight.dtype != torch.float32 or weight.is_meta:
        raise ValueError("lifter: expected one with precision='float32' and backend='torch', found "
                         f'weights of type {weight.dtype} on device {weight.device.type!r}')
    try:
        import onnx
    except ImportError as error:
        raise ImportError(MISSING_ONNX) from error
    metadata = _metadata(lifter)
    windows = torch.stack([example_window(lifter)] * 2)  # a batch of 1 would fix its size in places
    network = _Windows(lifter.model)
    if lifter.sparse:
        network = _SparseWindows(lifter.model)
        if lifter.model.backbone.upsample_token is not None:
            windows[:, 1::2, :, -1] = 0  # with masks: those of no missing frame are zero
    with atomic_write(path) as temporary:
        with warnings.catch_warnings(), torch.no_grad():
            # checks of shapes are traced as constants, as they should be
            warnings.simplefilter('ignore')
            torch.onnx.export(
                network.eval(), (windows.to(weight.device), ), str(temporary), dynamo=False,
                opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: 'batch'}, OUTPUT: {0: 'batch'}})
        graph = onnx.load(str(temporary))
        onnx.helper.set_model_props(graph, metadata)
        onnx.save(graph, str(temporary))
    return metadata


class _Windows(nn.Module):
    """Windows to poses, before the codec."""

    def __init__(self, model: SequencePoseLifter) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> Tensor:
        return self.model.head.lift(self.model.extract_feat(windows))


class _SparseWindows(_Windows):
    """The same for Uplift and Upsample, without the choices between frames that Python makes."""

    def forward(self, windows: Tensor) -> Tensor:
        backbone = self.model.backbone
        key_frames = windows[:, :, 0, -1] == 1
        flags = key_frames.flatten()
        poses = windows[..., :-1].flatten(0, 1)[flags.nonzero().squeeze(1)]  # [n, J, 2]
        # row 0 is read by the other frames, and means that there is never no row at all
        poses = torch.cat([torch.zeros_like(windows[0, :1, :, :-1]), poses])
        rows = flags.long().cumsum(0) * flags
        tokens = backbone.pose_tokens(poses)[rows].view(*key_frames.shape, -1)
        return self.model.head.lift(backbone.from_tokens(tokens, key_frames))


def _metadata(lifter: ClipLifter) -> Dict[str, str]:
    extra = ''
    if lifter.sparse:
        extra = '; channel 2 is 1 at key-frames and 0 elsewhere'
    elif lifter.model.head.decoder.with_score:
        extra = '; channel 2 is the 2D score'
    options = lifter.model.test_cfg
    return dict(
        **signature(lifter), model=lifter.name, input_stride=str(lifter.input_stride),
        joint_names=','.join(lifter.skeleton.joint_names),
        input=f'(batch, frames, joints, channels): x, y in pixels / (width / 2) - (1, height / '
              f'width){extra}',
        units='metre', frame=CAMERA_FRAME,
        flip_test=f'not in the graph; the config says {options.get("flip_test", False)}',
        zero_root=f'not in the graph; the config says {options.get("zero_root", False)}',
        version=f'mmpose_lift {__version__}')
