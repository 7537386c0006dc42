"""Pure functions on cameras, rotations, skeletons and similarity alignment."""

from .back_projection import back_project, estimate_root_position, normalize_intrinsics
from .camera_ring import interpolate_ring, ring_azimuths, ring_target, virtual_cameras
from .cameras import (
    Camera,
    camera_to_world,
    denormalize_screen,
    h36m_camera,
    h36m_cameras,
    normalize_screen,
    project_points,
    world_to_camera,
)
from .joint_conventions import convention_of, to_lifter
from .procrustes import aligned_distances, similarity_align
from .rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    slerp,
)
from .skeleton_graph import (
    ADJACENCY_NORMS,
    adjacency_groups,
    hops_to_root,
    normalized_adjacency,
    tree_parents,
)
from .skeletons import (
    Skeleton,
    convert_keypoints,
    get_skeleton,
    joint_map,
    partial_joint_map,
    skeleton_names,
)

__all__ = ['ADJACENCY_NORMS', 'Camera', 'Skeleton', 'adjacency_groups', 'aligned_distances',
           'axis_angle_to_matrix', 'back_project', 'camera_to_world', 'convention_of',
           'convert_keypoints', 'denormalize_screen', 'estimate_root_position', 'euler_to_matrix',
           'get_skeleton', 'h36m_camera', 'h36m_cameras', 'hops_to_root', 'interpolate_ring',
           'joint_map', 'matrix_to_quaternion', 'normalize_intrinsics', 'normalize_screen',
           'normalized_adjacency', 'partial_joint_map', 'project_points', 'quaternion_to_matrix',
           'ring_azimuths', 'ring_target', 'similarity_align', 'skeleton_names', 'slerp',
           'to_lifter', 'tree_parents', 'virtual_cameras', 'world_to_camera']
