"""Write the tables of docs/figures.md from the figures that play.py left.

    python examples/paper/tables.py docs/figures docs/figures.md

Between `<!-- figure: NAME -->` and `<!-- end -->` comes the table of NAME.json in the folder, and
between `<!-- data -->` and `<!-- end -->` what all of them were played on.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from play import data_table, table

BLOCK = re.compile(r"(<!-- (?:data|figure: ([\w.-]+)) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, figures: Path) -> str:
    """Return a page with the tables as the figures have them now.

    Parameters
    ----------
    text : str
    figures : Path
        Folder with NAME.json for each figure.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] is None:
            shown = data_table(
                json.loads(path.read_bytes()) for path in sorted(figures.glob("*.json"))
            )
        else:
            shown = table(json.loads((figures / f"{found[2]}.json").read_bytes()))
        return f"{found[1]}\n{shown}\n{found[3]}"

    return BLOCK.sub(block, text)


def main(figures: str, path: str) -> int:
    """Write the page anew."""
    file = Path(path)
    file.write_text(page(file.read_text("utf-8"), Path(figures)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
