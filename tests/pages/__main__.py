"""Writes the generated parts of the pages in shared/docs; `--check` only says which are old."""

import sys

from tests.pages.blocks import DOCS, filled
from tests.pages.book import BOOK


def main() -> None:
    """Write, or check."""
    checks = sys.argv[1:] == ["--check"]
    old = []
    for name, blocks in BOOK.items():
        page = (DOCS / name).read_text()
        now = filled(page, blocks)
        if now != page:
            old.append(name)
            if not checks:
                (DOCS / name).write_text(now)
    for name in old:
        print(f"{name}: {'is not what the generator writes' if checks else 'written'}")
    sys.exit(1 if checks and old else 0)


if __name__ == "__main__":
    main()
