"""Pictures and videos of poses; import it where you draw, the package itself does not."""

from .mesh_video import MeshScene, overlay_meshes
from .people_video import PeopleScene, draw_people_picture, write_people_video
from .skeleton_drawing import Panel2D, Panel3D, Person2D, Person3D, camera_to_upright
from .skeleton_video import SkeletonScene, write_skeleton_picture, write_skeleton_video
from .video_writer import VideoWriter, write_picture

__all__ = ['MeshScene', 'Panel2D', 'Panel3D', 'PeopleScene', 'Person2D', 'Person3D',
           'SkeletonScene', 'VideoWriter', 'camera_to_upright', 'draw_people_picture',
           'overlay_meshes', 'write_people_video', 'write_picture', 'write_skeleton_picture',
           'write_skeleton_video']
