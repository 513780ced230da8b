// Session: its exchanges as a sequence diagram, as a tree with timed bars, as a table, and its memory.

import { html } from "./preact.js";
import { path } from "./api.js";
import { duration, moment } from "./format.js";
import { Code, Empty, Head, Loading, ProblemBox, Status, Table, useNow } from "./parts.js";
import { useFollowing, usePages } from "./load.js";
import { Block } from "./memory.js";
import { More } from "./sessions.js";
import { to } from "./router.js";
import { Sequence } from "./sequence.js";
import { Tree } from "./tree.js";

const VIEWS = [
  ["", "Sequence"],
  ["tree", "Tree"],
  ["table", "Table"],
  ["memory", "Memory"],
];
const PAGE = 50;

export function Session({ id, query }) {
  const view = query.view ?? "";
  return html`<${Head} title=${id} crumbs=${html`<a href=${to(["sessions"])}>Sessions</a>`} />
    <nav class="switch" aria-label="Show the session as">${VIEWS.map(([name, word]) => html`<a key=${name} href=${to(["sessions", id], { view: name })} aria-current=${view === name ? "page" : undefined}>${word}</a>`)}</nav>
    <section>${view === "memory" ? html`<${SessionMemory} id=${id} />` : html`<${Exchanges} id=${id} view=${view} />`}</section>
    <section><h2>On the command line</h2><${Code} text=${`aorch ${view === "memory" ? "memory" : "sessions"} show ${quoted(id)}`} label="Command" /></section>`;
}

function Exchanges({ id, view }) {
  const { items, page, problem, loading, more, reload } = usePages(path`sessions/${id}/tree`, "roots", { order: "desc", limit: PAGE });
  useFollowing(id, reload);
  if (problem) return html`<${ProblemBox} problem=${problem} />`;
  if (!page) return html`<${Loading} />`;
  if (!items.length) return html`<${Empty} icon="sessions" title="No exchanges in this session" />`;
  const roots = items.toReversed();
  const earlier = more && html`<div class="more above"><button disabled=${loading} onClick=${more}>Show earlier exchanges</button></div>`;
  if (view === "tree") return html`${earlier}<${Tree} roots=${roots} />`;
  if (view === "table") return html`${earlier}<${Everything} exchanges=${flat(roots)} />`;
  return html`${earlier}<${Sequence} exchanges=${flat(roots)} />`;
}

function flat(roots) {
  const found = roots.flatMap((node) => [node, ...flat(node.children)]);
  return found.sort((one, other) => (one.contract_id < other.contract_id ? -1 : 1));
}

function Everything({ exchanges }) {
  return html`<${Table} label="Exchanges of the session" columns=${[["Capability"], ["Agent"], ["Status"], ["Started"], ["Duration", "right"], ["Error"]]}>
    ${exchanges.map((node) => html`<tr key=${node.contract_id}><td class="break"><a href=${to(["exchanges", node.contract_id])}>${node.capability}</a></td><td class="break">${node.agent_id}</td>
      <td><${Status} status=${node.status} /></td><td class="number">${moment(node.created_at)}</td><td class="right">${duration(node.duration_ms)}</td><td class="break bad">${node.error}</td></tr>`)}</${Table}>`;
}

function SessionMemory({ id }) {
  const now = useNow();
  const { items, page, problem, loading, more } = usePages(path`sessions/${id}/memory`, "blocks", { limit: 20 });
  if (problem) return html`<${ProblemBox} problem=${problem} />`;
  if (!page && loading) return html`<${Loading} />`;
  if (!items.length) return html`<${Empty} icon="memory" title="This session has no memory yet"><p>Compress it in a terminal:</p><${Code} text=${`aorch compress ${quoted(id)}`} label="Command" /></${Empty}>`;
  return html`<div class="cards">${items.map((block) => html`<${Block} key=${block.block_id} block=${block} now=${now} inSession />`)}</div><${More} more=${more} />`;
}

const quoted = (text) => (/^[\w.:@%+=,/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
