"""The document of a segmented scene, how it is edited and how it is kept."""

from splatseg_ns.segmentation.document import HistoryEntry as HistoryEntry
from splatseg_ns.segmentation.document import ObjectRef as ObjectRef
from splatseg_ns.segmentation.document import Segmentation as Segmentation
from splatseg_ns.segmentation.document import fingerprint_of as fingerprint_of
from splatseg_ns.segmentation.neighbours import Neighbourhood as Neighbourhood
from splatseg_ns.segmentation.operations import Selection as Selection
from splatseg_ns.segmentation.scene_object import Provenance as Provenance
from splatseg_ns.segmentation.scene_object import SceneObject as SceneObject
from splatseg_ns.segmentation.scene_object import unique_name as unique_name
from splatseg_ns.segmentation.session import EditingSession as EditingSession
from splatseg_ns.segmentation.store import SegmentationStore as SegmentationStore
