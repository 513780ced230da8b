// Exchanges as rows: what the lists of several views show.

import { html } from "./preact.js";
import { oneLine, short } from "./format.js";
import { Age, Duration, Status } from "./parts.js";
import { to } from "./router.js";

/** The caller of a task that no agent and no token asked for. */
export const NOBODY = "orchestrator";

/** Make an exchange of a contract: of a REQUEST, or of a RESPONSE whose REQUEST is not at hand. */
export function exchangeOf(contract) {
  const isRequest = contract.contract_type === "REQUEST";
  const exchange = {
    request_id: isRequest ? contract.contract_id : contract.request_id,
    session_id: contract.session_id,
    parent_id: contract.parent_id,
    capability: contract.capability,
    status: contract.status,
  };
  if (!isRequest) return { ...exchange, ...endOf(contract), from_agent: contract.to_agent, caller: contract.to_agent, created_at: contract.created_at };
  const { from_agent, to_agent: agent_id, created_at, error, result } = contract;
  return { ...exchange, ...callerOf(contract), from_agent, agent_id, created_at, error, result };
}

/** Who asked for the task of a REQUEST: the name of the token; without a token, the agent in `from_agent`. */
export function callerOf({ from_agent, metadata }) {
  const { name, id } = metadata?.caller ?? {};
  return { caller: name ?? from_agent, caller_id: id };
}

/** What a RESPONSE says about its exchange. */
export function endOf(response) {
  return {
    status: response.status,
    agent_id: response.from_agent === "orchestrator" ? null : response.from_agent,
    completed_at: response.created_at,
    duration_ms: response.metadata?.duration_ms ?? null,
    result: response.result,
    error: response.error,
  };
}

/** A list of exchanges, newest first. `fresh`: the ids of those that have just come. */
export function ExchangeRows({ exchanges, now, fresh }) {
  return html`<ol class="rows">${exchanges.map((exchange) => html`<${Row} key=${exchange.request_id} exchange=${exchange} now=${now} isNew=${fresh?.has(exchange.request_id)} />`)}</ol>`;
}

function Row({ exchange, now, isNew }) {
  const { request_id, session_id, capability, agent_id, caller, status, attempts } = exchange;
  const { erased } = exchange;
  const out = erased ? `Erased by ${erased.by}${erased.reason && `: ${erased.reason}`}` : exchange.error ?? oneLine(exchange.result);
  return html`<li class=${isNew ? "new" : ""}>
    <${Status} status=${status} quiet />
    <div class="what"><a class="title" href=${to(["exchanges", request_id])}>${capability}<span class="hidden"> ${short(request_id)}</span></a>
      ${agent_id && html`<span class="muted">${agent_id}</span>`}
      ${caller && caller !== NOBODY && html`<span class="muted">for ${caller}</span>`}
      ${attempts > 1 && html`<span class="pill">${attempts} attempts</span>`}</div>
    <div class="session ellipsis"><a class="over muted" href=${to(["sessions", session_id])} title=${session_id}>${session_id}</a></div>
    <div class="when"><${Duration} ms=${exchange.duration_ms} /><${Age} time=${exchange.created_at} now=${now} /></div>
    ${out && html`<div class="out ellipsis ${exchange.error ? "bad" : "mono"}">${out}</div>`}
  </li>`;
}
