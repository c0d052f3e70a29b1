"""What is segmented: splats, cameras, and captures with their pictures and masks."""

from splatseg_ns.scene.camera import Camera as Camera
from splatseg_ns.scene.camera import PixelRect as PixelRect
from splatseg_ns.scene.profile import DEFAULT_PROFILE as DEFAULT_PROFILE
from splatseg_ns.scene.profile import PROFILES as PROFILES
from splatseg_ns.scene.profile import RenderProfile as RenderProfile
from splatseg_ns.scene.profile import render_profile as render_profile
from splatseg_ns.scene.splats import Splats as Splats
