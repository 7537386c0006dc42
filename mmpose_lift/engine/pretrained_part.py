"""Weights of a part of a model from a part of another one's checkpoint, all of them or none."""

from urllib.error import URLError

from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..io.checkpoint_checks import check_shapes


@WEIGHT_INITIALIZERS.register_module()
class PretrainedPart:
    """``init_cfg`` that refuses a checkpoint which does not fit.

    MMEngine's ``Pretrained`` leaves parameters of other names or shapes as they are, with a line in
    the log: with the weights of HRNet-W48, a W32 would train from scratch.

    Args:
        checkpoint: File or address.
        prefix: First part of the names of these parameters in the checkpoint, 'backbone' for
            example.
    """

    def __init__(self, checkpoint: str, prefix: str):
        self.checkpoint = checkpoint
        self.prefix = prefix.rstrip('.') + '.'

    def __call__(self, module: nn.Module) -> None:
        """Load the weights.

        Raises:
            FileNotFoundError: There is no such file.
            ConnectionError: The address cannot be reached.
            ValueError: Nothing has that prefix, or parameters are missing, unexpected or of another
                shape (named).
        """
        where = f'{self.checkpoint}, {self.prefix}*'
        try:
            content = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        except URLError as error:
            raise ConnectionError(
                f'init_cfg: {self.checkpoint} cannot be fetched ({error.reason}); fetch it on '
                'another machine and give the file as checkpoint of init_cfg, or leave the weights '
                'out with init_cfg=None') from error
        state = content.get('state_dict', content)
        found = {key[len(self.prefix):]: value for key, value in state.items()
                 if key.startswith(self.prefix) and isinstance(value, Tensor)}
        if not found:
            raise ValueError(f'{where}: no parameter of that name; the checkpoint has '
                             f'{", ".join(sorted({key.split(".")[0] for key in state}))}')
        check_shapes({key: tuple(value.shape) for key, value in module.state_dict().items()},
                     found, type(module).__name__, where)
        module.load_state_dict(found)
        # By this name backbones know that they must not put zeros into norms (zero_init_residual).
        module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint, prefix=self.prefix)
        if hasattr(module, '_params_init_info'):  # MMEngine's own account of the initialisation
            update_init_info(module, init_info=f'PretrainedPart: loaded from {where}')
