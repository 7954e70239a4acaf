"""HTML and SVG that are escaped by construction: text becomes markup only through `element`.

Invariant: what `element` returns is well-formed XML too, so a page can be checked by a strict parser.
"""

import html

_VOID = frozenset({"meta", "link", "br", "hr"})
_ENDS_A_LINE = frozenset({"body", "div", "dl", "figure", "head", "li", "p", "section", "svg", "table", "tr"})


class Markup(str):
    """Text that is markup already; a plain str never is."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """Build an element; `class_` stands for class, `aria_label` for aria-label."""
    named = "".join(f' {_attribute(name)}="{escape(str(value))}"' for name, value in attributes.items())
    end = "\n" if tag in _ENDS_A_LINE else ""
    if tag in _VOID:
        return Markup(f"<{tag}{named}/>{end}")
    return Markup(f"<{tag}{named}>{joined(*children)}</{tag}>{end}")


def joined(*children: str) -> Markup:
    """Put markup and text one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def escape(text: str) -> Markup:
    """Make text harmless; control characters, lone surrogates and changes of direction become visible."""
    return Markup(html.escape("".join(char if _is_harmless(char) else _made_visible(char) for char in text)))


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in {"\n", "\N{NO-BREAK SPACE}"}


def _made_visible(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _attribute(name: str) -> str:
    return name.removesuffix("_").replace("_", "-")
