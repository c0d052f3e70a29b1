"""What is done with objects once they are labelled."""

from splatseg_ns.edit.added import rows_of_part as rows_of_part
from splatseg_ns.edit.added import with_added as with_added
from splatseg_ns.edit.extract import ExportedObject as ExportedObject
from splatseg_ns.edit.extract import decided_labels as decided_labels
from splatseg_ns.edit.extract import export_objects as export_objects
from splatseg_ns.edit.extract import file_stem as file_stem
from splatseg_ns.edit.extract import gamma_of as gamma_of
from splatseg_ns.edit.extract import isolate_by_masks as isolate_by_masks
from splatseg_ns.edit.extract import isolate_by_votes as isolate_by_votes
from splatseg_ns.edit.extract import last_labelling as last_labelling
from splatseg_ns.edit.extract import name_of_objects as name_of_objects
from splatseg_ns.edit.extract import with_gamma as with_gamma
from splatseg_ns.edit.inpaint import InpaintConfig as InpaintConfig
from splatseg_ns.edit.inpaint import Inpainted as Inpainted
from splatseg_ns.edit.inpaint import NoHoleError as NoHoleError
from splatseg_ns.edit.inpaint import inpaint as inpaint
from splatseg_ns.edit.part import extraction as extraction
from splatseg_ns.edit.part import part_of as part_of
from splatseg_ns.edit.part import removal as removal
from splatseg_ns.edit.part import rows_of_objects as rows_of_objects
from splatseg_ns.edit.taken import Take as Take
from splatseg_ns.edit.taken import Taken as Taken
from splatseg_ns.edit.taken import taken_with as taken_with
