"""Let MMPose's inferencers find the plugin's models by name or alias.

MMEngine 0.10.7 resolves names only in the packages of a table of its own, which no plugin can join;
so the list of MMPose's models is extended here. The configs named are absolute paths, and so are
weights that travel with the package; a model without published weights has ``Weights: None``.
"""

import os.path as osp
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from mmengine.fileio import load

PACKAGE = Path(__file__).resolve().parents[1]


def index_root() -> Path:
    """Folder that holds ``model-index.yml`` and ``configs``: the checkout, else ``.mim``.

    Raises:
        FileNotFoundError: Neither holds them.
    """
    candidates = (PACKAGE.parent, PACKAGE / '.mim')
    for root in candidates:
        # site-packages may hold anything of these names: only a checkout has setup.py beside them
        if (root / 'model-index.yml').is_file() and (root / 'configs').is_dir() and (
                root.name == '.mim' or (root / 'setup.py').is_file()):
            return root
    raise FileNotFoundError(
        'model-index.yml and configs of mmpose_lift are in neither '
        f'{candidates[0]} nor {candidates[1]}: install the package again (pip install -e . or '
        'pip install . in the checkout)')


def _aliases(model: dict) -> Tuple[str, ...]:
    """The aliases of a metafile entry, which may give none, one or a list."""
    alias = model.get('Alias', [])
    return (alias,) if isinstance(alias, str) else tuple(alias)


def _plugin_models() -> Iterator[dict]:
    """Entries of the plugin's metafiles with absolute ``Config`` and ``Weights``."""
    root = index_root()
    for name in load(str(root / 'model-index.yml'))['Import']:
        for model in load(str(root / name))['Models']:
            yield dict(model, Config=str(root / model['Config']), Weights=_weights(model))


def _weights(model: dict) -> Optional[str]:
    """Address of published weights; a path is relative to the package."""
    weights = model.get('Weights')
    return weights if weights is None or '://' in weights else str(PACKAGE / weights)


def list_models() -> Dict[str, List[str]]:
    """Names of the plugin's models, each with its aliases."""
    return {model['Name']: list(_aliases(model)) for model in _plugin_models()}


def lifting_aliases() -> List[str]:
    """Aliases of the models that lift 2D keypoints, in order."""
    return _aliases_of('body_3d_keypoint')


def mesh_aliases() -> List[str]:
    """Aliases of the models that give body meshes, or the depth of their roots, in order."""
    return _aliases_of('body_3d_mesh')


def _aliases_of(task: str) -> List[str]:
    return sorted(alias for model in _plugin_models() for alias in _aliases(model)
                  if task in Path(model['Config']).parts)


def find_model(name: str) -> Optional[dict]:
    """The metafile entry of a model of the plugin.

    Args:
        name: Name or alias, in any case.

    Returns:
        dict or None: The entry (``Name``, ``Alias``, ``Config`` as an absolute path, ``Weights`` as
        an absolute path, an address or None, ``Results``); None where the plugin has no such model.
    """
    wanted = name.lower()
    for model in _plugin_models():
        if wanted in (known.lower() for known in (model['Name'], *_aliases(model))):
            return model
    return None


def install() -> None:
    """Append the plugin's models to those that MMPose's inferencers and listings know."""
    import mmpose
    from mmengine.infer import BaseInferencer

    stock = BaseInferencer._get_models_from_metafile
    if getattr(stock, 'extended_by_mmpose_lift', False):
        return
    mmpose_root = osp.realpath(mmpose.__path__[0])

    def models_from_metafile(dir: str) -> Iterator[dict]:
        """Yield the models of ``dir``, and after those of MMPose the plugin's."""
        yield from stock(dir)
        if osp.realpath(dir) in (osp.join(mmpose_root, '.mim'), osp.dirname(mmpose_root)):
            yield from _plugin_models()

    models_from_metafile.extended_by_mmpose_lift = True
    BaseInferencer._get_models_from_metafile = staticmethod(models_from_metafile)
