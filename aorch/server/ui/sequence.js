// The sequence diagram of a session, drawn as SVG: who asked whom, in order, and how it ended.

import { html } from "./preact.js";
import { counted, duration } from "./format.js";
import { Empty } from "./parts.js";
import { to } from "./router.js";

const WIDE = 190;
const NARROW = 132;
const NARROW_SCREEN = 760;
const ROW = 62;
const TOP = 64;
const MOST = 100;

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

export function Sequence({ exchanges }) {
  if (!exchanges.length) return html`<${Empty} icon="sessions" title="No exchanges in this session" />`;
  const shown = exchanges.slice(0, MOST);
  const agents = new Map(exchanges.map((each) => [each.contract_id, each.agent_id]));
  const steps = shown.map((each) => ({ ...each, from: agents.get(each.parent_id) ?? each.from_agent ?? "orchestrator", to: each.agent_id ?? "no agent" }));
  const actors = [...new Set(steps.flatMap(({ from, to }) => [from, to]))];
  const column = innerWidth <= NARROW_SCREEN ? NARROW : WIDE;
  const longest = Math.floor((column - 24) / 7.5);
  const place = (actor) => actors.indexOf(actor) * column + column / 2;
  const width = Math.max(actors.length, 2) * column;
  const height = TOP + steps.length * ROW + 20;
  return html`<div class="diagram" tabindex="0" role="region" aria-label="Sequence diagram">
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="group" aria-label=${`${counted(steps.length, "exchange")} between ${actors.join(", ")}`}>
      ${steps.map((_, row) => row % 2 === 0 && html`<rect class="zebra" x="0" y=${TOP + row * ROW - 8} width=${width} height=${ROW} />`)}
      ${actors.map((actor) => html`<g class="actor"><line class="life" x1=${place(actor)} x2=${place(actor)} y1="44" y2=${height} />
        <rect x=${place(actor) - column / 2 + 6} y="14" width=${column - 12} height="30" rx="6" /><text x=${place(actor)} y="34" text-anchor="middle"><title>${actor}</title>${cut(actor, longest)}</text></g>`)}
      ${steps.map((step, row) => html`<${Step} step=${step} y=${TOP + row * ROW} start=${place(step.from)} end=${place(step.to)} longest=${Math.floor((Math.abs(place(step.to) - place(step.from)) || column) / 6.5)} />`)}
    </svg></div>
    ${exchanges.length > shown.length && html`<p class="muted">The first ${MOST} of ${counted(exchanges.length, "exchange")}. The table shows all.</p>`}`;
}

function Step({ step, y, start, end, longest }) {
  const own = start === end;
  const middle = own ? start + 46 : (start + end) / 2;
  const away = end > start ? 1 : -1;
  const there = own ? `M${start} ${y + 16}h36v10h-30` : `M${start} ${y + 18}H${end - away * 7}`;
  const back = own ? `M${start} ${y + 40}h12` : `M${end} ${y + 40}H${start + away * 7}`;
  const end_text = [step.status.replace("_", " "), duration(step.duration_ms)].filter(Boolean).join(", ");
  const isOver = step.status !== "pending" && step.status !== "in_progress";
  return html`<a href=${to(["exchanges", step.contract_id])} class=${step.status}>
    <title>${[`${step.capability} ${end_text}: ${step.from} asks ${step.to}`, step.error].filter(Boolean).join(". ")}</title>
    <path class="arrow" d=${there} /><${Point} x=${own ? start + 6 : end} y=${own ? y + 26 : y + 18} away=${own ? -1 : away} />
    <text x=${middle} y=${y + 11} text-anchor=${own ? "start" : "middle"}>${cut(step.capability, longest)}</text>
    ${isOver && html`<path class="arrow reply" d=${back} />${!own && html`<${Point} x=${start} y=${y + 40} away=${-away} />`}`}
    <text class="note" x=${middle} y=${y + 35} text-anchor=${own ? "start" : "middle"}>${cut(end_text, longest)}</text></a>`;
}

const Point = ({ x, y, away }) => html`<path class="head-of" d=${`M${x} ${y}l${-away * 8} -4v8z`} />`;
