"""What is segmented: splats, cameras, and captures with their pictures and masks."""

from splatseg_ns.scene.atomic_file import atomic_write as atomic_write
from splatseg_ns.scene.camera import Camera as Camera
from splatseg_ns.scene.camera import PixelRect as PixelRect
from splatseg_ns.scene.capture import Capture as Capture
from splatseg_ns.scene.label_map import find_label_maps as find_label_maps
from splatseg_ns.scene.label_map import read_label_map as read_label_map
from splatseg_ns.scene.ply import PlyScene as PlyScene
from splatseg_ns.scene.ply import SeedPoints as SeedPoints
from splatseg_ns.scene.ply import read_ply as read_ply
from splatseg_ns.scene.ply import read_ply_scene as read_ply_scene
from splatseg_ns.scene.ply import read_points_ply as read_points_ply
from splatseg_ns.scene.ply import write_ply as write_ply
from splatseg_ns.scene.ply_file import PlyBlock as PlyBlock
from splatseg_ns.scene.profile import DEFAULT_PROFILE as DEFAULT_PROFILE
from splatseg_ns.scene.profile import PROFILES as PROFILES
from splatseg_ns.scene.profile import RenderProfile as RenderProfile
from splatseg_ns.scene.profile import render_profile as render_profile
from splatseg_ns.scene.splats import Splats as Splats
from splatseg_ns.scene.undistort import Lens as Lens
from splatseg_ns.scene.undistort import Undistortion as Undistortion
from splatseg_ns.scene.undistort import undistortion as undistortion
from splatseg_ns.scene.view import Split as Split
from splatseg_ns.scene.view import View as View
