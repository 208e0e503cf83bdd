"""Who imports whom in posebook, read from the sources: every module has a floor, imports run downwards, none in a circle.

    python tests/imports.py        prints what is wrong
"""
import ast
import sys
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / 'posebook'
FLOORS = ['', 'checks files registry', 'config structures', 'codecs visualization checkpoints',
          'datasets evaluation synthetic', 'models', 'engine deploy apis', 'widgets testing book', 'cli', '__main__']
RANK = {name: floor for floor, names in enumerate(FLOORS) for name in names.split() or ['']}
INDEX = 'posebook._modidx'  # nbdev's list of names, which nothing imports


def read_sources(package=PACKAGE):
    """{'posebook.codecs.base': source, ...}; a package is named without `__init__` and marked by a dot at its end."""
    found = {}
    for path in sorted(package.rglob('*.py')):
        parts = ['posebook', *path.relative_to(package).with_suffix('').parts]
        name = '.'.join(parts[:-1]) + '.' if parts[-1] == '__init__' else '.'.join(parts)
        if name != INDEX:
            found[name] = path.read_text(encoding='utf-8')
    return found


def absolute(name, level, package):
    """What `level` dots and `name` mean inside `package`."""
    if not level:
        return name
    parts = package.split('.')
    return '.'.join(parts[:len(parts) - level + 1] + name.split('.') * bool(name))


def is_call_of(node, *names):
    function = getattr(node, 'func', None)
    return getattr(function, 'attr', getattr(function, 'id', None)) in names


@lru_cache(maxsize=None)
def importing_nodes(source):
    """The parts of a source that import, or may; parsed once, however often the gate is asked."""
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.Import, ast.ImportFrom))
            or is_call_of(n, 'import_module', '__import__')]


def text_of(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def imports_of(module, source, modules):
    """Full names of the modules of posebook that a source imports, anywhere in it and in whatever form.

    The packages above an imported module run too, but that is so for all and says nothing. Imports under
    TYPE_CHECKING count like any others: who must know a name of a higher floor stands too low.
    """
    package = module[:-1] if module.endswith('.') else module.rpartition('.')[0]
    for node in importing_nodes(source):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or '', node.level, package)
            inside = [f'{base}.{alias.name}' for alias in node.names]
            found = [name if name in modules else base for name in inside]
        elif node.args and text_of(node.args[0]):
            name, given = text_of(node.args[0]), node.args[1:] + [k.value for k in node.keywords if k.arg == 'package']
            anchor = next(filter(None, map(text_of, given)), package)
            found = [absolute(name.lstrip('.'), len(name) - len(name.lstrip('.')), anchor)]
        else:
            continue
        yield from (name for name in found if name.split('.')[0] == 'posebook')


def floor_of(module):
    """The rank of a module's first name below posebook; None if it has none."""
    return RANK.get(module.partition('.')[2].split('.')[0])


def circles(arrows):
    """Each group of modules of which every one leads to every other, as a list of names (Tarjan's algorithm)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in arrows.get(node, ()):
            if target not in number:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == number[node]:
            group = stack[stack.index(node):]
            del stack[-len(group):]
            if len(group) > 1 or node in arrows.get(node, ()):
                found.append(sorted(group))

    for node in sorted(arrows):
        if node not in number:
            visit(node)
    return found


def complaints_about(sources):
    """What is wrong with the imports between these sources, one line each."""
    modules = {name.rstrip('.') for name in sources}
    said, arrows = [], {}
    for module, source in sources.items():
        mine, name = floor_of(module), module.rstrip('.')
        if mine is None:
            said.append(f'{name} has no floor: give it one in tests/imports.py')
        arrows[name] = sorted(set(imports_of(module, source, modules)))
        for target in arrows[name]:
            theirs = floor_of(target)
            if target not in modules:
                said.append(f'{name} imports {target}, which does not exist')
            elif theirs is None:
                said.append(f'{name} imports {target}, which has no floor')
            elif mine is not None and theirs > mine:
                said.append(f'{name} imports {target}, which stands higher')
    said += [f'a circle: {", ".join(group)}' for group in circles(arrows)]
    return said


if __name__ == '__main__':
    wrong = complaints_about(read_sources())
    print(*wrong, sep='\n')
    sys.exit(bool(wrong))
