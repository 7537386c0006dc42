"""Body models: pure tensor maths, without registry and without files."""

from .regressed_joints import RegressedJoints

__all__ = ['RegressedJoints']
