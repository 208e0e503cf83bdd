"""The registry: names, configs, duplicates, lazy imports and the errors people will meet."""
import subprocess
import sys
import textwrap

import pytest

from posebook.registry import MODELS, REGISTRIES, Registry, build_from_cfg


@pytest.fixture
def toys():
    registry = Registry('TOYS')

    @registry.register_module()
    class Ball:
        def __init__(self, radius=1, colour='red'):
            self.radius, self.colour = radius, colour

    registry.Ball = Ball
    return registry


def test_build_from_name_class_and_object(toys):
    by_name = toys.build(dict(type='Ball', radius=3))
    by_class = toys.build(dict(type=toys.Ball, radius=3))
    assert by_name.radius == by_class.radius == 3
    assert toys.build(by_name) is by_name
    assert build_from_cfg(dict(type='Ball'), toys, dict(radius=5)).radius == 5


def test_config_wins_over_defaults_and_is_not_changed(toys):
    cfg = dict(type='Ball', radius=2)
    ball = toys.build(cfg, radius=9, colour='blue')
    assert (ball.radius, ball.colour) == (2, 'blue')
    assert cfg == dict(type='Ball', radius=2)


def test_scopes_are_dropped(toys):
    assert toys.get('mmpose.Ball') is toys.Ball and 'mmpose.Ball' in toys
    assert toys.get('Bull') is None and 'Bull' not in toys
    for scope in ('mmpretrain', 'mmcls', 'mmdet', 'mmengine', 'mmcv', 'posebook', 'mmpose.models'):
        assert toys.build(dict(type=f'{scope}.Ball', _scope_='mmdet')).radius == 1
    assert toys.get('toys.Ball') is None
    with pytest.raises(KeyError, match="'mmdet.Bal' is not in the registry TOYS. Did you mean Ball"):
        toys.build(dict(type='mmdet.Bal'))


def test_unknown_name_lists_the_closest_and_where_it_lives(toys):
    with pytest.raises(KeyError, match=rf'Did you mean Ball \({__name__}\)'):
        toys.build(dict(type='Bal'))
    with pytest.raises(KeyError, match='dict.type=YourClass'):
        toys.build(dict(type='Zeppelin'))


def test_name_from_another_registry_is_pointed_out(toys):
    MODELS.module_dict['_Ball'] = toys.Ball
    try:
        with pytest.raises(KeyError, match='_Ball in the registry MODELS'):
            toys.build(dict(type='_Ball'))
    finally:
        del MODELS.module_dict['_Ball']


@pytest.mark.parametrize('cfg, error, text', [
    (None, TypeError, 'got None'),
    ('Ball', TypeError, r"Write dict\(type='Ball'\)"),
    (dict(radius=1), KeyError, "needs the key 'type'"),
    (dict(type='Ball', radios=1), TypeError, r'Ball: .*radios.*It takes \(radius=1'),
])
def test_bad_configs(toys, cfg, error, text):
    with pytest.raises(error, match=text):
        toys.build(cfg)


def test_an_error_inside_the_constructor_is_not_rewritten(toys):
    class Bad:
        def __init__(self):
            raise TypeError('from inside')
    with pytest.raises(TypeError, match='^from inside$'):
        toys.build(dict(type=Bad))


def test_duplicates(toys):
    def other(module):
        return type('Ball', (), {'__module__': module, '__qualname__': 'Ball'})
    with pytest.raises(KeyError, match='already registered in TOYS'):
        toys.register_module()(other('elsewhere'))
    toys.register_module(force=True)(other('elsewhere'))
    assert toys.get('Ball').__module__ == 'elsewhere'


def test_a_cell_may_run_twice_and_the_session_wins():
    registry = Registry('TOYS')

    def define(module):
        cls = type('Ball', (), {'__module__': module, '__qualname__': 'Ball'})
        return registry.register_module()(cls)
    define('posebook.toys')
    typed = define('__main__')  # the notebook's own, after the package's
    assert registry.get('Ball') is typed
    again = define('__main__')  # the cell runs a second time
    assert registry.get('Ball') is again
    define('posebook.toys')  # the package is imported later: the session keeps its class
    assert registry.get('Ball') is again


def test_names_and_functions():
    registry = Registry('TOYS')
    registry.register_module(name=['a', 'b'], module=dict)
    assert registry.get('a') is registry.get('b') is dict and len(registry) == 2
    with pytest.raises(TypeError, match='parentheses'):
        registry.register_module(dict)
    with pytest.raises(TypeError, match='class or function'):
        registry.register_module(module=3)


def test_locations_are_imported_on_the_first_miss_only(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'toy_zoo.py').write_text('import toy_registry\n'
                                         'toy_registry.TOYS.register_module("Kite", module=dict)\n')
    (tmp_path / 'toy_registry.py').write_text('from posebook.registry import Registry\n'
                                              'TOYS = Registry("TOYS", ["toy_zoo"])\n')
    import toy_registry
    assert 'not yet imported: toy_zoo' in repr(toy_registry.TOYS)
    assert 'toy_zoo' not in sys.modules
    assert toy_registry.TOYS.get('Kite') is dict
    assert 'toy_zoo' in sys.modules and 'not yet' not in repr(toy_registry.TOYS)


def test_a_location_that_fails_says_so_every_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'toy_broken.py').write_text('raise RuntimeError("half written")')
    registry = Registry('TOYS', 'toy_broken')
    for _ in range(2):
        with pytest.raises(RuntimeError, match='half written'):
            registry.get('Kite')


def test_registry_names_are_unique_and_importing_it_is_light():
    names = [r.name for r in REGISTRIES]
    assert len(set(names)) == len(names) and 'KEYPOINT_CODECS' in names
    code = textwrap.dedent('''
        import sys, posebook.registry, posebook.structures
        heavy = [m for m in ('torch', 'matplotlib', 'IPython', 'ipywidgets') if m in sys.modules]
        assert not heavy, heavy
    ''')
    subprocess.run([sys.executable, '-c', code], check=True)
