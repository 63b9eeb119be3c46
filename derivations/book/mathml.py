"""LaTeX to MathML at build time: readable without a network and without JavaScript.

What `latex2mathml` leaves to attributes that browsers have dropped from MathML is said in
characters and in CSS.
"""

import re
import unicodedata

from latex2mathml.converter import convert

DIGITS = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]


def block(latex):
    """A formula on lines of its own."""
    return _modern(convert(_known(latex), display="block"))


def inline(latex):
    """A formula within a line."""
    return _modern(convert(_known(latex)))


def apart(latex):
    """The formulas that stand in one line with space between them, each on its own."""
    pieces = [""]
    for part in re.split(r"(\\qquad)", latex):
        inside = pieces[-1].count(r"\begin") > pieces[-1].count(r"\end")
        if part != r"\qquad" or inside:
            pieces[-1] += part
        else:
            pieces.append("")
    return [piece.strip().rstrip(",") for piece in pieces]


def _known(latex):
    latex = re.sub(r"\\\\\[[\d.]+ex\]", r"\\\\", latex)  # no space between rows
    return re.sub(r"\{aligned\}", r"{align*}", latex)


def _modern(markup):
    markup = re.sub(r">\\([{}])<", r">\1<", markup)  # large ones
    if "&<" in markup or "\\" in markup:
        raise ValueError(f"MathML does not know all of it: {markup}")
    markup = re.sub(
        r'<(m[in]) mathvariant="(sans-serif|script|bold)">(\w)</m[in]>',
        lambda found: f"<{found[1]}>{_letter(found[2], found[3])}</{found[1]}>",
        markup,
    )
    aligned = r'style="text-align:\1;text-align:-webkit-\1"'  # a cell is a block to Chromium
    markup = re.sub(r'columnalign="(right|left|center)"', aligned, markup)
    prime = "<mrow>\\1<mo lspace='0' rspace='0'>\\2</mo></mrow>"
    return re.sub(r"<msup>(<mi>(?:\w|&#x\w+;)</mi>)<mi>(&#x0203[23];)</mi></msup>", prime, markup)


def _letter(font, letter):
    """A letter of a font, as a character of its own."""
    kind = "DIGIT" if letter.isdigit() else "CAPITAL" if letter.isupper() else "SMALL"
    name = DIGITS[int(letter)] if letter.isdigit() else letter.upper()
    for begin in ("MATHEMATICAL ", ""):  # those that were there before have the shorter name
        try:
            return unicodedata.lookup(f"{begin}{font.upper()} {kind} {name}")
        except KeyError:
            continue
    return letter
