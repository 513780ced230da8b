// Memory: what sessions were compressed to. Each claim links to the contracts that it comes from.

import { html } from "./preact.js";
import { counted, number, short } from "./format.js";
import { Age, Code, Empty, Field, Head, Loading, ProblemBox, useNow } from "./parts.js";
import { usePages } from "./load.js";
import { More } from "./sessions.js";
import { setQuery, to } from "./router.js";

const SECTIONS = [
  ["aims", "Aims"],
  ["decisions", "Decisions"],
  ["failures", "Failures"],
  ["results", "Results"],
  ["preferences", "Preferences"],
  ["open_points", "Open points"],
  ["literals", "Literals"],
];

export function Memory({ query }) {
  return html`<${Head} title="Memory" />
    <form class="fields" role="search" aria-label="Search claims" onSubmit=${(event) => event.preventDefault()}><${Field} wide label="Words in claims" value=${query.text ?? ""} onInput=${(text) => setQuery({ text })} /></form>
    ${query.text ? html`<${Claims} text=${query.text} />` : html`<${Newest} />`}`;
}

function Claims({ text }) {
  const { items, page, problem, loading, more } = usePages("memory/search", "claims", { text, limit: 100 });
  return html`<${ProblemBox} problem=${problem} />
    ${!page && loading ? html`<${Loading} />` : null}
    <p class="hidden" role="status">${page && !loading ? `${items.length} claims found` : ""}</p>
    ${page && !loading && !items.length && html`<${Empty} icon="memory" title="No claim has these words"><p>Try fewer words.</p></${Empty}>`}
    ${items.length > 0 && html`<ul class="card claims">${items.map((claim) => html`<${Claim} claim=${claim}><a class="muted" href=${to(["sessions", claim.session_id], { view: "memory" })}>${claim.session_id}</a></${Claim}>`)}</ul>`}<${More} more=${more} />`;
}

function Claim({ claim, children }) {
  return html`<li>${claim.text} <span class="sources">${claim.contract_ids.map((id) => html`<a class="mono" key=${id} href=${to(["exchanges", id])}>${short(id)}</a>`)}${children}</span></li>`;
}

function Newest() {
  const now = useNow();
  const { items, page, problem, loading, more } = usePages("memory", "blocks", { limit: 20 });
  return html`<${ProblemBox} problem=${problem} />
    ${!page && loading ? html`<${Loading} />` : null}
    ${page && !items.length && html`<${Empty} icon="memory" title="No memory blocks yet"><p>Compress a session, and its memory appears here: short claims, each with the contracts that it comes from.</p><${Code} text="aorch compress --all" label="Command" /></${Empty}>`}
    <div class="cards">${items.map((block) => html`<${Block} key=${block.block_id} block=${block} now=${now} />`)}</div><${More} more=${more} />`;
}

/** One memory block. `inSession`: its session is named above already. */
export function Block({ block, now, inSession }) {
  return html`<article class="card"><header>
      ${inSession ? html`<h2 class="mono">${block.block_id}</h2>` : html`<h2><a href=${to(["sessions", block.session_id], { view: "memory" })}>${block.session_id}</a></h2>`}
      <span class="muted"><${Age} time=${block.created_at} now=${now} /></span>
      <span class="pill">${counted(block.covered.count, "contract")}</span><span class="pill">${number(block.size.tokens_after)} of ${number(block.size.tokens_before)} tokens</span></header>
    ${block.summary && html`<p class="break">${block.summary}</p>`}
    ${SECTIONS.filter(([name]) => block[name].length).map(
      ([name, word]) => html`<div key=${name}><h3 class="muted">${word}</h3><ul class="claims">${block[name].map(
        (claim) => html`<${Claim} claim=${claim} />`,
      )}</ul></div>`,
    )}</article>`;
}
