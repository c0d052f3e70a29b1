"""Turns 2D masks and clicks into 3D objects in Gaussian-splat scenes."""

__version__ = "0.1.0"
