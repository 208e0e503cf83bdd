"""Weights in files: read without running any code, from a path or an address, into a network."""

from .loading import init_weights, load_checkpoint, save_checkpoint
from .reader import load_checkpoint_file, save_atomically, unwrap_state_dict
from .report import CheckpointMismatchError, LoadReport, likely_causes
from .sources import cached_path, download, read_checkpoint, resolve_source, torchvision_url

__all__ = [
    'CheckpointMismatchError', 'LoadReport', 'cached_path', 'download', 'init_weights',
    'likely_causes', 'load_checkpoint', 'load_checkpoint_file', 'read_checkpoint',
    'resolve_source', 'save_atomically', 'save_checkpoint', 'torchvision_url',
    'unwrap_state_dict'
]
