"""Human pose estimation: a book that is also the library."""
import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

__version__ = "0.1.0"

# modules that moved, and where their names are now; the old paths go with the next release
MOVED = {
    'posebook.config_reader': ['posebook.config.reader'],
    'posebook.safe_eval': ['posebook.config.safe_eval'],
    'posebook.codecs.checks': ['posebook.testing.codecs', 'posebook.codecs.base'],
    'posebook.datasets.coco': ['posebook.datasets.base', 'posebook.datasets.coco_file',
                               'posebook.datasets.coco_style', 'posebook.datasets.body'],
    'posebook.datasets.metainfo': ['posebook.structures.metainfo'],
    'posebook.datasets.synthetic': [
        *(f'posebook.synthetic.{name}' for name in (
            'dataset', 'scenes', 'scenery', 'bodies', 'drawing', 'camera', 'poses')),
        'posebook.files', 'posebook.book.places'],
    'posebook.datasets.transforms.common': [
        f'posebook.datasets.transforms.{name}'
        for name in ('augmentation', 'base', 'loading', 'topdown', 'targets', 'compose')],
    'posebook.engine.mini': ['posebook.engine.recipes.mini'],
    'posebook.models.checkpoints': [
        f'posebook.checkpoints.{name}' for name in ('loading', 'reader', 'sources', 'report')],
    'posebook.widgets.hrnet_explorer': [
        f'posebook.widgets.hrnet.{name}' for name in ('explorer', 'parts', 'recording', 'drawing')],
}


class _Moved:
    """Finds modules under the paths that they had before: last in line, when no file has them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return ModuleSpec(name, _Moved) if name in MOVED else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        old, homes = module.__name__, MOVED[module.__name__]
        warnings.warn(f'{old} has moved to {" and ".join(homes)}; the old path goes with the next '
                      'release', DeprecationWarning, stacklevel=2)

        def find(name):
            for home in map(importlib.import_module, homes):
                if name in vars(home):
                    return vars(home)[name]
            raise AttributeError(f'module {old!r} has no attribute {name!r}; it has moved to '
                                 f'{" and ".join(homes)}')

        module.__getattr__ = find
        module.__doc__ = f'Moved to {" and ".join(homes)}'


sys.meta_path.append(_Moved)
