// Agents: their state, since when and why, and how they do.

import { html } from "./preact.js";
import { path, post } from "./api.js";
import { counted, duration, moment, number, percent, span } from "./format.js";
import { Action, Age, Code, Empty, Head, Loading, ProblemBox, useNow } from "./parts.js";
import { useLoad } from "./load.js";
import { to } from "./router.js";

const REFRESH_MS = 5_000;
/** Figures of a large ledger take a while to compute. */
const FIGURES_MS = 30_000;

export function Agents({ query }) {
  const now = useNow();
  const { data, problem, reload } = useLoad("agents", {}, REFRESH_MS);
  const figures = useLoad("stats", { by: "agent", limit: 1_000 }, FIGURES_MS);
  const agents = (data?.agents ?? []).filter((agent) => !query.agent || agent.agent_id === query.agent);
  return html`<${Head} title="Agents"><span class="muted">${data && counted(data.total, "agent")}</span>
      ${query.agent && html`<div class="actions"><a class="button" href=${to(["agents"])}>Show all agents</a></div>`}</${Head}>
    <${ProblemBox} problem=${problem} />
    ${!data && !problem && html`<${Loading} />`}
    ${data && !agents.length && html`<${None} agent=${query.agent} />`}
    <div class="cards">${agents.map((agent) => html`<${Card} key=${agent.agent_id} agent=${agent} figures=${figuresOf(figures.data, agent.agent_id)} now=${now} reload=${reload} />`)}</div>`;
}

const figuresOf = (stats, agent_id) => stats?.groups?.find((group) => group.key === agent_id);

function None({ agent }) {
  if (agent) return html`<${Empty} icon="agents" title="No such agent now"><p class="break">${agent} is not configured or registered any more. Its exchanges are still in the ledger.</p><a class="button" href=${to(["live"], { agent })}>Show its exchanges</a></${Empty}>`;
  return html`<${Empty} icon="agents" title="No agents yet"><p>An agent is a program, a Python class, an HTTP endpoint or a model. Add one:</p><${Code} text="aorch agents add --help" label="Command" /></${Empty}>`;
}

function Card({ agent, figures, now, reload }) {
  const act = (word) => async () => {
    await post(path`agents/${agent.agent_id}/` + word);
    reload();
  };
  return html`<article class="card"><header><h2>${agent.agent_id}</h2>
      <span class="state ${agent.status}"><span class="dot"></span>${agent.status}</span>
      <span class="muted">for <${Since} time=${agent.since} now=${now} /></span>
      <div class="actions">
        <${Action} scope="agents" label="Check" run=${act("check")} done=${`${agent.agent_id} was checked.`} />
        ${agent.owner !== null && agent.status !== "draining" && html`<${Action} scope="agents" label="Drain" question=${`Drain ${agent.agent_id}?`} consequence="It finishes its running tasks and gets no new ones until it is registered again." run=${act("drain")} done=${`${agent.agent_id} drains.`} />`}
      </div></header>
    ${agent.problem && html`<p class="bad break">${agent.problem}</p>`}
    ${agent.description && agent.description !== agent.endpoint && html`<p class="muted break">${agent.description}</p>`}
    <dl class="figures">
      <div><dt>Exchanges, 24 h</dt><dd>${figures ? html`<a href=${to(["live"], { agent: agent.agent_id })}>${number(figures.count)}</a>` : "0"}</dd></div>
      <div><dt>Failed</dt><dd class=${figures?.failed ? "bad" : ""}>${figures ? percent(figures.failed / figures.count) : "–"}</dd></div>
      <div><dt>p50</dt><dd>${duration(figures?.p50_ms) || "–"}</dd></div>
      <div><dt>p95</dt><dd>${duration(figures?.p95_ms) || "–"}</dd></div>
      <div><dt>Kind</dt><dd>${agent.kind}</dd></div>
      ${agent.breaker && html`<div><dt>Circuit breaker</dt><dd><${Breaker} breaker=${agent.breaker} now=${now} /></dd></div>`}
      ${agent.lease_ends_at && html`<div><dt>Lease ends</dt><dd><${Age} time=${agent.lease_ends_at} now=${now} /></dd></div>`}
      ${agent.endpoint && html`<div><dt>Calls</dt><dd class="break mono">${agent.endpoint}</dd></div>`}
    </dl>
    <details><summary>${counted(agent.capabilities.length, "capability").replace("capabilitys", "capabilities")}</summary>
      <ul class="claims">${agent.capabilities.map((capability) => html`<li key=${capability.name}><strong>${capability.name}</strong> <span class="muted">${capability.description}</span></li>`)}</ul></details>
  </article>`;
}

/** Whether the circuit breaker of an endpoint lets tasks through. */
function Breaker({ breaker: { unanswered, open_until }, now }) {
  if (open_until) return html`<span class="bad">open, tries again <${Age} time=${open_until} now=${now} /></span>`;
  return unanswered ? `closed, ${counted(unanswered, "task")} unanswered` : "closed";
}

function Since({ time, now }) {
  return html`<time class="number" datetime=${time} title=${moment(time)}>${span(time, Math.max(now, Date.now()))}</time>`;
}
