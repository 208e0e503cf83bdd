"""Configs: what is read, what is refused and how quickly, inheritance, overrides, differences, and models built from them."""
import copy
import json
import math
import os
import pickle
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posebook.config import (MAX_DEPTH, MAX_FILE, MAX_ITEMS, MAX_WORK, Budget, Config, ConfigDict, ConfigError, FileReader, count_items,
                             diff_configs, is_name, merge, parse_overrides, parse_value)


def read(text):
    return Config.fromstring(text).to_dict()


def value(expression):
    return read(f'x = {expression}')['x']


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Writes files into a folder, which is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f'{name}.py').write_text(text)
        return tmp_path
    return write


# ------------------------------------------------------------------------- expressions
@pytest.mark.parametrize('expression, expected', [
    ("dict(a=1, b=[2, (3, )], **{'c-d': {4}})", {'a': 1, 'b': [2, (3,)], 'c-d': {4}}),
    ('2 ** 10 - 7 // 2 * 3 % 5 + 1 / 4', 2 ** 10 - 7 // 2 * 3 % 5 + .25),
    ('1 << 4 | 3 & 2 ^ 1', 1 << 4 | 3 & 2 ^ 1),
    ('not 1 > 2 <= 3 and (0 or "b") in "abc"', True),
    ('[1, 2, 3][::-1] + [*range(2)] + list((4, 5)[:1])', [3, 2, 1, 0, 1, 4]),
    ('"a" if None is not None else {**dict(b=1)}', {'b': 1}),
    ("f'{1 + 1:03d}-{\"x\"!r}-{3.14159:.2f}-{[1]}'", "002-'x'-3.14-[1]"),
    ("'%s_%03d %5.1f%%' % ('w', 7, 2.25)", 'w_007   2.2%'),
    ("'%(a)s' % dict(a=1)", '1'),
    ("'{}x{}'.format(3, 4) + '{1}{0}'.format(1, 2) + '{w:>3}'.format(w=5)", '3x421  5'),
    ("'-'.join(['a', 'b']).upper().replace('A', 'cc').split('-')", ['cc', 'B']),
    ("'a b'.split(sep=' ', maxsplit=1) + 'xax'.strip('x').split()", ['a', 'b', 'a']), ("'ab'.startswith('a') and 'ab'.endswith(('b', 'c'))", True),
    ('[(i, j) for i in range(3) if i for j in range(i)]', [(1, 0), (2, 0), (2, 1)]),
    ('{k: v for k, v in zip("ab", range(2))}', {'a': 0, 'b': 1}),
    ('{i % 2 for i in range(5)}', {0, 1}),
    ('sorted({"b": 1, "a": 2}.items()) + list(enumerate("xy", 1))', [('a', 2), ('b', 1), (1, 'x'), (2, 'y')]),
    ('[max(1, 2), min([3, 4]), sum([1, 2.5]), abs(-1), round(2.567, 1), len("abc")]', [2, 3, 3.5, 1, 2.6, 3]),
    ('sum([[1], [2]], []) + list(reversed(range(2)))', [1, 2, 1, 0]), ('sum([(1, ), (2, 3)], (0, ))', (0, 1, 2, 3)),
    ('[int("7"), float("1e-3"), str(5), bool([]), tuple([1]), set([1]), list("ab")]',
     [7, 1e-3, '5', False, (1,), {1}, ['a', 'b']]),
    ('dict(a=1).get("b", 2), dict(a=1) | dict(b=2)', (2, {'a': 1, 'b': 2})),
    ('tuple(int(v * 0.5) for v in (64, 128))', (32, 64)),
])
def test_expressions_mean_what_python_means(expression, expected):
    assert value(expression) == expected and type(value(expression)) is type(expected)


def test_statements():
    assert read('''
"""A docstring."""
a = b = 2
c, (d, e) = (1, 2) if a != b else (1, (2, 3))
''') == dict(a=2, b=2, c=1, d=2, e=3)
    assert read('''
x: int = 3
x += 1
m = dict(n=dict(k=[1]))
m.n.k += [2]
m['n'].j = m.n['k'][-1]
m.update(z=1, **{'y': 2})
stages = []
for i, w in enumerate([32, 64]):
    if w > 32:
        stages.append(dict(i=i, w=w))
    else:
        pass
del i, w, m.z
''') == dict(x=4, m=dict(n=dict(k=[1, 2], j=2), y=2), stages=[dict(i=1, w=64)])


def test_a_loop_goes_over_a_copy():
    assert read('x = [1, 2]\nfor i in x:\n    x += x') == dict(x=[1, 2] * 4, i=2)


def test_names_of_a_comprehension_end_with_it_and_those_of_a_loop_stay():
    assert read('i = 7\nx = [i for i in range(3)]') == dict(i=7, x=[0, 1, 2])
    assert read('for i in range(3):\n    x = i') == dict(i=2, x=2)


def test_aliases_are_python_s_while_reading_and_copies_afterwards():
    cfg = Config.fromstring('a = [1]\nb = a\nb.append(2)\nc = dict(a=a, b=a)\nb += [3]')
    assert cfg.a == cfg.b == cfg.c.a == [1, 2, 3]
    cfg.a.append(4)
    assert cfg.b == cfg.c.a == cfg.c.b == [1, 2, 3]
    assert Config.fromstring(cfg.dump()) == cfg


# ------------------------------------------------------------------------- refusals
ATTACKS = [
    "import os\nos.system('touch owned')", "from os import system\nsystem('touch owned')",
    "x = __import__('os').system('touch owned')", "open('owned', 'w')", "eval('open(\"owned\", \"w\")')",
    "exec('open(\"owned\", \"w\")')", "compile('1', 'a', 'exec')", "x = (lambda: open('owned', 'w'))()",
    "def f():\n    open('owned', 'w')\nx = f()", "class A:\n    x = open('owned', 'w')",
    "x = ().__class__.__base__.__subclasses__()", "x = [].append.__self__", "x = dict.fromkeys('ab')", "x = ''.__len__()",
    "x = '{0.__class__}'.format(1)", "x = '{0[__class__]}'.format({})", "x = '{.real}'.format(1)", "x = f'{().__class__}'",
    "x = getattr(1, 'real')", "x = globals()", "x = vars()", "x = type(1)", "x = print", "x = str.format", "x = dict",
    "with open('owned', 'w') as f:\n    pass", "while True:\n    pass", "try:\n    x = 1\nfinally:\n    open('owned', 'w')",
    "x = sorted([2, 1], key=open)", "x = (y := open('owned', 'w'))", "async def f():\n    pass", "global x", "assert 1", "raise 1",
    "x = yield 1", "x = await_ if 0 else await_", "x = 1j", "x = b'a'", "x = ...", "@open\ndef f():\n    pass", "x = [] @ []",
    "x = (-1) ** 0.5", "x = '%c' % 65", "x = '%*d' % (10, 1)", "x = '{:{}}'.format(1, 10)", "__builtins__['open']('owned', 'w')",
    "[open for open in [1]][0]('owned')", "dict = open\ndict('owned', 'w')", "x = 'a'.encode()", "x = [1].__iter__()",
]


@pytest.mark.parametrize('text', ATTACKS)
def test_nothing_is_run(text, family):
    folder = family(evil='a = 1\n' + text)
    with pytest.raises(ConfigError) as e:
        Config.fromfile('evil.py')
    assert not (folder / 'owned').exists()
    assert str(e.value).startswith('evil.py, line ') and 2 <= e.value.lineno <= 3
    line = str(e.value).split('\n')[1]
    assert line.startswith('    ') and line.strip() in text


@pytest.mark.parametrize('text, words', [
    ("x = open('a')", 'open() must not be called'), ("import os", 'a type is a name'),
    ("os.system('a')", 'os.system() must not be called'), ("x = ().__class__", '.__class__ is not allowed'),
    ("x = lambda: 1", 'lambda is not allowed'), ("x = y", 'the name y is not defined'),
    ("x = 'a'.zfill(3)", '.zfill() must not be called'), ("while True:\n    pass", 'use for')])
def test_a_refusal_says_what_is_allowed(text, words):
    with pytest.raises(ConfigError) as e:
        read(text)
    assert words in str(e.value) and 'line 1' in str(e.value)
    assert '.__class__' in text or 'nothing in it is imported or run' in str(e.value)


@pytest.mark.parametrize('text', ['from mmengine.config import read_base\nwith read_base():\n    from .base import *',
                                  'from .base import *', 'with read_base():\n    from ..base import model'])
def test_the_new_style_is_named(text):
    with pytest.raises(ConfigError, match="new style .*not supported.*\n?.*older style"):
        read(text)


@pytest.mark.parametrize('text, words', [
    ('x = 1 / 0', 'division by zero'), ("x = dict(a=1)['b']", "no key 'b'"), ('x = [1][3]', 'index out of range'),
    ('x = dict(a=1, a=2)', 'the argument a is given twice'), ("x = 1 + 'a'", 'unsupported operand'), ('x = {[]: 1}', 'unhashable'),
    ('a, b = 1, 2, 3', '3 values for 2 names'), ('for i in 3:\n    pass', 'no items'), ('x = (1)[0]', 'not subscriptable'),
    ('x = dict(1)', 'not iterable'), ('f() = 1', 'not Python'), ('x = [1', 'not Python'), ('x = 5\nx.a = 1', 'cannot be changed'),
    ('x = "a"\nx[0] = "b"', 'cannot be changed'), ('x = int("many")', 'invalid literal'), ('a = [1]\na[0:1] = [2]', 'only names')])
def test_mistakes_have_a_place(text, words):
    with pytest.raises(ConfigError, match='line [12]: ') as e:
        read(text)
    assert words in str(e.value)


# ------------------------------------------------------------------------- limits
def deep(n):
    return f'a = []\nfor i in range({n}):\n    a = [a]\n'


BOMBS = {
    'text': "x = 'a' * 10**9", 'list': 'x = [0] * 10**9', 'tuple': 'x = 10**9 * (0, )', 'power': 'x = 10**10**10',
    'power of one step': 'x = 7 ** 10**8', 'shift': 'x = 1 << 10**10', 'squares': 'x = 3\nfor i in range(60):\n    x *= x',
    'range': 'x = range(10**9)', 'endless range': 'x = list(range(10**30))', 'sum of a range': 'x = sum(range(10**12))',
    'len of a range': 'x = len(range(10**30))', 'width': "x = f'{1:>1000000000}'", 'percent width': "x = '%1000000000d' % 1",
    'percent precision': "x = '%.1000000000f' % 1", 'format width': "x = '{:>1000000000}'.format(1)",
    'nested format': "x = f'{1:{10**9}}'", 'round': 'x = round(5, -10**9)', 'int of a text': "x = int('9' * 900000)",
    'loops': 'x = [0 for a in range(999) for b in range(999) for c in range(999)]',
    'nested loops': 'x = sum([sum([1 for b in range(9999)]) for a in range(9999)])',
    'for': 'for i in range(99999):\n    for j in range(99999):\n        x = i',
    'doubled text': "x = 'lol'\nfor i in range(60):\n    x += x", 'doubled list': 'x = [0]\nfor i in range(60):\n    x = x + x',
    'laughs': 'x = [0]\nfor i in range(60):\n    x = [x, x]', 'laughing dicts': 'x = 0\nfor i in range(60):\n    x = dict(a=x, b=x)',
    'printed laughs': "x = [0]\nfor i in range(60):\n    x = [x, x]\ny = str(x)", 'formatted laughs': "x = [0]\nfor i in range(60):\n    x = [x, x]\ny = f'{x}'",
    'compared laughs': 'x = [0]\ny = [0]\nfor i in range(60):\n    x = [x, x]\n    y = [y, y]\nz = x == y',
    'hashed laughs': 'x = (0, )\nfor i in range(60):\n    x = (x, x)\nz = {x: 1}', 'indexed laughs': 'x = (0, )\nfor i in range(60):\n    x = (x, x)\nz = {}[x]',
    'laughing keys': 'x = (0, )\nfor i in range(60):\n    x = (x, x)\nz = {i: 1 for i in [x]}', 'laughs in a set': 'x = (0, )\nfor i in range(60):\n    x = (x, x)\nz = {i for i in [x]}',
    'sought laughs': 'x = (0, )\ny = (0, )\nfor i in range(60):\n    x = (x, x)\n    y = (y, y)\nz = [x].index(y)',
    'replace': "x = ('a' * 1000).replace('a', 'b' * 10000)", 'replace nothing': "x = ('a' * 1000).replace('', 'b' * 10000)",
    'join': "x = ('a' * 10000).join(['b'] * 10000)", 'many formats': "x = ('{0}' * 10000).format('a' * 10000)",
    'many percents': "x = ('%(a)s' * 10000) % dict(a='a' * 10000)", 'many stars': 'a = [0] * 90000\nx = [' + '*a, ' * 9000 + ']',
    'many stars in a dict': 'a = dict(zip(range(9000), range(9000)))\nx = {' + '**a, ' * 9000 + '}',
    'many sums': 'a = [0] * 90000\nfor i in range(9999):\n    b = a + [i]', 'many copies': 'a = list(range(90000))\nx = [len(a[:]) for i in range(9999)]',
    'many looks': 'a = list(range(90000))\nx = [-1 in a for i in range(9999)]', 'many extends': 'a = [0] * 9000\nfor i in range(9999):\n    a += a[:1]\n    a.insert(0, 1)',
    'sum of lists': 'x = sum([[i] for i in range(99999)], [])\ny = [sum([x], []) for i in range(9999)]',
    'sum of tuples': 'x = sum([(0, )] * 90000, ())', 'itself': 'a = []\na.append(a)', 'itself printed': 'a = []\na.append(a)\na.append(a)\nx = f"{a}"',
    'itself compared': 'a = []\nb = []\na.extend([a, a])\nb.extend([b, b])\nx = a == b', 'deep value': deep(1000), 'deep print': deep(9999) + 'x = str(a)',
    'deep brackets': 'x = ' + '[' * 150 + ']' * 150, 'unary': 'x = ' + '-' * 50000 + '1', 'plus': 'x = 1' + '+1' * 50000, 'dots': 'x = a' + '.a' * 50000,
    'deep sum': 'x = 1' + '+1' * 900, 'braces': '{' * 90 + ':', 'digits': 'x = ' + '9' * 9000,
    'find much': "x = ('a' * 900000).strip('b' * 900000)", 'many texts': "x = ['a' * 900000 for i in range(9999)]", 'long path': "_base_ = 'a' * 90000 + '.py'",
    'long key': "x = dict()['a' * 900000]", 'spaces': "x = '{{$a" + ' ' * 200000 + "'\ny = 1 / 0", 'braces in a text': "x = '" + '{{' * 99999 + "'\ny = 1 / 0",
    'large callee': 'for i in range(99999):\n    x = {' + '1: 2, ' * 9999 + '}.get(1)', 'null': 'x = "\0"', 'many names': '\n'.join(f'x{i} = {{{i}: x{i - 1}}}' if i else 'x0 = 1' for i in range(9999)),
    'formats cut off': "x = list(range(90000))\ny = ('{0!s:.1}' * 10000).format(x)",
    'percents cut off': "x = list(range(90000))\ny = ('%(a).1s' * 10000) % dict(a=x)",
    'f-strings cut off': "x = list(range(90000))\nfor i in range(99999):\n    y = f'{x!s:.1}'",
    'many targets': 'for i in range(99999):\n    ' + 'a = ' * 100000 + '1',
    'unpacked targets': 'x = [0] * 9999\nfor i in range(99999):\n    ' + 'a, ' * 9999 + ' = x',
    'long constant in a loop': "for i in range(99999):\n    x = '{{" + 'a' * 400000 + "'",
    'templates in a loop': "for i in range(99999):\n    x = '" + '{{ a }}' * 50000 + "'",
    'plain constant in a loop': "for i in range(99999):\n    x = '" + 'a' * 400000 + "'",
    'deleted from the front': 'x = list(range(99999))\nfor i in range(99999):\n    del x[0]\nfor i in range(10**9):\n    pass',
    'popped from the front': 'x = list(range(99999))\nfor i in range(99999):\n    x.pop(0)\nfor i in range(10**9):\n    pass',
    'many ints': "x = [int('9' * 900) for i in range(99999)]",
    'float of a text': "for i in range(99999):\n    x = float('9' * 900000)",
    'many statements': 'x=1;' * 131000 + '\nx = 1/0',
    'joined': "x = ['a' * 9] * 90000\nfor i in range(99999):\n    y = ''.join(x)",
    'nested comprehensions': 'x = [[[[0 for a in range(300)] for b in range(300)] for c in range(300)] for d in range(300)]',
    'conditions': 'x = [0 for a in range(99999) if ' + '1 and ' * 50000 + '0]',
    'set of sets': 'x = {tuple(range(i)) for i in range(9999)}',
    'sorted often': 'x = list(range(90000))\nfor i in range(99999):\n    x.sort()\n    x.reverse()',
    'dict union': 'x = {i: i for i in range(9000)}\nfor i in range(99999):\n    y = x | x',
    'dict copies': 'x = {i: i for i in range(9000)}\nfor i in range(99999):\n    y = {**x}',
    'dict calls': "x = {f'k{i}': i for i in range(9000)}\nfor i in range(99999):\n    y = dict(**x)",
    'counted': "x = 'a' * 900000\nfor i in range(99999):\n    y = x.count('a')",
    'upper': "x = 'a' * 900000\nfor i in range(99999):\n    y = x.upper()",
    'zip': 'x = [0] * 9000\nfor i in range(99999):\n    y = zip(x, x, x, x)',
    'sum often': 'x = [0] * 90000\nfor i in range(99999):\n    y = sum(x)',
    'slices': 'x = [0] * 90000\nfor i in range(99999):\n    y = x[::2]',
    'stars': 'x = [0] * 90000\nfor i in range(99999):\n    y = max(*x)',
    'unpack big': 'x = [0] * 90000\nfor i in range(99999):\n    a, b = x',
    'long names': 'for i in range(99999):\n    ' + 'a' * 400000 + ' = 1',
    'round floats': 'for i in range(10**5):\n    for j in range(10**5):\n        x = round(1e308, -100)',
    'int of a float': 'x = int(1e308)', 'mult of a float': 'x = 1e308 * 10\ny = int(x)',
    'lstrip': "x = ('b' * 900000).lstrip('a' * 900 + 'b')\nfor i in range(99999):\n    y = ('b' * 900000).lstrip('a' * 900 + 'b')",
    'find': "x = 'a' * 900000\nfor i in range(99999):\n    y = x.find('a' * 900 + 'b')",
    'in': "x = 'a' * 900000\nfor i in range(99999):\n    y = 'a' * 90000 + 'b' in x",
    'splitlines': "x = 'a\\n' * 90000\nfor i in range(99999):\n    y = x.splitlines()",
    'replace chain': "x = 'a'\nfor i in range(99):\n    x = x.replace('a', 'aa')",
    'compared texts': "x = 'a' * 900000\ny = 'a' * 900000\nfor i in range(99999):\n    z = x + '' == y",
    'grown by aug': "x = [0]\nfor i in range(99):\n    x += x", 'grown by mul': "x = [0]\nfor i in range(99):\n    x *= 2",
    'dict grown': "x = dict()\nfor i in range(10**5):\n    x[i] = i\nfor i in range(10**5):\n    x[-i] = i",
    'list grown': "x = []\nfor i in range(10**5):\n    x.append(i)\nfor i in range(10**5):\n    x.append(i)",
    'annotations': 'x: ' + '1+' * 900 + '1 = 1\ny = 1/0',
    'ifs': 'for i in range(99999):\n    if 1 if 1 else 1:\n        for j in range(99999): pass',
    'setdefault': 'x = dict()\nfor i in range(99999):\n    for j in range(99999):\n        x.setdefault(j, []).append(i)',
    'bytes of ints': "x = [2**64] * 90000\nfor i in range(99999):\n    y = str(x)",
    'titles': "x = [2.0**-1074] * 90000\nfor i in range(99999):\n    y = f'{x}'",
    'percent of numbers': "for i in range(99999):\n    for j in range(99999):\n        x = '%.999f' % 1e308",
}


class Hangs(BaseException):
    """What a watchdog raises: no error that anybody catches on the way."""


@pytest.fixture
def watchdog():
    """Ends a test that hangs; what it guards takes a tenth of the time."""
    def bark(*args):
        raise Hangs
    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize('name', BOMBS)
@pytest.mark.slow
def test_limits(name, watchdog):
    """Refused for what it would cost, before the budget is overdrawn by more than one value's worth."""
    budget = Budget()
    with pytest.raises(ConfigError) as e:
        FileReader(BOMBS[name], budget=budget).read()
    assert -MAX_ITEMS <= budget.left < MAX_WORK
    assert len(str(e.value)) < 2000


@pytest.mark.slow
def test_limits_can_be_raised(tmp_path):
    loop = 'x = 0\nfor i in range(90000):\n    x = x + i + i + i'
    with pytest.raises(ConfigError, match='500,000 steps, and each file costs 2,000.*limit=10'):
        Config.fromstring(loop)
    assert Config.fromstring(loop, limit=10).i == 89999
    (tmp_path / 'long.py').write_text('# ' + 'x' * MAX_FILE + '\nx = 1')
    with pytest.raises(ConfigError, match='524,288 letters, and this has more.*limit=10'):
        Config.fromfile(tmp_path / 'long.py')
    assert Config.fromfile(tmp_path / 'long.py', limit=2).x == 1
    for wrong in (0, -1, math.nan, math.inf, 'much', None, True):
        with pytest.raises(ValueError, match='Config: limit must be a number above 0; got'):
            Config.fromfile(tmp_path / 'long.py', limit=wrong)


def test_the_dumps_of_the_largest_published_models_are_read():
    """RTMW's: 14 data sets, described four times with a pipeline each, one number on a line: 343,000 letters."""
    pipeline = 'pipeline=[\n' + "    dict(\n        mapping=[\n" + ''.join(
        f'            (\n                {i},\n                {i},\n            ),\n' for i in range(100)) + "        ],\n        type='KeypointConverter'),\n]"
    text = '\n'.join(f"{name} = dict(datasets=[\n" + ''.join(f"dict(type='D{i}', {pipeline}),\n" for i in range(14)) + '])'
                     for name in ('train', 'val', 'test', 'again'))
    assert 343_000 < len(text) < MAX_FILE
    cfg = Config.fromstring(text)
    assert cfg.again.datasets[13].pipeline[0].mapping[99] == (99, 99) and Config.fromstring(cfg.dump()) == cfg


@pytest.mark.slow
def test_limits_in_memory():
    """All bombs in one process that may have half a gigabyte more than it starts with."""
    code = ('import resource, sys; sys.path.insert(0, "tests"); from test_config import BOMBS, read, ConfigError\n'
            'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
            'for text in BOMBS.values():\n    if "range(99999)" in text: continue\n'
            '    try: read(text)\n'
            '    except ConfigError: continue\n'
            '    sys.exit(1)\n'
            'print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(__file__)),
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p)))
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 500  # MB; half a million letters make a large tree


def test_large_files_and_files_that_are_none(tmp_path):
    (tmp_path / 'large.py').write_text('x = 1  # ' + 'x' * MAX_FILE)
    with pytest.raises(ConfigError, match='letters, and this has more'):
        Config.fromfile(tmp_path / 'large.py')
    (tmp_path / 'binary.py').write_bytes(b'\xff\xfe\x00')
    os.mkfifo(tmp_path / 'pipe.py')  # reading it would wait for ever
    (tmp_path / 'bom.py').write_bytes(b'\xef\xbb\xbfx = 1')
    assert Config.fromfile(tmp_path / 'bom.py').x == 1
    for name, words in (('binary.py', 'binary.py: this is not text'), ('pipe.py', 'no such file'), ('none.py', 'no such file'), ('config.yaml', 'a .py or a .json file'), ('', 'a .py or a .json')):
        with pytest.raises(ConfigError, match=words):
            Config.fromfile(tmp_path / name)


def test_a_doubling_tree_of_bases_ends(family):
    family(**{f'f{i}': f"_base_ = ['f{i + 1}.py', 'g{i + 1}.py']" for i in range(40)},
           **{f'g{i}': f"_base_ = ['f{i + 1}.py', 'g{i + 1}.py']" for i in range(41)}, f40='a = 1')
    with pytest.raises(ConfigError, match='defines|no such file'):
        Config.fromfile('f0.py')


def bases_read(monkeypatch):
    """A list that fills with the names of the files that are opened."""
    import posebook.config.reader as reader
    seen, plain = [], reader.read_text
    monkeypatch.setattr(reader, 'read_text', lambda path, letters: (seen.append(path.name), plain(path, letters))[1])
    return seen


def test_a_base_that_is_named_twice_is_read_once(family, monkeypatch, watchdog):
    """41 files that each name two: 2**41 ways lead to the last."""
    seen = bases_read(monkeypatch)
    family(**{f'f{i}': f"_base_ = ['f{i + 1}.py', './f{i + 1}.py']\n_x = {i}" for i in range(41)}, f41='_x = [1]')
    assert Config.fromfile('f0.py') == {}
    assert seen == [f'f{i}.py' for i in range(42)]


@pytest.mark.parametrize('shape', ['chain', 'wide', 'through links', 'in a loop', 'one list'])
def test_bases_cost_what_they_cost(family, shape, watchdog, monkeypatch):
    seen = bases_read(monkeypatch)
    if shape == 'chain':
        family(**{f'f{i}': f"_base_ = 'f{i + 1}.py'" for i in range(300)}, f300='a = 1')
    elif shape == 'wide':
        family(f0=f'_base_ = {[f"f{i}.py" for i in range(1, 400)]}', **{f'f{i}': f'x{i} = 1' for i in range(1, 400)})
    elif shape == 'through links':  # each file has as many names as there are ways to it
        folder = family(**{f'f{i}': f"_base_ = ['x/f{i + 1}.py', 'y/f{i + 1}.py']" for i in range(30)}, f30='_a = 1')
        os.symlink('.', folder / 'x')
        os.symlink('.', folder / 'y')
    elif shape == 'in a loop':
        family(f0="for i in range(99999):\n    _base_ = ['f1.py'] * 50000", f1='_a = 1')
    else:
        family(f0="_base_ = ['f1.py'] * 90000", f1='_a = 1')
    with pytest.raises(ConfigError, match='too much work|levels|has more'):
        Config.fromfile('f0.py')
    assert len(seen) <= MAX_WORK / 2000


def test_a_shared_base_is_not_shared_in_the_result(family):
    family(a='_m = dict(k=[1])', b="_base_ = 'a.py'\nx = _base_._m", c="_base_ = 'a.py'\ny = _base_._m\ny.k.append(2)",
           d="_base_ = ['b.py', 'c.py']\nz = _base_._m\nz.k.append(3)")
    assert Config.fromfile('d.py') == dict(x=dict(k=[1]), y=dict(k=[1, 2]), z=dict(k=[1, 3]))


def test_the_largest_of_usual_configs_fit():
    """133 keypoints described in full, with a pipeline for each of ten data sets."""
    info = 'info = dict(' + ', '.join(f"k{i}=dict(name='point{i}', id={i}, color=[0, 128, 255], type='upper', swap='point{i}')" for i in range(300)) + ')\n'
    sets = 'sets = [' + ', '.join('dict(type="D", mapping=[' + ', '.join(f'({i}, {i + 1})' for i in range(133)) + '])' for _ in range(10)) + ']\n'
    cfg = Config.fromstring(info + sets + 'weights = [1.] * 133\nboth = dict(a=info, b=sets)')
    assert len(cfg.both.a) == 300 and len(cfg.sets[9].mapping) == 133


def test_count_items():
    assert count_items(5) == 1 and count_items([]) == 1 and count_items('a' * 100) == 11
    assert count_items({'a': [1, (2, 3)]}) == 1 + 1 + 2 + 2


# ------------------------------------------------------------------------- bases
def test_bases_merge(family):
    family(a="model = dict(type='A', head=dict(k=17, sizes=[1, 2, 3]), neck=None)\nlr = 1\n_private = 5",
           b="runtime = dict(seed=0)",
           c="_base_ = ['a.py', './b.py']\nmodel = dict(head=dict(sizes=[4]), extra=dict(_delete_=True, z=1))\nnum_keypoints = 17",
           d="_base_ = 'c.py'\nmodel = dict(head=dict(_delete_=True, type='H'))\nk = _base_.num_keypoints + _base_._private\nlr = dict(_delete_=True, a=dict(b=1))")
    c, d = Config.fromfile('c.py'), Config.fromfile('d.py')
    assert c == dict(model=dict(type='A', head=dict(k=17, sizes=[4]), neck=None, extra=dict(z=1)), lr=1, runtime=dict(seed=0), num_keypoints=17)
    assert d == dict(c, model=dict(c.model, head=dict(type='H')), k=22, lr=dict(a=dict(b=1)))
    assert list(c) == ['model', 'lr', 'runtime', 'num_keypoints']
    assert c.filename == 'c.py'


@pytest.mark.parametrize('text', ["_base_ = ('a.py', )", "_base_ = ['a.py'] + []", "_base_ = []\n_base_ += ['a.py']",
                                  "_base_ = [f'{name}.py' for name in 'a']", "if True:\n    _base_ = 'a.py'", "_base_ = 'sub/../a.py'"])
def test_ways_to_name_a_base(text, family):
    family(a='x = 1', b=text)
    assert Config.fromfile('b.py') == dict(x=1)


def test_paths_start_at_the_file_that_says_them(family):
    folder = family(base='x = 1')
    (folder / 'sub' / 'deep').mkdir(parents=True)
    (folder / 'sub' / 'b.py').write_text("_base_ = ['../base.py']")
    (folder / 'sub' / 'deep' / 'c.py').write_text(f"_base_ = ['../b.py', {str(folder / 'd.py')!r}]")
    family(d='y = 2')
    assert Config.fromfile('sub/deep/c.py') == dict(x=1, y=2) == Config.fromfile(folder / 'sub' / 'deep' / 'c.py')


@pytest.mark.parametrize('text, words', [
    ("_base_ = 'none.py'", 'none.py: there is no such file. A path in _base_ starts'), ("_base_ = 'b.py'", 'circle: b.py -> b.py'),
    ("_base_ = ['a.py', 'same.py']", 'same.py defines x, as another'), ("_base_ = 3", 'a path or a list of paths'), ("_base_ = None", 'a path or a list of paths'),
    ("x = [0]\nfor i in range(60):\n    x = [x, x]\n_base_ = [x]", 'too large'), ("_base_ = 'link.py'", 'circle: b.py -> link.py'), ("_base_ = 'round/b.py'", 'circle: b.py -> b.py'), ("_base_ = [3]", 'a path or a list of paths'),
    ("_base_ = ['a.py']\ny = x", 'Did you mean _base_.x?'), ("_base_ = ['a.py']\ny = _base_.z", "no key 'z'"), ("y = _base_.x", '_base_ is not defined'),
    ("_base_ = ['a.py']\nx = dict(a=1)", 'x is a dict in the child, but 1 in the base'), ("_base_ = ['a.py']\n_base_.m.k = 2", 'cannot be changed'),
    ("_base_ = ['a.py']\n_base_.m.update(k=2)", 'cannot be changed'), ("_base_ = ['a.py']\ndel _base_.m", 'cannot be changed'),
    ("_base_ = 'mmpose::a.py'", 'installed package'), ("_base_ = 'ring1.py'", 'circle: b.py -> ring1.py -> ring2.py -> ring1.py'),
    ("_base_ = ['a.py']\ny = {{_base_.m.none}}", 'the bases have no none'), ("y = '{{ fileName }}'", 'known are fileDirname'),
    ("y = '{{$HOME:/tmp}}'", 'the environment is not read'), ("_base_ = ['bad.py']", 'bad.py, line 2: division')])
def test_mistakes_with_bases(text, words, family):
    family(a='x = 1\nm = dict(k=1)', same='x = 2', b=text, ring1="_base_ = 'ring2.py'", ring2="_base_ = 'ring1.py'", bad='a = 1\nb = 1 / 0')
    os.symlink('b.py', 'link.py')
    os.symlink('.', 'round')
    with pytest.raises(ConfigError) as e:
        Config.fromfile('b.py')
    assert words in str(e.value)


def test_delete_goes_from_lists_as_well(family):
    """A codec that replaces its base's is the encoder in a pipeline, too."""
    family(a="codec = dict(type='A', sigma=2)\nmodel = dict(head=dict(decoder=codec))",
           b="_base_ = 'a.py'\ncodec = dict(_delete_=True, type='B')\nmodel = dict(head=dict(decoder=codec))\n"
             "pipeline = [dict(type='T', encoder=codec), (dict(levels=[codec]), )]")
    cfg = Config.fromfile('b.py')
    assert cfg == dict(codec=dict(type='B'), model=dict(head=dict(decoder=dict(type='B'))),
                       pipeline=[dict(type='T', encoder=dict(type='B')), (dict(levels=[dict(type='B')]), )])
    assert Config.fromstring(cfg.dump()) == cfg


@pytest.mark.parametrize('text, line, words', [
    ('a = 1\nx = []\nx.append(x)', 2, 'x: too large'), ('a = 1\nx = 1\nfor i in range(99):\n    x = [x]', 4, 'x: dicts and lists may be'),
    ('del dict', 1, 'the name dict is not defined'), ("x = '{0!z}'.format(1)", 1, 'conversion')])
def test_what_only_shows_at_the_end_has_a_place_too(text, line, words):
    with pytest.raises(ConfigError, match=words) as e:
        read(text)
    assert e.value.lineno == line


def test_what_is_taken_from_a_base_is_a_copy(family):
    family(a='m = dict(k=[1])', b="_base_ = 'a.py'\nn = _base_.m\nn.k.append(2)\no = {{_base_.m.k}}\np = _base_\np.m.k.append(3)")
    assert Config.fromfile('b.py') == dict(m=dict(k=[1]), n=dict(k=[1, 2]), o=[1], p=dict(m=dict(k=[1, 3])))


def test_templates(family):
    folder = family(a="codec = dict(size=(192, 256))\nname = 'hrnet'", my_exp='''
_base_ = ['a.py']
bare = {{_base_.codec.size}}
spaced = {{ _base_.codec }}
quoted = '{{_base_.codec.size}}'
partly = '{{_base_.name}}_{{ fileBasenameNoExtension }}'
files = ['{{ fileBasename }}', "{{fileExtname}}", '{{ fileDirname }}', {{ fileBasename }}]
other = '{{ something else }} {{}}'
sets = {1, 2}
''')
    cfg = Config.fromfile('my_exp.py')
    assert cfg.bare == cfg.quoted == (192, 256) and cfg.spaced == dict(size=(192, 256))
    assert cfg.partly == 'hrnet_my_exp' and cfg.other == '{{ something else }} {{}}' and cfg.sets == {1, 2}
    assert cfg.files == ['my_exp.py', '.py', str(folder), 'my_exp.py']
    with pytest.raises(ConfigError, match='this text has no file'):
        read("x = '{{ fileBasename }}'")


def test_json(family):
    folder = family(a='model = dict(type="A", k=1)')
    (folder / 'b.json').write_text(json.dumps({'_base_': ['a.py'], 'model': {'k': 2}, 'copy': '{{_base_.model.k}}', 'l': [1, None, 'x']}))
    assert Config.fromfile('b.json') == dict(model=dict(type='A', k=2), copy=1, l=[1, None, 'x'])
    family(c="_base_ = 'b.json'\nl = _base_.l[:1]")
    assert Config.fromfile('c.py').l == [1]
    assert Config.fromstring('{"a": {"b": 1}}', '.json').a.b == 1
    for text in ('[1]', '{"a": ', '{"a": ' * 5000, '{"_base_": 3}', '{"_base_": "none.py"}', '{"a": "{{_base_.x}}"}', '{"a": 1e999, "b": %s}' % ('9' * 5000), '{"a": [%s]}' % ('9' * 30)):
        with pytest.raises(ConfigError):
            Config.fromstring(text, '.json')


# ------------------------------------------------------------------------- Config
def test_access():
    cfg = Config(dict(a=dict(b=[dict(c=1)], t=(dict(d=2), ))))
    assert cfg.a.b[0].c == cfg['a']['b'][0]['c'] == 1 and cfg.a.t[0].d == 2
    assert cfg.get('z', 3) == 3 and 'a' in cfg and 'z' not in cfg and list(cfg.keys()) == ['a'] and dict(cfg.items()) == cfg
    cfg.z = dict(y=1)
    cfg['z']['x'] = [dict(w=1)]
    assert cfg.z.x[0].w == 1 and cfg.setdefault('q', dict(r=1)).r == 1
    cfg.q.r = 5
    assert cfg.q.r == 5 and cfg.pop('q') == dict(r=5) and cfg.pop('q', None) is None
    del cfg.z.x
    assert cfg.z == dict(y=1)
    with pytest.raises(AttributeError, match='did you mean a?'):
        cfg.aa
    with pytest.raises(AttributeError, match="cfg\\['keys'\\]"):
        cfg.keys = 3
    for call in (lambda: cfg['n'], lambda: cfg.pop('n')):
        with pytest.raises(KeyError):
            call()
    assert not hasattr(cfg, 'n') and 'a' in dir(cfg)


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), lambda c: c.copy()])
def test_copies(clone):
    cfg = Config(dict(a=dict(b=[dict(c=1)])), filename='x.py')
    other = clone(cfg)
    assert other == cfg and type(other) is Config and type(other.a.b[0]) is ConfigDict and other.filename == 'x.py'
    other.a.b[0].c = 2
    assert cfg.a.b[0].c == 1


def test_plain_dicts_come_back():
    def plain(v):
        assert type(v) is not ConfigDict
        for item in v.values() if isinstance(v, dict) else v if isinstance(v, (list, tuple)) else ():
            plain(item)
    plain(Config(dict(a=dict(b=[dict(c=({}, ))]))).to_dict())


leaves = st.one_of(st.none(), st.booleans(), st.integers(-2**63, 2**63), st.floats(), st.text(max_size=20),
                   st.sampled_from(['{{ fileBasename }}', '{{_base_.x}}', '{{{$HOME}}}', "it's", 'a\\b\n"']))
keys = st.one_of(st.text(max_size=8).filter(lambda k: k != '_delete_'), st.sampled_from(['type', 'class', 'a', '_delete', 'self', 'aµ', 'ﬁ']), st.integers(-3, 3), st.booleans(), st.none(),
                 st.tuples(st.integers(0, 3), st.text(max_size=2)))
values = st.recursive(leaves, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=4),
    st.sets(st.one_of(st.integers(0, 9), st.text(max_size=3)), max_size=3), st.lists(st.floats(allow_nan=False), min_size=20, max_size=40)), max_leaves=20)


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) and type(x) is type(y) for k, x, y in zip(a, a, b))
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b)


@given(st.dictionaries(st.from_regex(r'[a-z]\w{0,5}', fullmatch=True).filter(is_name), values, max_size=5))
def test_dump_reads_back(data):
    cfg = Config(data)
    text = cfg.dump()
    again = Config.fromstring(text)
    assert same(cfg, again), text
    assert all(len(line) < 400 for line in text.splitlines())
    assert again.dump() == text
    assert not diff_configs(cfg, again)


@given(values)
def test_a_value_survives_the_command_line(value):
    text = Config(dict(x=value)).dump().removeprefix('x = ')
    assert same(Config(dict(x=parse_value(text))).x, Config(dict(x=value)).x)


def test_long_dicts_with_numbers_for_keys_and_numbers_far_to_the_right():
    points = {i: dict(name=f'point{i}', id=i, color=[51, 153, 255], type='upper', swap='') for i in range(17)}
    deep = list(range(60))
    for _ in range(30):
        deep = [deep, 'a']
    cfg = Config(dict(info=dict(keypoint_info=points), deep=deep, floats={0.5: 'a' * 60, 1.5: 'b' * 60}))
    assert Config.fromstring(cfg.dump()) == cfg


def test_dump_to_a_file(tmp_path):
    cfg = Config(dict(a=dict(b=1)))
    assert cfg.dump(tmp_path / 'a.py') == (tmp_path / 'a.py').read_text() == 'a = dict(b=1)\n'
    cfg.a.b = object()
    with pytest.raises(ConfigError, match='^a.b: a object cannot be written'):
        cfg.dump(tmp_path / 'a.py')
    assert (tmp_path / 'a.py').read_text() == 'a = dict(b=1)\n' and os.listdir(tmp_path) == ['a.py']
    with pytest.raises(ConfigError, match='name the file .py'):
        Config().dump(tmp_path / 'a.txt')


@pytest.mark.parametrize('data, words', [
    ({'a-b': 1}, 'name of a variable'), ({'class': 1}, 'name of a variable'), ({'_x': 1}, 'name of a variable'), (dict(a=print), 'a:'),
    (dict(a=[{'b': 1j}]), 'a.0.b: a complex'), (dict(a={b'x': 1}), 'the key'), (dict(a=dict(_delete_=1)), '_delete_ would not be read back'), (dict(a=2**70), '2\\*\\*64')])
def test_what_cannot_be_written(data, words):
    with pytest.raises(ConfigError, match=words):
        Config(data).dump()
    assert repr(Config(data))


def test_dump_refuses_too_many_levels():
    deep = 1
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    with pytest.raises(ConfigError, match='levels'):
        Config(dict(a=deep)).dump()


# ------------------------------------------------------------------------- overrides
@pytest.mark.parametrize('text, expected', [
    ('1', 1), ('1e-3', 1e-3), ('None', None), ('True', True), ('[1,2]', [1, 2]), ('(192,256)', (192, 256)), ('1,2', (1, 2)), ('-1', -1),
    ("dict(type='A', b=[1])", dict(type='A', b=[1])), ('{"a": 1}', dict(a=1)), ('word', 'word'), ('hrnet-w32', 'hrnet-w32'), ('a.b.c', 'a.b.c'),
    ('work_dirs/a.pth', 'work_dirs/a.pth'), ('https://a.b/c?d=e', 'https://a.b/c?d=e'), ("'1'", '1'), ('[a, b-c, 1]', ['a', 'b-c', 1]), ('', ''),
    ('2*3', 6), ('a=b', 'a=b'), ('[]', []), ('()', ())])
def test_words_become_values(text, expected):
    assert parse_overrides([f'a.b={text}']) == {'a.b': expected}
    assert type(parse_value(text)) is type(expected)


@pytest.mark.parametrize('old, text, expected', [
    (5, '1', 1), (5, '0.5', .5), (5, '-3', -3), (.5, '1', 1.), (.5, '1e-3', 1e-3), (True, 'false', False), (False, 'True', True), ('a', '1', '1'),
    ('a', 'b', 'b'), ('1.0', '1.10', '1.10'), ('a', 'True', 'True'), ((1, 2), '[3,4]', (3, 4)), ([1], '3,4', [3, 4]), ([1], '(3,)', [3]),
    (dict(a=1, b=2), 'dict(a=3)', dict(a=3, b=2)), (dict(a=1), 'dict(_delete_=True, b=2)', dict(b=2)), (None, 'x', 'x'), (None, '1', 1),
    (5, 'None', None), ('a', 'None', None), (dict(a=1), 'None', None), ([1], 'None', None)])
def test_types_are_kept(old, text, expected):
    new = Config(dict(a=dict(b=old))).override([f'a.b={text}']).a.b
    assert new == expected and (type(new) is type(expected) or isinstance(new, ConfigDict))


@pytest.mark.parametrize('old, text', [(5, 'many'), (5, '[1]'), (5, 'True'), (True, '1'), (True, 'yes'), ('a', '[1]'), ('a', 'dict(b=1)'), ([1], '1'),
                                       ([1], 'dict(a=1)'), (dict(a=1), '1'), (dict(a=1), '[1]'), (.5, 'fast'), ((1, 2), 'x')])
def test_another_type_is_refused(old, text):
    cfg = Config(dict(a=dict(b=old)))
    with pytest.raises(ConfigError) as e:
        cfg.override(f'a.b={text}')
    assert str(e.value).startswith(f'a.b={text}: this has the type ') and repr(Config(dict(x=old)).x)[:20] in str(e.value) and cfg.a.b == old


def test_override_finds_its_way():
    cfg = Config(dict(p=[dict(s=(1, 2)), dict(s=3)], m={0: 'a', 'k': 1}))
    assert cfg.override(['p.0.s.1=5', 'p.-1.s=4', 'm.0=b', '+m.new.deep=1', '+n=[1]']) is cfg
    assert cfg == dict(p=[dict(s=(1, 5)), dict(s=4)], m={0: 'b', 'k': 1, 'new': dict(deep=1)}, n=[1])
    assert isinstance(cfg.p[0], ConfigDict)
    before = cfg.copy()
    for word, words in (('p.2.s=1', 'p has 2 items'), ('p.x.s=1', 'p has 2 items'), ('m.kk=1', 'Did you mean k?'), ('m.k.z=1', 'm.k is 7'), ('z=1', 'To add it, write +z'),
                        ('p', 'key=value'), ('=1', 'key=value'), ('m.k=open("owned")', 'must not be called'), ('m.k=10**10**10', 'too large')):
        with pytest.raises(ConfigError) as e:
            cfg.override(['m.k=7', word])
        assert words in str(e.value) and cfg == before


def test_merge_from_dict():
    cfg = Config(dict(a=dict(b=dict(c=1, d=2)), l=[dict(x=1), 2]))
    cfg.merge_from_dict({'a.b.c': 'text', 'a.b': dict(e=3), 'l.0.x': [1], 'l.1': None, 'new.key': 1, 'a.f': dict(_delete_=True, g=1)})
    assert cfg == dict(a=dict(b=dict(c='text', d=2, e=3), f=dict(g=1)), l=[dict(x=[1]), None], new=dict(key=1))
    with pytest.raises(ConfigError, match='l has 2 items'):
        cfg.merge_from_dict({'l.5': 1})
    with pytest.raises(ConfigError, match='_delete_=True'):
        cfg.merge_from_dict({'new.key': dict(a=1)})


# ------------------------------------------------------------------------- differences
def test_diff():
    a = dict(m=dict(k=1, gone=dict(x=1), l=[1, 2], p=[dict(t=1), dict(t=2)], same=math.nan), t=(1, 2), f=1)
    b = dict(m=dict(k=2, l=[1, 3], p=[dict(t=1), dict(t=3, u=0)], same=math.nan, new='<b>'), t=[1, 2], f=True)
    found = diff_configs(a, b)
    assert found.added == {'m.p.1.u': 0, 'm.new': '<b>'} and found.removed == {'m.gone': dict(x=1)}
    assert found.changed == {'m.k': (1, 2), 'm.l': ([1, 2], [1, 3]), 'm.p.1.t': (2, 3), 't': ((1, 2), [1, 2]), 'f': (1, True)}
    assert len(found) == 8 and found
    assert '~ m.k ' in str(found) and '1 -> 2' in str(found) and "+ m.new" in str(found) and '- m.gone' in str(found)
    assert '&lt;b&gt;' in found._repr_html_() and '<b>' not in found._repr_html_().replace('<b style', '').split('new')[-1].split('old')[0]
    assert not diff_configs(a, copy.deepcopy(a)) and str(diff_configs(a, a)) == 'no differences' == diff_configs(a, a)._repr_html_()


@given(st.dictionaries(st.text(max_size=3), values, max_size=4), st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_diff_is_empty_only_for_equals_and_turns_around(a, b):
    there, back = diff_configs(a, b), diff_configs(b, a)
    assert there.added.keys() == back.removed.keys() and there.changed.keys() == back.changed.keys()
    assert str(there) and there._repr_html_()
    if not there:
        assert a.keys() == b.keys()


# ------------------------------------------------------------------------- as published configs look
RUNTIME = '''
default_scope = 'mmpose'
default_hooks = dict(timer=dict(type='IterTimerHook'), checkpoint=dict(type='CheckpointHook', interval=10), badcase=dict(type='BadCaseAnalysisHook', enable=False))
custom_hooks = [dict(type='SyncBuffersHook')]
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
log_level = 'INFO'
load_from = None
backend_args = dict(backend='local')
train_cfg = dict(by_epoch=True)
val_cfg = dict()
'''
COCO = 'dataset_info = dict(dataset_name="coco", keypoint_info={0: dict(name="nose", id=0, color=[51, 153, 255], type="upper", swap="")}, sigmas=[0.026])'
HRNET = '''
_base_ = ['./runtime.py', './coco.py']
train_cfg = dict(max_epochs=210, val_interval=10)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=210, milestones=[170, 200], gamma=0.1, by_epoch=True)
]
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
codec = dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='HRNet', in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1, ), num_channels=(16, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1), num_channels=(8, 16)),
            stage3=dict(num_modules=1, num_branches=3, block='BASIC', num_blocks=(1, 1, 1), num_channels=(8, 16, 32)),
            stage4=dict(num_modules=1, num_branches=4, block='BASIC', num_blocks=(1, 1, 1, 1), num_channels=(8, 16, 32, 64)))),
    head=dict(type='HeatmapHead', in_channels=8, out_channels=17, deconv_out_channels=None,
              loss=dict(type='KeypointMSELoss', use_target_weight=True), decoder=codec),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
dataset_type = 'CocoDataset'
data_mode = 'topdown'
data_root = 'data/coco/'
train_pipeline = [dict(type='LoadImage', backend_args={{_base_.backend_args}}), dict(type='GenerateTarget', encoder=codec)]
val_dataloader = dict(
    batch_size=32, num_workers=2, dataset=dict(type=dataset_type, data_root=data_root, data_mode=data_mode,
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'), bbox_file=f'{data_root}person_detection_results/dets.json'))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=f'{data_root}annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator
'''
RTMPOSE = '''
_base_ = ['./runtime.py']
max_epochs = 420
stage2_num_epochs = 30
base_lr = 4e-3
num_keypoints = 26
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
randomness = dict(seed=21)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=base_lr * 0.05, begin=max_epochs // 2, end=max_epochs, T_max=max_epochs // 2)]
codec = dict(type='SimCCLabel', input_size=(192, 256), sigma=(4.9, 5.66), simcc_split_ratio=2.0, normalize=False, use_dark=False)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(_scope_='mmdet', type='CSPNeXt', arch='P5', deepen_factor=0.67, widen_factor=0.75, out_indices=(4, )),
    head=dict(type='RTMCCHead', in_channels=768, out_channels=num_keypoints, input_size=codec['input_size'],
        in_featuremap_size=tuple([s // 32 for s in codec['input_size']]), simcc_split_ratio=codec['simcc_split_ratio'], decoder=codec))
coco_halpe26 = [(i, i) for i in range(17)] + [(17, 20), (18, 22)]
datasets = [dict(type='CocoDataset', ann_file=f'{name}/train.json', pipeline=[dict(type='KeypointConverter', num_keypoints=num_keypoints, mapping=coco_halpe26)])
            for name in ('coco', 'aic')]
custom_imports = dict(imports=['my.package'], allow_failed_imports=False)
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, priority=49)] + _base_.custom_hooks
'''


def test_a_published_style_hrnet(family):
    family(runtime=RUNTIME, coco=COCO, hrnet=HRNET, w48="_base_ = 'hrnet.py'\nmodel = dict(backbone=dict(extra=dict(stage4=dict(num_blocks=(2, 2, 2, 2)))))")
    cfg = Config.fromfile('w48.py')
    assert cfg.model.backbone.extra.stage4 == dict(num_modules=1, num_branches=4, block='BASIC', num_blocks=(2, 2, 2, 2), num_channels=(8, 16, 32, 64))
    assert cfg.train_cfg == dict(by_epoch=True, max_epochs=210, val_interval=10) and cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=10, save_best='coco/AP', rule='greater')
    assert cfg.train_pipeline[0].backend_args == dict(backend='local') and cfg.dataset_info.keypoint_info[0].name == 'nose'
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.val_evaluator.ann_file.startswith('data/coco/annotations')
    assert Config.fromstring(cfg.dump()) == cfg
    assert len(diff_configs(Config.fromfile('hrnet.py'), cfg)) == 1


def test_a_published_style_rtmpose(family):
    family(runtime=RUNTIME, rtm=RTMPOSE)
    cfg = Config.fromfile('rtm.py')
    assert cfg.model.head.in_featuremap_size == (6, 8) and cfg.param_scheduler[0].eta_min == 4e-3 * .05 and cfg.param_scheduler[0].T_max == 210
    assert cfg.datasets[1].ann_file == 'aic/train.json' and cfg.datasets[0].pipeline[0].mapping[-1] == (18, 22)
    assert [h.type for h in cfg.custom_hooks] == ['EMAHook', 'SyncBuffersHook'] and 'my' not in sys.modules
    assert Config.fromstring(cfg.dump()) == cfg


# ------------------------------------------------------------------------- models
def test_a_model_from_a_file(family):
    import torch

    from posebook.models.builder import build_model
    torch.set_num_threads(1)
    family(runtime=RUNTIME, coco=COCO, hrnet=HRNET)
    with torch.no_grad():
        model = build_model('hrnet.py').eval()
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 16, 16)
    assert model.dataset_meta['num_keypoints'] == 17 and model.head.decoder.sigma == 2 and model.test_cfg['flip_test'] is True
    cfg = Config.fromfile('hrnet.py')
    mine = dict(dataset_name='mine', keypoint_name2id={})  # parsed already
    cfg.model.metainfo = mine
    cfg.model.head = None
    model = build_model(cfg)
    assert model.metainfo == model.dataset_meta == mine and model.head is None
    assert build_model(cfg.model).dataset_meta == mine
    torch.save(dict(state_dict=model.state_dict()), 'weights.pth')
    loaded = build_model(cfg, 'weights.pth').state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize('word, error, words', [
    ('+model.backbone.depth=3', TypeError, 'model.backbone: HRNet: '), ('model.head.type=Nose', KeyError, "model.head: 'Nose' is not"),
    ('model.head.decoder.sigma=-1', ValueError, 'model.head: MSRAHeatmap: sigma'), ('model.type=HeatmapEstimator', KeyError, 'model: '),
    ('model.data_preprocessor.mean=[1,2]', ValueError, 'model.data_preprocessor: '), ('+model.heads=None', TypeError, 'model: TopdownPoseEstimator')])
def test_model_errors_have_an_address(word, error, words, family):
    from posebook.models.builder import build_model
    family(runtime=RUNTIME, coco=COCO, hrnet=HRNET)
    with pytest.raises(error) as e:
        build_model(Config.fromfile('hrnet.py').override([word, 'codec=None']))
    assert e.value.args[0].startswith(words)


def test_codecs_that_disagree_and_metainfo_that_cannot_be_read(family):
    from posebook.models.builder import build_model
    family(runtime=RUNTIME, coco=COCO, hrnet=HRNET)
    cfg = Config.fromfile('hrnet.py').override('codec.sigma=3')
    with pytest.warns(UserWarning) as caught:
        build_model(cfg)
    assert [str(w.message).split()[0] for w in caught] == ['model.head.decoder', 'train_pipeline.1.encoder']
    cfg = Config.fromfile('hrnet.py').override('test_dataloader.dataset.metainfo.from_file=none.py')
    with pytest.warns(UserWarning, match='test_dataloader.dataset.metainfo cannot be read'):
        assert build_model(cfg).metainfo is None


def test_importing_it_is_light():
    code = ('import sys, posebook.config; '
            'print(sorted({"torch", "torchvision", "matplotlib", "scipy", "IPython", "ipywidgets", "pycocotools"} & set(sys.modules)))')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'


# ------------------------------------------------------------------------- keys and texts that are not plain
@pytest.mark.parametrize('key', [math.inf, (1, -math.inf), '{{ _base_.x }}', '{{fileDirname}}', ('{{_base_.x}}', ), -0.0])
def test_any_key_is_read_back(key):
    cfg = Config(dict(a={key: {key: 'x'}, 'b': 1}))
    assert Config.fromstring(cfg.dump()) == cfg


def test_union():
    cfg = Config(dict(a=dict(b=1)), 'x.py')
    more = dict(c=dict(d=[dict(e=2)]))
    both = cfg | more
    assert type(both) is Config and both.c.d[0].e == 2 and both.filename == 'x.py' and 'c' not in cfg
    cfg.a |= more
    cfg |= more
    more['c']['d'].append(3)
    assert cfg == dict(a=dict(b=1, c=dict(d=[dict(e=2)])), c=dict(d=[dict(e=2)])) and cfg.a.c.d[0].e == 2


@pytest.mark.parametrize('text', ['a,b', 'runs/a, b', '1,2', "'x', y"])
def test_a_text_may_have_commas(text):
    assert Config(dict(a='x')).override(f'a={text}').a == text
    with pytest.raises(ConfigError, match='has the type tuple'):
        Config(dict(a='x')).override('a=(1, 2)')


def test_keys_with_dots():
    cfg = Config(dict(keys={'backbone': dict(mult=1.), 'backbone.layer1': dict(mult=2.), 'norm': dict(mult=3.)}))
    cfg.override(['keys.backbone.layer1.mult=5', 'keys.backbone.mult=4', '+keys.backbone.layer1.decay=0'])
    cfg.merge_from_dict({'keys.backbone.layer1.rate': 1})
    assert cfg['keys'] == {'backbone': dict(mult=4.), 'backbone.layer1': dict(mult=5., decay=0, rate=1), 'norm': dict(mult=3.)}
    with pytest.raises(ConfigError, match='no .layer2'):
        cfg.override('keys.backbone.layer2.mult=1')


# ------------------------------------------------------------------------- odd values and odd arguments
@pytest.mark.parametrize('value', ['[1]', '"yes"', 'None', '{}', '0.5', '(True, )'])
@pytest.mark.parametrize('text', ['x = dict(_delete_={})', 'x = [dict(a=dict(_delete_={}))]', '_delete_ = {}', 'x = dict(y=1, **{{"_delete_": {}}})'])
def test_delete_is_true_or_false(value, text):
    with pytest.raises(ConfigError, match='_delete_ must be True or False; got '):
        read(text.format(value))
    with pytest.raises(ConfigError, match='x.a._delete_ must be True or False'):
        Config(dict(x=dict(a=dict(b=1)))).override(f'x.a=dict(_delete_={value})') if 'x = dict(_d' in text else merge(dict(x=dict(a=dict(_delete_=[1]))), {})


@pytest.mark.parametrize('type', [5, None, 1.5, [1], (), dict(a=1), True])
def test_a_type_that_is_none_is_told(type):
    from posebook.models import build_model
    for cfg in (dict(type=type), dict(model=dict(type='TopdownPoseEstimator', backbone=dict(type=type)))):
        with pytest.raises(TypeError, match="type must be a name or a class; got"):
            build_model(Config(cfg))


@pytest.mark.parametrize('call', [
    lambda: Config(5), lambda: Config([1]), lambda: Config('a = 1'), lambda: Config.fromstring(5), lambda: Config.fromstring(b'a = 1'),
    lambda: Config.fromstring('', 'json'), lambda: Config.fromfile(5), lambda: Config.fromfile(None), lambda: Config().merge_from_dict([1]),
    lambda: Config().merge_from_dict({5: 1}), lambda: Config().override(5), lambda: Config().override([5]), lambda: Config().override([None]),
    lambda: Config(dict(a=1)).override('a' + '.a' * 5000 + '=1'), lambda: Config(dict(a=1)).override('+' + '.'.join('a' * 100000) + '=1'),
    lambda: Config(dict(a=[1])).override('a.' + '9' * 5000 + '=1'), lambda: Config.fromfile('a' * 5000 + '.py'), lambda: Config.fromfile('a\0.py'),
    lambda: Config.fromfile('a' * 5000 + '.json'), lambda: Config.fromstring('{"_base_": "%s.py"}' % ('a' * 5000), '.json'), lambda: Config.fromstring("_base_ = 'a\\0.py'")])
def test_wrong_arguments_are_errors_of_the_house(call):
    with pytest.raises(ValueError, match='must be|an override is key=value|levels|items, counted|no such file|a path|too long') as e:
        call()
    assert len(str(e.value)) < 20000


def test_what_holds_itself_is_refused():
    d, l = {}, []
    d['a'], l[:] = [d], [l]
    for data in (d, dict(x=l)):
        with pytest.raises(ConfigError, match='too many levels; is a dict or list inside itself?'):
            Config(data)


@pytest.mark.slow
def test_long_overrides_are_linear(watchdog):
    numbers = list(range(20_000))
    assert Config(dict(a=[])).override(f'a={numbers}'.replace(' ', '')).a == numbers
    words = [f'word{i}' for i in numbers]
    assert Config(dict(a=[])).override(f'a=[{",".join(words)}]').a == words
    assert Config(dict(a=[])).override('a=[' + ','.join('[1,x]' for _ in numbers) + ']').a[-1] == [1, 'x']
    assert Config().override([f'+k{i}={i}' for i in numbers])['k19999'] == 19999
    assert Config(dict(a=[0] * 20_000)).override([f'a.{i}={i}' for i in numbers]).a == numbers
    with pytest.raises(ConfigError, match='letters'):
        parse_value('[' + '1,' * MAX_FILE + ']')


@pytest.mark.parametrize('text, value', [("[a,\n b]", ['a', 'b']), ('[é, ü]', ['é', 'ü']), ('[(a), "b"]', ['a', 'b']), ('[*a]', ['*a']), ('[[x],(y,)]', [['x'], ('y',)]),
                                         ('a\0b', 'a\0b'), ('\udc80', '\udc80'), ('[' * 300, '[' * 300), ('[len("ab"), b]', [2, 'b']), ('[a\r\n,b]', ['a', 'b'])])
def test_words_in_lists(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize('value', [
    '{{ _base_.x }}' * 500, '{' * 500 + '{{ a }}', '\ud800', '\x00\r\x85\u2028\x0c', "'\"\\\n", math.inf, -math.inf, -0.0, -5, 2**64, -2**64, 5e-324, set(), {()}, {(1, (2, ))},
    {1, 'a', None, 2.5, (True, )}, (), (1, ), ((), ), {(): ()}, {None: 1, True: 2, '': 3, 2.5: {}}, {'__debug__': 1, 'None': 2, 'print': 3}, {'a' * 90000: 'b' * 90000}, [[]] * 9, 'a' * 400000])
def test_odd_values_are_read_back(value):
    cfg = Config(dict(x=value, y=[value], z=dict(k=value)))
    assert same(cfg, Config.fromstring(cfg.dump(limit=10), limit=10))


def deep_list(n):
    return [deep_list(n - 1)] if n else []


@pytest.mark.parametrize('data', [
    dict(x='a' * MAX_FILE), dict(x='a' * 2_000_000), dict(x=[0] * 200_000), dict(x=2**65), dict(x=deep_list(70)), dict(x={frozenset([1])}), dict(x=frozenset()), dict(x={1: b''}),
    dict(x=[[0] * 300] * 400), {'__debug__': 1}, {'match ': 1}, {f'x{i}': [dict(a=[1])] * 300 for i in range(300)}])
def test_dump_raises_rather_than_write_what_cannot_be_read(data, tmp_path):
    with pytest.raises(ConfigError, match='written'):
        Config(data).dump(tmp_path / 'x.py')
    assert not list(tmp_path.iterdir())


def test_dump_follows_links_and_keeps_the_umask(tmp_path):
    (tmp_path / 'real').mkdir()
    os.symlink('real/a.py', tmp_path / 'link.py')  # leads to nothing yet
    before = os.umask(0o077)
    try:
        Config(dict(a=1)).dump(tmp_path / 'link.py')
    finally:
        os.umask(before)
    assert (tmp_path / 'link.py').is_symlink() and (tmp_path / 'real/a.py').read_text() == 'a = 1\n'
    assert (tmp_path / 'real/a.py').stat().st_mode & 0o777 == 0o600
