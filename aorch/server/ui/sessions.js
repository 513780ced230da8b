// Sessions: by last activity.

import { html } from "./preact.js";
import { number } from "./format.js";
import { Age, Code, Empty, Head, Loading, ProblemBox, Table, useNow } from "./parts.js";
import { usePages } from "./load.js";
import { to } from "./router.js";

export function Sessions() {
  const now = useNow();
  const { items, page, problem, loading, more } = usePages("sessions", "sessions", { order: "last_at", limit: 50 });
  return html`<${Head} title="Sessions" /><${ProblemBox} problem=${problem} />
    ${!page && loading ? html`<${Loading} />` : null}
    ${page && !items.length && html`<${Empty} icon="sessions" title="No sessions yet"><p>A session groups the exchanges of one line of work. Name one with <code>--session</code>:</p><${Code} text="aorch run echo text=hello --session first" label="Command" /></${Empty}>`}
    ${items.length > 0 && html`<${Table} label="Sessions" columns=${[["Session"], ["Exchanges", "right"], ["Failed", "right"], ["Open", "right"], ["Last activity", "right"]]}>
      ${items.map((session) => html`<tr key=${session.session_id}><td class="break"><a href=${to(["sessions", session.session_id])}>${session.session_id}</a></td>
        <td class="right">${number(session.exchanges)}</td><td class="right">${session.failed ? html`<span class="bad">${number(session.failed)}</span>` : html`<span class="muted">0</span>`}</td>
        <td class="right">${session.open ? html`<span class="in_progress">${number(session.open)}</span>` : html`<span class="muted">0</span>`}</td>
        <td class="right"><${Age} time=${session.last_at} now=${now} /></td></tr>`)}</${Table}>`}
    <${More} more=${more} />`;
}

/** The button for the next page, if there is one. */
export function More({ more }) {
  return more ? html`<div class="more"><button onClick=${more}>Show more</button></div>` : null;
}
