"""Pictures and videos of poses; import it where you draw, the package itself does not."""

from .skeleton_drawing import Panel2D, Panel3D, camera_to_upright
from .skeleton_video import (
                             SkeletonScene,
                             SkeletonVideoWriter,
                             write_skeleton_picture,
                             write_skeleton_video,
)

__all__ = ['Panel2D', 'Panel3D', 'SkeletonScene', 'SkeletonVideoWriter', 'camera_to_upright',
           'write_skeleton_picture', 'write_skeleton_video']
