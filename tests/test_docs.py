"""Relative links of README, docs and config READMEs lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for pattern in ('*.md', 'docs/*.md', 'configs/**/*.md')
               for p in ROOT.glob(pattern))
LINK = re.compile(r'\]\(([^)\s]+)\)')


def anchors(page):
    titles = re.findall(r'^#+ (.+)$', page.read_text(encoding='utf-8'), flags=re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(page):
    for link in LINK.findall(page.read_text(encoding='utf-8')):
        if '://' in link or link.startswith('mailto:'):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{link}: nothing there'
        if anchor:
            target = target / 'README.md' if target.is_dir() else target
            assert anchor in anchors(target), f'{link}: no such heading in {target.name}'


def test_there_are_links_to_check():
    assert len(PAGES) >= 6 and any(LINK.search(p.read_text(encoding='utf-8')) for p in PAGES)
