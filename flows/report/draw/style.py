"""The style sheet of the report page: system fonts, light and dark, readable on a phone and on paper."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #646b74; --line: #e2e4e7; --wash: #f3f4f5;
  --accent: #1a64b8; --quiet: #8a929c; --good: #2b7a4b; --bad: #b3261e; --mark: #ff4d2e;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171a; --card: #1b1f23; --ink: #e4e7ea; --soft: #98a1ab; --line: #2e343a; --wash: #22272c;
  --accent: #74b0f2; --quiet: #7b848e; --good: #6cc08b; --bad: #f28b82; --mark: #ff6a4d; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.2rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header > div, nav > div { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding: 44px 0 26px; }
header .kicker { color: var(--soft); font-size: 13px; }
h1 { margin: 2px 0 8px; font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -.012em; }
h2 { margin: 0 0 4px; font-size: 21px; font-weight: 640; letter-spacing: -.006em; }
h2 a, h3 a { color: inherit; text-decoration: none; }
h2 a:hover::after { content: " #"; color: var(--quiet); }
h3 { margin: 26px 0 6px; font-size: 16px; font-weight: 620; }
h4 { margin: 18px 0 4px; font-size: 14px; font-weight: 600; }
p { margin: 6px 0; max-width: 76ch; }
.soft, figcaption, .hint { color: var(--soft); font-size: 13.5px; }
code, .mono { font-family: var(--mono); font-size: .88em; }
nav { position: sticky; top: 0; z-index: 2; background: var(--ground); border-block: 1px solid var(--line); }
nav > div { display: flex; gap: 20px; overflow-x: auto; white-space: nowrap; }
nav a { padding: 9px 0; color: var(--soft); text-decoration: none; font-size: 14px; }
nav a:hover { color: var(--accent); }
h3 code { font-weight: 400; color: var(--soft); margin-left: 4px; }
section { padding: 34px 0 12px; }
section + section { border-top: 1px solid var(--line); }
.lead { font-size: 18px; line-height: 1.5; max-width: 68ch; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0 4px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px 13px; }
.card b { display: block; font-size: 27px; line-height: 1.25; font-weight: 620; font-variant-numeric: tabular-nums;
  letter-spacing: -.015em; }
.card.first { border-color: var(--accent); } .card.first b { color: var(--accent); }
.card span { display: block; color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; margin: 10px 0 14px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
.wide table { width: 100%; }
th { text-align: left; font-weight: 580; color: var(--soft); font-size: 13px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th, td { padding: 6px 22px 6px 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
th.first, td.first { color: var(--accent); font-weight: 600; }
td.given { font-weight: 620; } td.long { color: var(--soft); min-width: 18rem; }
.data th { white-space: normal; vertical-align: bottom; min-width: 4.5rem; max-width: 13rem; line-height: 1.35; }
td.nowrap { white-space: nowrap; }
td .time { display: inline-block; height: 7px; border-radius: 3px; background: var(--accent); opacity: .55; vertical-align: middle;
  margin-left: 10px; }
.status { white-space: nowrap; } .status::before { content: "●"; margin-right: 6px; color: var(--quiet); }
.status.ran::before { color: var(--good); } .status.failed::before { color: var(--bad); }
.problem { border-left: 3px solid var(--bad); background: var(--wash); padding: 8px 14px; border-radius: 0 6px 6px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14px; max-width: none; }
.notes { margin: 10px 0; padding-left: 20px; max-width: 80ch; color: var(--soft); font-size: 14px; } .notes li { margin: 4px 0; }
figure { margin: 10px 0 16px; } figcaption { margin-top: 5px; max-width: 76ch; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 190px), 1fr)); gap: 8px 22px; margin: 10px 0 14px; }
.facts dt { color: var(--soft); font-size: 12.5px; }
.facts dd { margin: 0; font-size: 14px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 8px 22px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 10px 26px; }
.beside { display: flex; flex-wrap: wrap; gap: 0 56px; align-items: flex-start; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); gap: 10px 22px; }
.pixels { display: block; width: 100%; height: auto; }
.pixels image, img.pixels { image-rendering: pixelated; }
img.pixels { border-radius: 4px; }
.outline { fill: none; stroke: var(--mark); stroke-width: 1.25; vector-effect: non-scaling-stroke; stroke-linecap: square; }
.scale { height: 7px; border-radius: 3px; margin-top: 6px;
  background: linear-gradient(90deg, rgb(0 0 4), rgb(87 16 110), rgb(188 55 84), rgb(249 142 9), rgb(252 255 164)); }
.ends { display: flex; justify-content: space-between; color: var(--soft); font-size: 12.5px; }
.chart { display: block; width: 100%; height: auto; }
.chart text, .graph text { font-family: inherit; fill: var(--soft); }
.chart .tick { font-size: 10.5px; }
.chart .name { font-size: 11.5px; fill: var(--ink); }
.chart .grid { stroke: var(--line); fill: none; }
.chart .line { stroke: var(--accent); stroke-width: 1.7; fill: none; stroke-linejoin: round; }
.chart .raw { stroke: var(--accent); stroke-width: 1; opacity: .28; fill: none; }
.chart .bar { stroke-width: 2; fill: none; }
.chart .first { stroke: var(--accent); fill: var(--accent); }
.chart .other { stroke: var(--quiet); fill: var(--quiet); }
.graph { display: block; width: 100%; min-width: 34rem; height: auto; margin: 18px auto 22px; }
.graph .edge { fill: none; stroke: var(--quiet); stroke-width: 1.3; } .graph marker path { fill: var(--quiet); }
.node rect { fill: var(--card); stroke: var(--line); } .node .mark { stroke: var(--quiet); stroke-width: 3; stroke-linecap: round; }
.node.ran .mark { stroke: var(--good); } .node.failed .mark, .node.failed rect { stroke: var(--bad); }
.node.stored rect, .node.skipped rect { stroke-dasharray: 4 3; }
.graph .name { font-size: 14px; font-weight: 600; fill: var(--ink); }
.graph .task { font-size: 11.5px; font-family: var(--mono); }
.graph .state { font-size: 11.5px; }
details { border-bottom: 1px solid var(--line); }
section > details:last-child { border-bottom: 0; }
details > summary { cursor: pointer; padding: 9px 0; }
summary code { color: var(--soft); margin-left: 6px; }
summary .hint { float: right; }
pre { background: var(--wash); border-radius: 8px; padding: 12px 16px; overflow-x: auto; font: 13px/1.5 var(--mono); }
footer { color: var(--soft); font-size: 13px; padding: 12px 0 60px; }
@media (max-width: 640px) { header { padding: 26px 0 16px; } h1 { font-size: 25px; } main, header > div, nav > div { padding: 0 16px;
  } .lead { font-size: 16.5px; } summary .hint { float: none; display: block; } }
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""
