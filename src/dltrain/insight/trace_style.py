"""How the page of a trace looks, and which of its moments is shown: CSS alone."""

from __future__ import annotations

STYLE = """
main { max-width: 76rem; }
:root { --down: #1a5fb4; --up: #b3204d; --new: #1f7a3d; }
.forward { --now: var(--down); --tint: #e3eefb; } .backward { --now: var(--up); --tint: #fbe6ec; }
.update { --now: var(--new); --tint: #e2f3e6; } nav, nav > div { --now: #444; }
nav .forward { --now: var(--down); } nav .backward { --now: var(--up); } nav .update { --now: var(--new); }
.deck > input { position: fixed; top: 40%; opacity: 0; pointer-events: none; }
nav { position: sticky; top: 0; z-index: 1; background: #fff; padding: .5rem 0; border-bottom: 1px solid #e3e3e3;
  max-height: 30vh; overflow-y: auto; }
nav > div { display: flex; gap: .6rem; align-items: baseline; }
nav b { flex: 0 0 4.6rem; color: var(--now); font-size: .8rem; text-align: right; font-weight: 600; }
nav > div > span { display: flex; flex-wrap: wrap; gap: .25rem; padding: .12rem 0; }
label { cursor: pointer; border: 1px solid #d5d9de; border-radius: 1rem; padding: 0 .55rem; font-size: .9rem;
  color: #333; background: #fff; user-select: none; line-height: 1.6; }
label:hover { border-color: #888; }
.stage { display: none; grid-template-columns: auto minmax(0, 1fr); gap: .5rem 2.5rem; padding: 1.2rem 0;
  align-items: start; }
#all:checked ~ .stage { border-bottom: 1px solid #e3e3e3; } #all:checked ~ .stage .way { display: none; }
.drawing { overflow-x: auto; max-width: 100%; }
.said { min-width: 0; }
.said h2 { margin: 0 0 .3rem; font-size: 1.5rem; color: var(--now); font-weight: 500; }
.said h2 small { display: block; font: 600 .8rem system-ui, sans-serif; color: #666; }
.said > p { margin: 0 0 1rem; color: #333; } .said > p.rule { color: #555; font-size: .95rem; }
.line { margin: 0 0 1.1rem; border-left: 3px solid var(--tint); padding-left: .8rem; }
.equation { font-size: 1.15rem; overflow-wrap: anywhere; }
.equation, .said h2, nav label i, .worked { font-family: "STIX Two Text", "Cambria", "Times New Roman", Tinos, serif; }
.words { font: .8rem system-ui, sans-serif; color: #777; white-space: nowrap; }
.matrix { margin: .35rem 0; border-left: 1.5px solid #555; border-right: 1.5px solid #555; border-radius: 3px; }
.matrix td, .matrix td:first-child { border: 0; text-align: right; padding: .05rem .6rem; font-size: .92rem; }
.like { font-size: .92rem; color: #444; }
.worked { color: #555; font-size: .98rem; overflow-wrap: anywhere; line-height: 1.6; } .worked b { color: var(--now); }
sub, sup { line-height: 0; font-size: .72em; } .worked sub { color: #888; }
.way { display: flex; justify-content: space-between; margin-top: 1.2rem; }
.way label { padding: .2rem 1rem; font-size: 1rem; }
.net { display: block; max-width: none; height: auto; font: 11.5px system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
.net .card { fill: #fff; stroke: #b9c2cc; } .net .card.now { stroke: var(--now); stroke-width: 2; fill: var(--tint); }
.net .total { stroke: #667; } .net .fresh { fill: var(--tint); }
.net .edge { stroke: #c3cad2; } .net .edge.now { stroke: var(--now); }
.net .down, .net .up { stroke-dasharray: 7 5; animation: flow 1s linear infinite; }
.net .up { animation-direction: reverse; }
@keyframes flow { from { stroke-dashoffset: 12; } to { stroke-dashoffset: 0; } }
@media (prefers-reduced-motion: reduce) { .net .down, .net .up { animation: none; } }
.net .name { font: italic 13px "STIX Two Text", "Cambria", "Times New Roman", Tinos, serif; }
.net .later { fill: #b5bcc4; } .net .value, .net .slope, .net .end { text-anchor: end; }
.net .slope, .net .returned { fill: var(--up); } .net .layer { fill: #777; font-size: 10.5px; stroke: #fff;
  stroke-width: 3px; paint-order: stroke; }
.net .weight { text-anchor: middle; stroke: #fff; stroke-width: 4px; paint-order: stroke; }
.net .now { font-weight: 700; } .net text.now:not(.slope):not(.returned) { fill: var(--now); }
.net .renewed { fill: var(--new); font-weight: 700; }
.net .module { font-weight: 600; font-size: 12.5px; } .net .passed { text-anchor: end; }
@media (max-width: 60rem) { .stage { grid-template-columns: minmax(0, 1fr); } .drawing { justify-self: center; } }
@media (max-width: 40rem) { nav b { flex-basis: auto; writing-mode: vertical-rl; display: none; }
  nav label { padding: 0 .4rem; font-size: .82rem; } .net:not(.modules) { zoom: .82; }
  .matrix td, .matrix td:first-child { padding: .05rem .35rem; font-size: .84rem; } }
@media print { .stage { display: grid !important; break-inside: avoid; } nav, .way { display: none; } }
"""


def shown(count: int) -> str:
    """The rules by which a chosen button shows its moment."""
    chosen = ",".join(f"#s{k}:checked ~ #p{k}" for k in range(count))
    lit = ",".join(f"#s{k}:checked ~ nav label[for=s{k}]" for k in range(count))
    focus = ",".join(f"#s{k}:focus-visible ~ nav label[for=s{k}]" for k in range(count))
    white = "background: var(--now); border-color: var(--now); color: #fff;"
    return (
        f"{chosen}, #all:checked ~ .stage {{ display: grid; }}\n"
        f"{lit}, #all:checked ~ nav label[for=all] {{ {white} }}\n"
        f"{focus} {{ outline: 2px solid #222; outline-offset: 1px; }}\n"
    )
