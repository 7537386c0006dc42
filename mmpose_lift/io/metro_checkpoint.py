"""Checkpoints of METRO's public code (body network) to this package's names.

The vocabulary tables and the pooler that its BERT layers bring along are never used and are
dropped, and so is the classifier of its image backbone. Template and mesh sampling are no part of
its checkpoints: they come from the user's own body model.
"""

import re
from collections import OrderedDict
from typing import Dict, Mapping

import torch
from torch import Tensor

from .checkpoint_checks import check_shapes, module_shapes, raise_foreign
from .hybrik_checkpoint import HRNET_W48

SYSTEM = 'METRO'
_BLOCKS = 'head.transformer.blocks'
_QKV = ('query', 'key', 'value')  # one projection here
# Behind the number of a block. The second position table, inside the embeddings, is an unused one.
_BLOCK_RENAMES = (
    (r'^bert\.img_embedding\.', 'in_proj.'),
    (r'^bert\.position_embeddings\.weight$', 'pos_embed'),
    (r'^bert\.encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.', r'layers.\1.attn.\2.'),
    (r'^bert\.encoder\.layer\.(\d+)\.attention\.output\.dense\.', r'layers.\1.attn.proj.'),
    (r'^bert\.encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.', r'layers.\1.norm1.'),
    (r'^bert\.encoder\.layer\.(\d+)\.intermediate\.dense\.', r'layers.\1.mlp.fc1.'),
    (r'^bert\.encoder\.layer\.(\d+)\.output\.dense\.', r'layers.\1.mlp.fc2.'),
    (r'^bert\.encoder\.layer\.(\d+)\.output\.LayerNorm\.', r'layers.\1.norm2.'),
    (r'^cls_head\.', 'out_proj.'),
    (r'^residual\.', 'residual_proj.'),
)
_RENAMES = (
    (r'^upsampling\.', 'head.upsample.0.'),
    (r'^upsampling2\.', 'head.upsample.1.'),
    (r'^conv_learn_tokens\.', 'head.image_tokens.'),
    (r'^cam_param_fc\.', 'head.cam_fc1.'),
    (r'^cam_param_fc([23])\.', r'head.cam_fc\1.'),
    (r'^backbone\.(incre_modules|downsamp_modules)\.', r'neck.\1.'),
    (r'^backbone\.final_layer\.', 'neck.final_feat_layer.'),
    # torchvision's ResNet as the public code wraps it: nn.Sequential of its children
    (r'^backbone\.0\.', 'backbone.conv1.'),
    (r'^backbone\.1\.', 'backbone.bn1.'),
    (r'^backbone\.4\.', 'backbone.layer1.'),
    (r'^backbone\.5\.', 'backbone.layer2.'),
    (r'^backbone\.6\.', 'backbone.layer3.'),
    (r'^backbone\.7\.', 'backbone.layer4.'),
)
_BLOCK = re.compile(r'^(?:trans_encoder\.)?(\d+)\.(.*)')
_EMBEDDING = re.compile(r'^(trans_encoder\.)?\d+\.bert\.img_embedding\.')
_OUR_BLOCK = re.compile(re.escape(_BLOCKS) + r'\.(\d+)\.(?:layers\.(\d+)\.)?')
_DROPPED = re.compile(r'^((trans_encoder\.)?\d+\.bert\.(embeddings|pooler)\.'
                      r'|backbone\.(classifier|fc)\.)')


def convert_metro(tensors: Mapping[str, Tensor], where: str) -> 'OrderedDict[str, Tensor]':
    """State dict of ``BodyMeshEstimator`` with an ``MPTHead`` of ``tokens='metro'``.

    Args:
        tensors: Under the original names, without the prefix of distributed training; the
            transformer's may start with the number of the block.
        where: Name of the source for messages.

    Returns:
        ``backbone.*`` (ResNet-50, or HRNet of any width under MMPose's names), for HRNet
        ``neck.*``, and ``head.*``; what the checkpoint has none of is left out: ``backbone.*`` and
        ``neck.*``, or all of the head but ``head.transformer.*``.

    Raises:
        ValueError: tensors are missing, unexpected or of wrong shape (named), or it is a checkpoint
            of another model.
    """
    graphormer = any('.graph_conv.' in key or key.startswith('grid_feat_dim.') for key in tensors)
    if graphormer or not any(_EMBEDDING.match(key) for key in tensors):
        raise_foreign(SYSTEM, tensors, where)
    renamed = {_rename(key): value for key, value in tensors.items() if not _DROPPED.match(key)}
    expected = dict(_backbone_shapes(renamed), **_head_shapes(renamed),
                    **_transformer_shapes(renamed))
    check_shapes(expected, renamed, SYSTEM, where)
    converted = OrderedDict()
    for key in expected:
        if '.attn.query.' in key:
            parts = [renamed[key.replace('.query.', f'.{part}.')] for part in _QKV]
            converted[key.replace('.query.', '.qkv.')] = torch.cat(parts)
        elif '.attn.key.' not in key and '.attn.value.' not in key:
            converted[key] = renamed[key]
    return converted


def _rename(key: str) -> str:
    """Our name of a key; the key itself where the tables have none."""
    block = _BLOCK.match(key)
    prefix, rest, table = ((f'{_BLOCKS}.{block[1]}.', block[2], _BLOCK_RENAMES) if block
                           else ('', key, _RENAMES))
    for pattern, name in table:
        new, count = re.subn(pattern, name, rest, count=1)
        if count:
            return prefix + new
    return key


def _size(tensors: Mapping[str, Tensor], key: str, axis: int, default: int) -> int:
    """Length of an axis; the default where there is no such tensor or axis."""
    shape = tensors[key].shape if key in tensors else ()
    return shape[axis] if len(shape) > axis else default


def _transformer_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of complete transformer blocks with the sizes that the present tensors show.

    Query, key and value are still apart, so that a missing one is named.
    """
    found = [match.groups() for match in map(_OUR_BLOCK.match, tensors) if match]
    num_blocks = 1 + max(int(block) for block, _ in found)
    num_layers = 1 + max((int(layer) for _, layer in found if layer), default=3)
    shapes: Dict[str, tuple] = {}
    for i in range(num_blocks):
        for key, shape in _block_shapes(tensors, f'{_BLOCKS}.{i}.', num_layers).items():
            if '.attn.qkv.' in key:
                shape = (shape[0] // len(_QKV), *shape[1:])
                shapes.update({key.replace('.qkv.', f'.{part}.'): shape for part in _QKV})
            else:
                shapes[key] = shape
    return shapes


def _block_shapes(tensors: Mapping[str, Tensor], prefix: str, num_layers: int) -> Dict[str, tuple]:
    """Shapes of one complete block; sizes that no tensor shows are the published last block's."""
    from ..models.backbones.mesh_transformer import MeshTransformerBlock

    def size(axis: int, default: int, *keys: str) -> int:
        """By the first of the keys that is there."""
        present = [key for key in keys if prefix + key in tensors]
        return _size(tensors, prefix + present[0], axis, default) if present else default

    hidden = size(0, 128, 'in_proj.weight', 'in_proj.bias', 'layers.0.norm1.weight')
    return module_shapes(lambda: MeshTransformerBlock(
        input_dims=size(1, 128, 'in_proj.weight', 'residual_proj.weight'), hidden_dims=hidden,
        output_dims=size(0, 3, 'out_proj.weight', 'residual_proj.weight'),
        intermediate_dims=size(0, 3072, 'layers.0.mlp.fc1.weight', 'layers.0.mlp.fc1.bias'),
        num_layers=num_layers, num_heads=1, max_tokens=size(0, 512, 'pos_embed')), prefix)


def _head_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of the head around the transformer; none where there is only the transformer."""
    if all(key.startswith(_BLOCKS) for key in tensors if re.match(r'(backbone|neck|head)\.', key)):
        return {}
    middle = _size(tensors, 'head.upsample.0.weight', 0, 1723)
    coarse = _size(tensors, 'head.upsample.0.weight', 1, 431)
    full = _size(tensors, 'head.upsample.1.weight', 0, 6890)
    camera = _size(tensors, 'head.cam_fc2.weight', 0, 250)
    tokens = _size(tensors, 'head.image_tokens.weight', 0, 14 + coarse)
    pixels = _size(tensors, 'head.image_tokens.weight', 1, 49)
    weights = {'upsample.0': (middle, coarse), 'upsample.1': (full, middle), 'cam_fc1': (1, 3),
               'cam_fc2': (camera, coarse), 'cam_fc3': (3, camera),
               'image_tokens': (tokens, pixels, 1)}
    shapes = {}
    for name, shape in weights.items():
        shapes.update({f'head.{name}.weight': shape, f'head.{name}.bias': shape[:1]})
    return shapes


def _backbone_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of the backbone, and neck, that the tensors look like; none where there is none."""
    from mmpose.models.backbones import HRNet, ResNet

    from ..models.necks import HRNetMergeNeck
    if not any(key.startswith(('backbone.', 'neck.')) for key in tensors):
        return {}
    if not any(key.startswith(('backbone.stage', 'backbone.transition', 'neck.'))
               for key in tensors):
        return module_shapes(lambda: ResNet(50), 'backbone.')
    first = tensors.get('backbone.stage2.0.branches.0.0.conv1.weight')
    extra = hrnet_extra(64 if first is None else len(first))
    branches = extra['stage4']['num_channels']
    return dict(module_shapes(lambda: HRNet(extra), 'backbone.'),
                **module_shapes(lambda: HRNetMergeNeck(branches), 'neck.'))


def hrnet_extra(width: int) -> dict:
    """MMPose's description of an HRNet: all four branches are output.

    Args:
        width: Channels of the finest branch, 64 for HRNet-W64.
    """
    return {stage: dict(options, num_channels=tuple(
        width * 2**i for i in range(options['num_branches'])) if stage != 'stage1'
        else options['num_channels']) for stage, options in HRNET_W48.items()}
