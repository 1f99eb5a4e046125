"""The documents: what they link to is there, and each of their commands runs in a test."""

import re

import pytest

from tests.documents import AFTER_QUICKSTART, OF_RECIPES, ROOT, blocks, documents

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ADDRESS = re.compile(r"https?://")


def _anchors(document):
    """What can stand behind a # in a link to a document: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(document):
    """The links of a document that lead nowhere."""
    for link in _LINK.findall((ROOT / document).read_text()):
        if _ADDRESS.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link


@pytest.mark.parametrize("document", documents())
def test_every_link_leads_somewhere(document):
    assert [*_broken(document)] == []


def test_every_document_with_commands_is_run():
    run = {*AFTER_QUICKSTART, *OF_RECIPES}
    assert {document for document in documents() if blocks(document)} == run


def test_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


def test_every_document_is_reached_from_readme():
    reached, left = set(), ["README.md"]
    while left:
        document = left.pop()
        reached.add(document)
        for link in _LINK.findall((ROOT / document).read_text()):
            target = ((ROOT / document).parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_relative_to(ROOT):
                found = str(target.relative_to(ROOT))
                left += [found] if found not in reached else []
    assert reached == set(documents())
