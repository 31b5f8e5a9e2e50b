"""Text in Markdown is text: as a reader of Markdown shows it, and as nothing more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from spectral_stride.torch.training.report.markdown import (
    Markdown,
    code,
    code_block,
    escaped,
    one_line,
    table,
)

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

HOSTILE = [
    "![x](/etc/passwd)",
    "[x](https://example.com)",
    "[x]: https://example.com",
    "<img src=x onerror=alert(1)>",
    "<script>",
    "&lt;b&gt;",
    "# heading",
    "## ",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "> quote",
    "---",
    "- - -",
    "===",
    "***",
    "___",
    "*a* _b_ **c** __d__ ~~e~~",
    "`code`",
    "```",
    "~~~",
    "a | b",
    "a \\| b",
    "\\",
    "a\\",
    "    code",
    "\ttab",
    "a\n\n# b",
    "a\r\n- b",
    "$x$",
    ":--",
    "-",
]


def tags(markdown):
    """Names of all that a reader finds, but text."""
    found = []
    for token in READER.parse(markdown):
        found += [token.type, *(child.type for child in token.children or [])]
    return [name for name in found if name != "text"]


def shown(token):
    return "".join(child.content for child in token.children)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_has_a_meaning_in_markdown_is_shown_as_it_is(text):
    for before in ("", "word "):
        assert tags(before + escaped(text)) == ["paragraph_open", "inline", "paragraph_close"]
        (_, inline, _) = READER.parse(before + escaped(text))
        assert shown(inline) == before + one_line(text)


@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from("\\`*_[]<>&|~$#-+=1.)! \n"), min_size=1)
)
def test_any_text_is_shown_as_it_is(text):
    if one_line(text):
        (_, inline, _) = READER.parse(escaped(text))
        assert shown(inline) == one_line(text)
        assert {child.type for child in inline.children} == {"text"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_cells(text):
    cells = [token for token in READER.parse(table([text, "b"], [["c", text]]))]
    found = [shown(token) if token.children else "" for token in cells if token.type == "inline"]
    assert found == [one_line(text), "b", "c", one_line(text)]
    allowed = {"table", "thead", "tbody", "tr", "th", "td", "inline", ""}
    kinds = {name.removesuffix("_open").removesuffix("_close") for name in tags(table([text], []))}
    assert kinds <= allowed


@pytest.mark.parametrize("text", [*HOSTILE, "", "`", "a ``` b"])
def test_code_stays_code(text):
    assert tags(code(text)) == ["paragraph_open", "inline", "code_inline", "paragraph_close"]


@pytest.mark.parametrize("text", [*HOSTILE, "", "````\n# b\n`````", "a\n```\n[x](y)\n```"])
def test_no_line_closes_a_block_of_code(text):
    (block,) = READER.parse(code_block(text, "sh"))
    assert (block.type, block.info) == ("fence", "sh")
    assert block.content.splitlines() == [one_line(line) for line in text.splitlines()]


def test_a_line_has_what_can_be_seen_and_not_too_much_of_it():
    assert one_line(" a\n\tb\u2028c ") == "a b c"
    assert one_line("\x1b[31m\ud800\u202ea") == "\ufffd[31m\\ud800\ufffda"
    assert len(one_line("a" * 10**6)) < 3000


def test_addresses_are_no_links_to_readers_that_look_for_them():
    reader = MarkdownIt("gfm-like", {"linkify": False})
    assert escaped("https://example.com www.example.com") == (
        "https\\://example.com www\\.example.com"
    )
    (_, inline, _) = reader.parse(escaped("https://example.com"))
    assert shown(inline) == "https://example.com"


def test_what_is_markdown_stays():
    assert escaped(Markdown("*a*")) == "*a*"
    assert escaped(escaped("*a*")) == "\\*a\\*"
