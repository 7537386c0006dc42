"""Checkpoints of HybrIK-Transformer's public code to this package's names.

Weights behind and in front of the body model only: ``smpl.*`` buffers are dropped, since a body
model is licensed data that comes from the user's own file.
"""

import re
from collections import OrderedDict
from typing import Dict, Mapping

from torch import Tensor

from .checkpoint_checks import check_shapes, module_shapes, raise_foreign

SYSTEM = 'HybrIK-Transformer'
_RENAMES = (
    (r'^pos_embedding\.(row_embed|col_embed)\.', r'head.\1.'),
    (r'^transformer\.input_projection_(src|tgt)\.', r'head.\1_proj.'),
    (r'^transformer\.output_projection\.', 'head.out_proj.'),
    (r'^transformer\.mha_(src|tgt|cross)\.(\d+)\.linear_([qkvo])\.', r'head.blocks.\2.\1_attn.\3.'),
    (r'^transformer\.layer_norm_(src|tgt|cross)\.(\d+)\.', r'head.blocks.\2.\1_norm.'),
    (r'^transformer\.ffn_(src|tgt)\.(\d+)\.fc_layers\.', r'head.blocks.\2.\1_ffn.fcs.'),
    (r'^transformer\.ffn_(src|tgt)\.(\d+)\.layer_norm\.', r'head.blocks.\2.\1_ffn.norm.'),
    (r'^dec(joint|leaf|shape)\.', r'head.dec_\1.'),
    (r'^decphi\.', 'head.dec_twist.'),
    (r'^(joint_embeddings|type_embeddings|init_shape)$', r'head.\1'),
    (r'^preact\.(incre_modules|downsamp_modules|final_feat_layer)\.', r'neck.\1.'),
    (r'^preact\.', 'backbone.'),
)
_DROPPED = re.compile(r'^(smpl\.|preact\.(fc|classifier)\.)')
# Blocks of the third stage and whether they are bottlenecks -> depth of the ResNet.
_RESNETS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101}
# HRNet-W48 with all four branches as output, as the merging neck wants it.
HRNET_W48 = dict(
    stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ),
                num_channels=(64, )),
    stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4),
                num_channels=(48, 96)),
    stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4),
                num_channels=(48, 96, 192)),
    stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4),
                num_channels=(48, 96, 192, 384), multiscale_output=True))


def convert_hybrik_transformer(tensors: Dict[str, Tensor],
                               where: str) -> 'OrderedDict[str, Tensor]':
    """State dict of ``BodyMeshEstimator`` with ``HybrIKTransformerHead``.

    Args:
        tensors: Under the original names, without the prefix of distributed training.
        where: Name of the source for messages.

    Returns:
        ``backbone.*`` (ResNet-18, 34, 50, 101 or HRNet-W48 under MMPose's names), for HRNet
        ``neck.*``, and ``head.*``; only ``head.*`` where there is no backbone.

    Raises:
        ValueError: tensors are missing, unexpected or of wrong shape (named), or it is a checkpoint
            of another model.
    """
    renamed = {_rename(key): tensor for key, tensor in tensors.items() if not _DROPPED.match(key)}
    if not any(key.startswith('transformer.') for key in tensors):
        raise_foreign(SYSTEM, tensors, where)
    expected = dict(_backbone_shapes(renamed), **_head_shapes(renamed))
    check_shapes(expected, renamed, SYSTEM, where)
    return OrderedDict((key, renamed[key]) for key in expected)


def _rename(key: str) -> str:
    """Our name of a key; the key itself where the table has none."""
    for pattern, name in _RENAMES:
        new, count = re.subn(pattern, name, key)
        if count:
            return re.sub(r'\.a_2$', '.weight', re.sub(r'\.b_2$', '.bias', new))
    return key


def _head_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of a complete head with the sizes that the present tensors show."""
    from ..models.heads import HybrIKTransformerHead

    def size(key: str, axis: int, default: int) -> int:
        shape = tensors[f'head.{key}'].shape if f'head.{key}' in tensors else ()
        return shape[axis] if len(shape) > axis else default

    numbers = re.compile(r'head\.blocks\.(\d+)\.(?:src_ffn\.fcs\.(\d+))?')
    found = [match.groups() for match in map(numbers.match, tensors) if match]
    channels = size('joint_embeddings', 1, size('src_proj.weight', 1, 512))
    return module_shapes(lambda: HybrIKTransformerHead(
        in_channels=channels,
        feat_size=(size('col_embed.weight', 0, 8), size('row_embed.weight', 0, 8)),
        d_model=size('src_proj.weight', 0, 512), num_heads=1,
        layer_width=size('blocks.0.src_ffn.fcs.0.weight', 0, 512),
        num_blocks=1 + max((int(block) for block, _ in found), default=5),
        num_layers=1 + max((int(fc) for _, fc in found if fc), default=2),
        mean_shape=(0.0, ) * size('init_shape', 0, 10)), 'head.')


def _backbone_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of the backbone, and neck, that the tensors look like; none where there is none."""
    from mmpose.models.backbones import HRNet, ResNet

    from ..models.necks import HRNetMergeNeck
    if not any(key.startswith(('backbone.', 'neck.')) for key in tensors):
        return {}
    if any(key.startswith(('backbone.stage', 'backbone.transition', 'neck.')) for key in tensors):
        return dict(module_shapes(lambda: HRNet(HRNET_W48), 'backbone.'),
                    **module_shapes(HRNetMergeNeck, 'neck.'))
    return module_shapes(lambda: ResNet(_resnet_depth(tensors)), 'backbone.')


def _resnet_depth(tensors: Mapping[str, Tensor]) -> int:
    """The depth of the ResNet; 34, the published one, where the blocks fit none."""
    blocks = [re.match(r'backbone\.layer3\.(\d+)\.', key) for key in tensors]
    count = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    bottleneck = any(re.match(r'backbone\.layer3\.\d+\.conv3\.', key) for key in tensors)
    return _RESNETS.get((count, bottleneck), 34)
