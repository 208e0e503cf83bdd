"""Build posebook from settings.ini, the one source of version and requirements.

The wheel also carries the book: `nbs/` and `data_samples/` become the package data of `posebook.nbs` and `posebook.data_samples`.
"""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read('settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']


def files_below(folder, *patterns):
    """Paths below `folder` that the wheel carries, relative to it."""
    root = Path(folder)
    found = {p.relative_to(root).as_posix() for pattern in patterns for p in root.rglob(pattern)
             if p.is_file() and '.ipynb_checkpoints' not in p.parts}
    return sorted(found)


setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    url=cfg['git_url'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=cfg['keywords'].split(),
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Education',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
    ],
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(),
    extras_require={extra: cfg[f'{extra}_requirements'].split() for extra in ('dev', 'timm')},
    entry_points={'console_scripts': cfg['console_scripts'].split()},
    packages=find_packages(include=['posebook', 'posebook.*']) + ['posebook.nbs', 'posebook.data_samples'],
    package_dir={'posebook': 'posebook', 'posebook.nbs': 'nbs',
                 'posebook.data_samples': 'data_samples'},
    package_data={
        'posebook': ['py.typed', '**/static/*', 'static/*'],
        'posebook.nbs': files_below('nbs', '*.ipynb', '*.png', '*.css'),
        'posebook.data_samples': files_below('data_samples', '*'),
    },
    zip_safe=False,
)
