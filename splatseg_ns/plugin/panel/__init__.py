"""The folder "Segmentation" in Nerfstudio's viewer: buttons over a ``Workspace``."""

from splatseg_ns.plugin.panel.panel import SegmentationPanel as SegmentationPanel
