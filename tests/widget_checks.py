"""What the browser tests ask of every widget: text stays text, every control has a name, old numbers go grey.

`HOSTILE` are strings that a file may hold and that must never become anything but text on the page.
"""
import re

HOSTILE = [
    '<img src=x onerror="window.hacked=1">', '</option></select><img src=x onerror=window.hacked=1>',
    '"><svg onload=window.hacked=1>', "' autofocus onfocus='window.hacked=1", '</script><script>window.hacked=1</script>',
    '</title><style>*{display:none}</style>', '`${window.hacked=1}`', '&lt;b&gt;&amp;', '<b>bold</b>', '</text><text>',
    'javascript:window.hacked=1', '"', "'", '\\', '{{constructor}}', '\u202egnp.exe', '[data-x="]', 'a\nb\tc']

# text that is on the page, in lists, in titles and in what a screen reader is told
SAID = """() => {
    const root = document.querySelector('.pb-widget'), said = [root.innerText, root.textContent];
    for (const e of root.querySelectorAll('*')) {
        said.push(e.ariaLabel, e.title, e.dataset?.part, ...[...e.options ?? []].map((o) => o.text));
    }
    return said.filter(Boolean).join('\\n');
}"""


def hostile_names(count):
    """`count` different hostile names."""
    return [HOSTILE[i % len(HOSTILE)] + (f' {i}' if i >= len(HOSTILE) else '') for i in range(count)]


def hostile_metainfo(count):
    """Names, swaps and limbs of `count` keypoints, as `parse_pose_metainfo` makes them of a file that means harm."""
    names = hostile_names(count)
    return dict(dataset_name=HOSTILE[0], num_keypoints=count, keypoint_id2name=dict(enumerate(names)),
                keypoint_name2id={name: i for i, name in enumerate(names)}, flip_indices=list(range(count)),
                skeleton_links=[(i, i + 1) for i in range(count - 1)])


def check_harmless(page, shown):
    """Nothing of `shown` has become markup or a program, and all of it can be read on the page."""
    page.wait_for_timeout(300)
    assert page.evaluate('window.hacked') is None
    foreign = page.evaluate("""() => [...document.querySelectorAll('.pb-widget :is(script, iframe, style, [onerror], [onload], [onfocus])'),
        ...document.querySelectorAll('.pb-widget img:not(.pb-standin img)')].map((e) => e.outerHTML)""")
    assert foreign == []
    said = re.sub(r'\s+', ' ', page.evaluate(SAID))
    missing = [text for text in shown if re.sub(r'\s+', ' ', text).strip() not in said]
    assert missing == [], missing


def accessibility_tree(page, selector='.pb-widget'):
    """(role, name, description) of all that a screen reader finds in an element, as Chromium computes it."""
    client = page.context.new_cdp_session(page)
    document = client.send('DOM.getDocument')
    node = client.send('DOM.querySelector', dict(nodeId=document['root']['nodeId'], selector=selector))
    backend = client.send('DOM.describeNode', dict(nodeId=node['nodeId']))['node']['backendNodeId']
    nodes = client.send('Accessibility.getFullAXTree')['nodes']
    client.detach()
    by_id, start = {n['nodeId']: n for n in nodes}, next(n for n in nodes if n.get('backendDOMNodeId') == backend)
    found, waiting = [], [start]
    while waiting:
        n = waiting.pop()
        waiting += [by_id[i] for i in reversed(n.get('childIds', [])) if i in by_id]
        if not n.get('ignored'):
            found.append(tuple(str(n.get(key, {}).get('value', '')) for key in ('role', 'name', 'description')))
    return found


CONTROLS = ('slider', 'combobox', 'checkbox', 'button', 'application', 'textbox', 'radio', 'spinbutton', 'switch')


def check_names(page, selector='.pb-widget'):
    """Every control has a name of its own, and none is named by its value alone; returns the names by role."""
    controls = [(role, name) for role, name, _ in accessibility_tree(page, selector) if role in CONTROLS]
    assert controls, 'no controls at all'
    unnamed = [role for role, name in controls if not re.search('[^\\W\\d]', name)]
    assert unnamed == [], unnamed
    twice = sorted({c for c in controls if controls.count(c) > 1})
    assert twice == [], twice
    names = {}
    for role, name in controls:
        names.setdefault(role, []).append(name)
    return names


def spoken(page):
    """What the live region says once the widget is at rest."""
    page.evaluate('settled()')
    page.wait_for_timeout(500)
    return page.locator('.pb-live').text_content()


def restart_kernel(page):
    """Restart the notebook's kernel, as a reader does, and wait until it is there again."""
    page.evaluate("""async () => {
        const session = jupyterapp.shell.currentWidget.context.sessionContext;
        await session.session.kernel.restart();
        await session.ready;
    }""")
    page.wait_for_timeout(500)


def check_grey_after_restart(page, change):
    """After a restart the widget says that the cell must be run again; `change` is JavaScript that changes its state.

    The last test of a file: the widget is dead afterwards.
    """
    restart_kernel(page)
    page.evaluate(change)
    page.wait_for_function("document.querySelector('.pb-status').textContent.includes('un this cell again')")
    assert page.evaluate("document.querySelector('.pb-widget').classList.contains('pb-stale')")
    facts = page.evaluate("""() => [...document.querySelectorAll('.pb-facts > section, .pb-owed')]
        .map((e) => getComputedStyle(e)).map((s) => s.filter + s.opacity)""")
    assert facts and all('grayscale' in f and '0.5' in f for f in facts), facts
