"""Everything that reaches into other packages' internals.

Each module names the upstream version it is for and why it exists, and has a test that fails when
it is no longer needed.
"""

from . import mmcv_ops


def install() -> None:
    """Put every item in place; a second call changes nothing.

    The ops come first: without them neither MMPose's models nor its APIs can be imported.
    """
    mmcv_ops.install()

    from . import atomic_save, checkpoint_loading, cpu_distributed, model_index
    checkpoint_loading.install()
    atomic_save.install()
    cpu_distributed.install()
    model_index.install()
