"""Style sheet and script of the page; both stand inside it, so it needs nothing else."""

STYLE = """
:root { --ground: #ffffff; --ink: #1b1f24; --soft: #5a6472; --line: #d5dae1; --band: #f3f5f8; --link: #0b57a4;
  --warn: #8a4b00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --ink: #e6e9ed; --soft: #a3adba; --line: #363d46; --band: #1e2329; --link: #7db7f5;
    --warn: #f0b35e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
a { color: var(--link); } :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
nav ul { padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; }
.scroll { overflow-x: auto; margin: 1rem 0 .25rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
th:first-child, td.text { text-align: left; white-space: normal; min-width: 9rem; }
tbody th { font-weight: 500; } tbody tr { background: var(--ground); }
tbody tr:nth-child(even) { background: var(--band); }
tbody th:first-child { position: sticky; left: 0; background: inherit; max-width: 45vw; }
thead button { all: unset; cursor: pointer; font-weight: 600; } thead button:focus-visible { outline: 2px solid; }
thead button::after { content: " \\2195"; color: var(--soft); }
[aria-sort=ascending] button::after { content: " \\2191"; } [aria-sort=descending] button::after { content: " \\2193"; }
summary { cursor: pointer; } td details ul { list-style: none; margin: .3rem 0 0; padding: 0; font-size: .85rem; }
.notes, .about, figcaption { color: var(--soft); font-size: .9rem; }
.notes { padding-left: 1.2rem; margin-top: .25rem; }
.verdict { border-left: 4px solid var(--link); padding: .2rem .8rem; background: var(--band); }
.problems td { text-align: left; white-space: normal; } .problems tbody th { color: var(--warn); }
figure { margin: 1.5rem 0; display: flex; flex-wrap: wrap; gap: 1rem; } figcaption { flex-basis: 100%; }
figure svg { max-width: 100%; height: auto; display: block; }
@media print { details > ul { display: none; } }
"""

SCRIPT = """
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const column = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const number = cell => cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
    const order = (a, b) => {
      const x = a.cells[column], y = b.cells[column], first = number(x), second = number(y);
      if (isNaN(first) !== isNaN(second)) return isNaN(first) ? 1 : -1;
      return down * (isNaN(first) ? x.textContent.localeCompare(y.textContent) : first - second);
    };
    for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
    body.append(...[...body.rows].sort(order));
  });
}
"""
