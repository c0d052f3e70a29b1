"""Masks in 2D: what folders hold, without any splat."""

from splatseg_ns.masks.embedding_cache import CachedSegmenter as CachedSegmenter
from splatseg_ns.masks.features import Averaged as Averaged
from splatseg_ns.masks.features import CachedFeatures as CachedFeatures
from splatseg_ns.masks.features import FeatureExtractor as FeatureExtractor
from splatseg_ns.masks.features import FeatureName as FeatureName
from splatseg_ns.masks.features import features_named as features_named
from splatseg_ns.masks.folder import LabelFolder as LabelFolder
from splatseg_ns.masks.folder import LabelFolderConfig as LabelFolderConfig
from splatseg_ns.masks.inpainter import Inpainter as Inpainter
from splatseg_ns.masks.inpainter import inpainter_named as inpainter_named
from splatseg_ns.masks.label_name import Color as Color
from splatseg_ns.masks.label_name import LabelName as LabelName
from splatseg_ns.masks.label_name import as_color as as_color
from splatseg_ns.masks.label_name import default_color as default_color
from splatseg_ns.masks.overlap import OverlapRule as OverlapRule
from splatseg_ns.masks.rle import decode_rle as decode_rle
from splatseg_ns.masks.segmenter import Candidates as Candidates
from splatseg_ns.masks.segmenter import Embedding as Embedding
from splatseg_ns.masks.segmenter import Prompts as Prompts
from splatseg_ns.masks.segmenter import Segmenter as Segmenter
from splatseg_ns.masks.segmenters import SegmenterName as SegmenterName
from splatseg_ns.masks.segmenters import segmenter_named as segmenter_named
from splatseg_ns.masks.writer import write_label_folder as write_label_folder
from splatseg_ns.masks.writer import write_label_map as write_label_map
