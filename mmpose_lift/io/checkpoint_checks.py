"""What the conversions of all systems share: does a checkpoint fit, and if not, whose is it?"""

import re
from typing import Callable, Dict, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

# A key that only this model has -> what to tell someone who offers it as something else. The first
# match counts: METRO and Graphormer name their image backbone as this package does.
_FINGERPRINTS = (
    (r'^grid_feat_dim\.|\.graph_conv\.', 'Graphormer, whose graph convolutions this package does '
     'not have'),
    (r'^trans_encoder\.\d+\.|^\d+\.bert\.', 'METRO'),
    (r'^(backbone|neck|head)\.', 'a checkpoint of this package or of MMPose, which needs no '
     'conversion: pass it to tools/test.py or load_from'),
    (r'^(expand_conv|layers_conv)\.', 'VideoPose3D (temporal convolutions)'),
    (r'^(STEblocks|TTEblocks)\.', 'MixSTE'),
    (r'^weighted_mean\.|^Spatial_blocks\.', 'PoseFormer'),
    (r'^(blocks_st|blocks_ts|ts_attn)\b', 'MotionBERT (DSTFormer)'),
    (r'^(keypoint_embedding|spatial_to_temporal_fc|strided_temporal_fc)/', 'Uplift and Upsample'),
    (r'^transformer\.(mha|ffn)_(src|tgt)\.', 'HybrIK-Transformer'),
    (r'^(deconv_layers|preact)\.', 'HybrIK'),
)


def name_some(keys: Iterable[str], limit: int = 6) -> str:
    """The first keys, and how many more there are."""
    keys = sorted(keys)
    more = f' and {len(keys) - limit} more' if len(keys) > limit else ''
    return ', '.join(keys[:limit]) + more


def raise_foreign(system: str, tensors: Mapping, where: str) -> None:
    """Say whose checkpoint it is, as far as its keys tell.

    Raises:
        ValueError: always.
    """
    for pattern, owner in _FINGERPRINTS:
        if any(re.search(pattern, key) for key in tensors):
            raise ValueError(f'{where}: not a checkpoint of {system}; its keys are those of '
                             f'{owner}')
    raise ValueError(f'{where}: not a checkpoint of {system}; its keys are {name_some(tensors)}')


def check_shapes(expected: Mapping[str, tuple], tensors: Mapping[str, Tensor], system: str,
                 where: str, problems: Sequence[str] = ()) -> None:
    """Check that the tensors are the expected ones.

    Args:
        expected: Shape by key.
        tensors: What was found.
        system: Name of the model for the message.
        where: Name of the source for the message.
        problems: Sentences on what was found wrong before.

    Raises:
        ValueError: one error that names every missing, unexpected and mis-shaped key.
    """
    problems = list(problems)
    missing = expected.keys() - tensors.keys()
    unexpected = tensors.keys() - expected.keys()
    if missing:
        problems.append(f'missing: {name_some(missing)}')
    if unexpected:
        problems.append(f'unexpected: {name_some(unexpected)}')
    wrong = [f'{key} {tuple(tensors[key].shape)} instead of {shape}'
             for key, shape in expected.items()
             if key in tensors and tuple(tensors[key].shape) != shape]
    if wrong:
        problems.append(f'wrong shape: {name_some(wrong)}')
    if problems:
        raise ValueError(f'{where}: does not fit {system}; ' + '; '.join(problems) +
                         '. Is it complete, and of this model?')


def module_shapes(build: Callable[[], nn.Module], prefix: str) -> Dict[str, tuple]:
    """Shapes of a module's state dict, without memory for it.

    Args:
        build: Makes the module.
        prefix: In front of every key.
    """
    with torch.device('meta'):
        module = build()
    return {prefix + key: tuple(value.shape) for key, value in module.state_dict().items()}
