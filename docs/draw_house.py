"""Draw `house.svg`, the plan of the tree: `python docs/draw_house.py`."""

from __future__ import annotations

from html import escape
from pathlib import Path

Room = tuple[str, str]  # folder of the tree, what is inside

# From the street door down; imports only point down.
FLOORS: tuple[tuple[str, tuple[Room, ...]], ...] = (
    ("doors", (("scripts", "one script per protocol of a paper"), ("promptshift/cli", "the command promptshift"))),
    (
        "answers",
        (("promptshift/report", "one page of all runs"), ("promptshift/studies", "figures and checks of papers")),
    ),
    (
        "plans",
        (("promptshift/protocols", "which runs make a table"), ("promptshift/launch", "runs them, resumes them")),
    ),
    (
        "papers",
        (("trainers", "a paper is a file: CoOp, KgCoOp, MaPLe, PromptSRC, DPC, SPG, DPSPG, LDPF, TPT, PromptSync"),),
    ),
    ("their bases", (("promptshift/bases", "learn prompts"), ("promptshift/adapting", "adapt to a test image"))),
    (
        "a run",
        (
            ("promptshift/runs", "command line to result.json"),
            ("promptshift/results", "records, tables, printed numbers"),
        ),
    ),
    (
        "images, CLIP",
        (
            ("datasets", "folders, splits"),
            ("promptshift/mini", "the embedded world"),
            ("promptshift/modeling", "frozen CLIP, prompts"),
        ),
    ),
    ("ground", (("dassl", "Dassl's names on PyTorch 2"), ("clip", "the names of OpenAI's clip package"))),
)
WIDTH, LEFT, RIGHT, TOP, HEIGHT, GAP = 860, 150, 836, 92, 46, 8
WALL, PAPER, INK, FAINT = "#8d7b68", "#fbf7f0", "#2b2622", "#6b6159"
COLOURS = ("#f3d9b1", "#f6e3c5", "#e5e7c3", "#f2c9b4", "#dfe3ea", "#cfe0dc", "#d5dbe8", "#ded5ca")


def text(x: float, y: float, words: str, size: float = 12, fill: str = INK, **more: str) -> str:
    """Return a line of text; further attributes by name, `_` for `-`."""
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{extra}>{escape(words)}</text>'


def room(x: float, y: float, width: float, name: str, inside: str, fill: str) -> str:
    """Return one room: its folder in bold, what is inside below it."""
    centre = x + width / 2
    box = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="{WALL}"/>'
    label = text(centre, y + 19, f"{name}/", 13, text_anchor="middle", font_weight="600")
    return f"{box}\n{label}\n{text(centre, y + 36, inside, 11.5, FAINT, text_anchor='middle')}"


def floor(index: int, name: str, rooms: tuple[Room, ...]) -> str:
    """Return one floor: its name outside, its rooms side by side."""
    y, width = TOP + index * (HEIGHT + GAP), (RIGHT - LEFT - GAP * (len(rooms) - 1)) / len(rooms)
    parts = [text(LEFT - 14, y + HEIGHT / 2 + 4, name, 12, FAINT, text_anchor="end")]
    for column, (folder, inside) in enumerate(rooms):
        parts.append(room(LEFT + column * (width + GAP), y, width, folder, inside, COLOURS[index]))
    return "\n".join(parts)


def house() -> str:
    """Return the drawing as SVG text."""
    bottom = TOP + len(FLOORS) * (HEIGHT + GAP)
    about = "PromptShift from the street door down; imports only point down"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 40}" width="{WIDTH}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{about}">',
        f"<title>{about}</title>",
        f'<rect width="{WIDTH}" height="{bottom + 40}" rx="8" fill="{PAPER}"/>',
        f'<path d="M{LEFT - 12} {TOP - 8} L{(LEFT + RIGHT) / 2:g} 14 L{RIGHT + 12} {TOP - 8} Z" fill="#b5523b"/>',
        text((LEFT + RIGHT) / 2, 70, "PromptShift", 22, "#ffffff", text_anchor="middle", font_weight="700"),
        *(floor(index, *of) for index, of in enumerate(FLOORS)),
        f'<path d="M26 {TOP + 4} V{bottom - 14} m-5 -9 l5 9 l5 -9" fill="none" stroke="{WALL}" stroke-width="2"/>',
        text(LEFT, bottom + 22, "Around the house: configs/  papers/  benchmarks/  docs/  tests/  output/", 12, FAINT),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("house.svg").write_text(house(), encoding="utf-8")
