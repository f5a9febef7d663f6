"""Interactive panels for JupyterLab."""

from sernb.lab.browser import browse_clips
from sernb.lab.browser import effect_settings
from sernb.lab.checker import check_corpus
from sernb.lab.importer import import_folder
from sernb.lab.predictor import SOURCES
from sernb.lab.predictor import predict_clip
from sernb.lab.recorder import PARTIAL_TAKES
from sernb.lab.recorder import Microphone
from sernb.lab.recorder import record_clips
from sernb.lab.trainer import train_model
from sernb.lab.widgets import ClipView
from sernb.lab.widgets import EditTable
from sernb.lab.widgets import report_errors
from sernb.lab.widgets import show_or_describe
