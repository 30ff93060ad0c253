"""Build the documentation site, by zensical (`pip install -e '.[docs]'`): the README, docs/ and the recipes' READMEs.

python scripts/docs_site.py [FOLDER]          into FOLDER/site; FOLDER is build/docs where none is given

The pages are written to be read in the clone. They are gathered under the same names, so that links between them stay;
a link to a file of the code becomes that file's path.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
CONFIG = "zensical.toml"
STYLE = "docs/site/pages.css"
PAGES = ("*.md", "docs/**/*.md", "recipe/**/*.md")
PICTURES = {".png", ".svg"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")


def gather(folder: Path) -> None:
    """Write the pages, with their pictures, and the configuration into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    for page in sorted(path for pattern in PAGES for path in REPO.glob(pattern)):
        written = pages / page.relative_to(REPO)
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(LINK.sub(lambda link, page=page: link_of_site(link, page, pages), page.read_text()))
    (pages / STYLE).parent.mkdir()
    shutil.copy(REPO / STYLE, pages / STYLE)
    shutil.copy(REPO / CONFIG, folder)


def link_of_site(link: re.Match, page: Path, pages: Path) -> str:
    """A link of a page as it is on the site; a picture that it shows is copied."""
    target = (page.parent / link[3]).resolve()
    path = target.relative_to(REPO)
    if target.suffix == ".md":
        return link[0]
    if target.suffix in PICTURES:
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target, pages / path)
        return link[0]
    return f"`{path}`" if link[2].strip("`") in (target.name, str(path)) else f"{link[2]} (`{path}`)"


def build(folder: Path) -> int:
    """The site of what was gathered; the exit code, not 0 where there is a warning."""
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=folder).returncode


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else REPO / "build/docs").absolute()
    gather(place)
    sys.exit(build(place))
