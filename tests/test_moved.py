"""Old import paths: each warns, names the new ones and hands out the very same objects; nothing of ours uses them."""
import importlib
import json
import re
import sys

import pytest

from book import ROOT, chapters
from posebook import MOVED


def file_of(module):
    """The file of a module of the project, or None."""
    path = ROOT / module.replace('.', '/')
    return next((p for p in (path.with_suffix('.py'), path / '__init__.py') if p.exists()), None)


GONE = [old for old in MOVED if not file_of(old)]


def test_no_module_has_moved_and_stayed():
    assert [old for old in MOVED if file_of(old)] == []


@pytest.mark.parametrize('old', MOVED)
def test_an_old_path_leads_to_the_new_ones(old):
    if old not in GONE:
        pytest.skip(f'{old} is a file still')
    assert all(file_of(home) for home in MOVED[old]), MOVED[old]
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning) as caught:
        module = importlib.import_module(old)
    said = str(caught[0].message)
    assert old in said and all(home in said for home in MOVED[old])
    handed_out = set()
    for home in map(importlib.import_module, MOVED[old]):
        for name in home.__all__:
            if name not in handed_out:  # the first home wins
                assert getattr(module, name) is getattr(home, name), f'{home.__name__}.{name}'
            handed_out.add(name)
    assert handed_out
    with pytest.raises(AttributeError, match=f"'{re.escape(old)}' has no attribute 'no_such_name'.*moved to"):
        module.no_such_name


def test_nothing_of_ours_uses_an_old_path():
    texts = {p.name: p.read_text(encoding='utf-8') for p in (ROOT / 'posebook').rglob('*.py')
             if p != ROOT / 'posebook/__init__.py'}
    texts |= {p.name: '\n'.join(''.join(c['source']) for c in json.loads(p.read_text(encoding='utf-8'))['cells'])
              for p in chapters()}
    texts['README.md'] = (ROOT / 'README.md').read_text(encoding='utf-8')
    old = re.compile('|'.join(rf'\b{re.escape(name)}\b' for name in GONE) or '(?!)')
    assert {name: sorted(set(old.findall(text))) for name, text in texts.items() if old.search(text)} == {}
