"""A body model that is read when it is first needed, so that configs without the files build."""

from inspect import signature
from pathlib import Path
from typing import Any, Mapping, Union

import torch
from torch import Tensor, nn

from .body_model import BodyModel

__all__ = ['LazyBodyModel']

_FILE_KEYS = ('path', 'gender', 'h36m_regressor', 'regressor_skeleton', 'num_betas')


class LazyBodyModel(nn.Module):
    """Hold a body model, or where to get it; nothing of it is saved with the module.

    Args:
        source: a ``BodyModel``; the path of a file; 'stand_in'; the arguments of
            ``BodyModel.from_file`` as a mapping with 'path'; or those of ``BodyModel.from_arrays``
            as a mapping with 'v_template', for example what ``np.load`` gives for a file of
            tools/convert_body_model.py ('gender' in it is not needed).

    Raises:
        ValueError: the source is none of these.
    """

    def __init__(self, source: Union[BodyModel, str, Path, Mapping[str, Any]]):
        super().__init__()
        if isinstance(source, (str, Path)) and source != 'stand_in':
            source = dict(path=source)
        if isinstance(source, Mapping):
            source = dict(source)  # np.load reads now, not from a file that is closed by then
            _check_keys(source)
        if not isinstance(source, (BodyModel, dict)) and source != 'stand_in':
            raise ValueError("body model: expected a BodyModel, a path, 'stand_in' or a dict, "
                             f'found {type(source).__name__}')
        # Not a submodule: buffers that appear later would break averaged copies of a model, and
        # distributed training would send them to every process in every step.
        self._loaded = [source] if isinstance(source, BodyModel) else []
        self._source = None if self._loaded else source
        self.register_buffer('_place', torch.empty(0), persistent=False)  # follows .to(device)

    @property
    def body(self) -> BodyModel:
        """The body model, on the device of the module.

        Raises:
            FileNotFoundError: the file is not there; the message says where to get it.
            ValueError: what is there is no such body model.
        """
        return self.on(self._place)

    def on(self, tensor: Tensor) -> BodyModel:
        """The body model, on the device of a tensor (it moves there); errors as of ``body``."""
        with torch.inference_mode(False):  # training may need these tensors later
            if not self._loaded:
                self._loaded.append(self._load())
            return self._loaded[0].to(tensor.device)

    def _load(self) -> BodyModel:
        if self._source == 'stand_in':
            return BodyModel.stand_in()
        if 'v_template' in self._source:
            return BodyModel.from_arrays(**{name: value for name, value in self._source.items()
                                            if name != 'gender'})
        return BodyModel.from_file(**self._source)


def _check_keys(source: dict) -> None:
    found = ', '.join(map(str, source))
    if 'v_template' not in source:
        if 'path' not in source or set(source) - set(_FILE_KEYS):
            raise ValueError(f'body model: expected a dict with some of {", ".join(_FILE_KEYS)} '
                             f'(path is needed), or with arrays, found {found}')
        return
    arguments = signature(BodyModel.from_arrays).parameters
    needed = {name for name, argument in arguments.items() if argument.default is argument.empty}
    if needed - set(source) or set(source) - set(arguments) - {'gender'}:
        raise ValueError(f'body model: expected the arrays {", ".join(arguments)}, found {found}; '
                         'files of other names are read by their path')
