// Search: words in parameters, results and errors.

import { html } from "./preact.js";
import { Empty, Field, Loading, ProblemBox, Head, useNow } from "./parts.js";
import { usePages } from "./load.js";
import { Filters } from "./live.js";
import { ExchangeRows } from "./rows.js";
import { More } from "./sessions.js";
import { setQuery } from "./router.js";

export function Search({ query }) {
  const { text, ...others } = query;
  return html`<${Head} title="Search" />
    <${Filters} query=${query}><${Field} wide label="Words in parameters, results and errors" value=${text ?? ""} onInput=${(value) => setQuery({ ...others, text: value })} /></${Filters}>
    ${text ? html`<${Results} query=${query} />` : html`<${Empty} icon="search" title="Search the ledger"><p>Every word must occur. Status, capability, agent, session and caller narrow the search.</p></${Empty}>`}`;
}

function Results({ query: { session, ...query } }) {
  const now = useNow();
  const { items, page, problem, loading, more } = usePages("exchanges", "exchanges", { ...query, session_id: session, limit: 50 });
  return html`<${ProblemBox} problem=${problem} />
    ${loading && !page && html`<${Loading} />`}
    <p class="hidden" role="status">${page && !loading ? (items.length ? `${items.length} exchanges found` : "Nothing found") : ""}</p>
    ${page && !items.length && !loading && html`<${Empty} icon="search" title="Nothing found"><p>Try fewer words, or clear the filters.</p></${Empty}>`}
    ${items.length > 0 && html`<${ExchangeRows} exchanges=${items} now=${now} />`}<${More} more=${more} />`;
}
