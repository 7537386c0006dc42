"""Heads."""

from .lifting_head import LiftingHead, mirror_poses

__all__ = ['LiftingHead', 'mirror_poses']
