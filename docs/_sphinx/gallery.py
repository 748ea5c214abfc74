"""The gallery: whatever notebooks there are, copied beside the pages, and a card for each."""

import base64
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Card", "card", "write"]

_LONGEST = 220
_EMPTY = "No notebook has been written yet."
# Applications are numbered from ten on.
_SECTIONS = (("Ideas", range(10)), ("Applications", range(10, 100)))


@dataclass(frozen=True)
class Card:
    """What a notebook shows of itself: its name, title, first sentences, and first picture, if it has one."""

    name: str
    title: str
    text: str
    picture: bytes | None

    @property
    def number(self) -> int:
        """The number that its name begins with; 0 if there is none."""
        found = re.match(r"\d+", self.name)
        return int(found.group()) if found else 0


def write(notebooks: Path, folder: Path) -> None:
    """Copy the notebooks into the folder, with an index of cards; what is no longer there goes."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    found = sorted(notebooks.glob("*.ipynb"))
    for stale in {path.name for path in folder.glob("*.ipynb")} - {path.name for path in found}:
        (folder / stale).unlink()
    cards = []
    for path in found:
        copy = folder / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copy2(path, copy)
        cards.append(card(path))
        if cards[-1].picture is not None:
            (pictures / f"{path.stem}.png").write_bytes(cards[-1].picture)
    index = folder / "index.md"
    text = _index(cards)
    if not index.exists() or index.read_text(encoding="utf-8") != text:
        index.write_text(text, encoding="utf-8")


def card(path: Path) -> Card:
    """Read the card of a notebook from its file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = "\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")
    title = re.search(r"^# +(.+)$", words, re.MULTILINE)
    after = words[title.end() :] if title else words
    paragraph = next(
        (part for part in re.split(r"\n\s*\n", after) if part.strip() and not part.lstrip().startswith(("#", "!", "|"))), ""
    )
    return Card(path.stem, title.group(1).strip() if title else path.stem, _short(paragraph), _picture(cells))


def _short(paragraph: str) -> str:
    """First sentences of a paragraph, without links and formulas' dollars."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
    if len(text) <= _LONGEST:
        return text
    cut = text[:_LONGEST]
    end = cut.rfind(". ")
    return cut[: end + 1] if end > 60 else cut.rsplit(" ", 1)[0] + " …"


def _picture(cells: list[dict[str, Any]]) -> bytes | None:
    for cell in cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                return base64.b64decode("".join(picture))
    return None


def _index(cards: list[Card]) -> str:
    parts = [
        "# Notebooks\n\nEach notebook is shown as it was run, from top to bottom, with its outputs; `make notebooks` runs them again.\n"
    ]
    if not cards:
        parts.append(_EMPTY + "\n")
    for title, numbers in _SECTIONS:
        some = [each for each in cards if each.number in numbers]
        if some:
            grid = "\n".join(_markdown(each) for each in some)
            parts.append(f"## {title}\n\n:::::{{grid}} 1 2 3 3\n:gutter: 3\n\n{grid}\n:::::\n")
    if cards:
        names = "\n".join(each.name for each in cards)
        parts.append(f"```{{toctree}}\n:hidden:\n\n{names}\n```\n")
    return "\n".join(parts)


def _markdown(each: Card) -> str:
    picture = "" if each.picture is None else f":img-top: pictures/{each.name}.png\n:img-alt: First figure of the notebook\n"
    return f"::::{{grid-item-card}} {each.title}\n:link: {each.name}\n:link-type: doc\n{picture}\n{each.text}\n::::\n"
