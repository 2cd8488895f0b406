#!/usr/bin/env python3
"""Makes a picture of a terminal: reads what `tmux capture-pane -e -p` prints, writes SVG.

    tmux capture-pane -e -p | docs/pictures/terminal_to_svg.py "mx6 top over a gate under load" > docs/src/pictures/top.svg

Blocks are drawn as rectangles, so that bars are whole at every size; text is text, and keeps to its columns whatever the font.
"""
import re
import sys
from html import escape

WIDTH, HEIGHT, SIZE, MARGIN = 8.4, 18, 14, 14
GROUND, INK = "#12161c", "#d5dae1"
PALETTE = ["#12161c", "#ef6b73", "#6cc474", "#e3b341", "#6ca4f8", "#c792ea", "#56c8d8", "#d5dae1"]
BRIGHT = ["#6b7480", "#ff8b92", "#8fe388", "#ffd866", "#8fbcff", "#ddb3ff", "#7fe3ef", "#ffffff"]
EIGHTHS = " ▁▂▃▄▅▆▇█"


class Style:
    def __init__(self):
        self.ink, self.ground, self.bold, self.dim, self.line, self.turned = None, None, False, False, False, False

    def key(self):
        ink, ground = self.ink or INK, self.ground or GROUND
        if self.turned:
            ink, ground = ground, ink
        return ink, ground, self.bold, self.dim, self.line

    def take(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.__init__()
            elif code in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "line", 7: "turned"}[code], True)
            elif code == 22:
                self.bold = self.dim = False
            elif code in (24, 27):
                setattr(self, {24: "line", 27: "turned"}[code], False)
            elif code in (38, 48) and codes[:1] == [5] and codes[1] < 16:
                setattr(self, {38: "ink", 48: "ground"}[code], (PALETTE + BRIGHT)[codes[1]])
                del codes[:2]
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.ink = PALETTE[code - 30] if code < 90 else BRIGHT[code - 90]
            elif 40 <= code <= 47:
                self.ground = PALETTE[code - 40]
            elif code == 39:
                self.ink = None
            elif code == 49:
                self.ground = None
            else:
                sys.exit(f"the colour {code} is not known here")


def runs(line, style):
    """Pieces of one style: column, text, style. A style goes on into the next line."""
    column, pieces = 0, []
    for part in re.split(r"(\x1b\[[0-9;]*m|\x0e|\x0f)", line):
        if part.startswith("\x1b["):
            style.take(part[2:-1])
        elif part and part not in "\x0e\x0f":
            pieces.append((column, part, style.key()))
            column += len(part)
    return pieces, column


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rectangle(x, y, width, height, colour, more=""):
    return f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" fill="{colour}"{more}/>'


def block(x, y, character, count, ink):
    if character == "░":
        return rectangle(x, y + 3, count * WIDTH, HEIGHT - 6, ink, ' opacity="0.18"')
    height = HEIGHT * EIGHTHS.index(character) / 8
    return rectangle(x, y + HEIGHT - height, count * WIDTH, height, ink)


def draw(row, column, text, style):
    ink, ground, bold, dim, line = style
    x, y = MARGIN + column * WIDTH, MARGIN + row * HEIGHT
    out = []
    if ground != GROUND:
        out.append(rectangle(x, y, len(text) * WIDTH, HEIGHT, ground))
    for piece in re.finditer(r"([▁▂▃▄▅▆▇█░])\1*|[^▁▂▃▄▅▆▇█░ ]+(?: [^▁▂▃▄▅▆▇█░ ]+)*", text):
        at, words = x + piece.start() * WIDTH, piece.group()
        if piece.group(1):
            out.append(block(at, y, words[0], len(words), ink))
            continue
        looks = (' font-weight="bold"' if bold else "") + (' opacity="0.6"' if dim else "")
        length = number(len(words) * WIDTH)
        out.append(f'<text x="{number(at)}" y="{number(y + 13.5)}" fill="{ink}" textLength="{length}"{looks}>{escape(words)}</text>')
    if line:
        out.append(rectangle(x, y + HEIGHT - 1.5, len(text) * WIDTH, 1, ink, ' opacity="0.5"'))
    return out


def main():
    title = sys.argv[1]
    body, columns, style = [], 0, Style()
    lines = sys.stdin.read().rstrip("\n").split("\n")
    for row, line in enumerate(lines):
        pieces, wide = runs(line, style)
        columns = max(columns, wide)
        for piece in pieces:
            body += draw(row, *piece)
    width, height = columns * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" '
          f'height="{number(height)}" role="img" font-size="{SIZE}" '
          f'font-family="\'DejaVu Sans Mono\', ui-monospace, Menlo, Consolas, monospace">')
    print(f"<title>{escape(title)}</title>")
    print(f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>')
    print("\n".join(body))
    print("</svg>")


main()
