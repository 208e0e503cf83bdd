"""The codecs' work done one keypoint at a time, to compare their values and their speed with.

The loops are written, and explained, in the chapter on speed (nbs/9_studies/904_codec_speed.ipynb). Its cells that
begin with `# loop` are run here, so that there is one copy of them.
"""
import json
from pathlib import Path

import cv2  # noqa: F401  (the cells use both)
import numpy as np  # noqa: F401

CHAPTER = Path(__file__).resolve().parent.parent / 'nbs/9_studies/904_codec_speed.ipynb'
NAMES = ('encode_by_loop', 'encode_dark_by_loop', 'encode_udp_by_loop', 'encode_megvii_by_loop',
         'encode_simcc_by_loop', 'decode_by_loop', 'decode_udp_by_loop')


def run_loop_cells(chapter, names, namespace):
    """Run a notebook's cells that begin with `# loop` in `namespace`; `ImportError` unless they define `names`."""
    if not chapter.exists():
        raise ImportError(f'{chapter} is missing: the loops that codecs are compared with are defined there')
    for cell in json.loads(chapter.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and source.startswith('# loop\n'):
            exec(compile(source, f'{chapter.name}, cell {cell.get("id")}', 'exec'), namespace)
    if missing := [name for name in names if name not in namespace]:
        raise ImportError(f'{chapter.name} defines no {", ".join(missing)} in a cell that begins with "# loop". '
                          'If a loop was renamed there, rename it in tests/loops.py too')


run_loop_cells(CHAPTER, NAMES, globals())
