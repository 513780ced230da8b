// Exchange: one REQUEST with its RESPONSE, its attempts, and everything about it.

import { html } from "./preact.js";
import { path, post } from "./api.js";
import { counted, duration, moment, number, short, soleText } from "./format.js";
import { Action, Age, Code, Facts, Head, Icon, Loading, ProblemBox, Status, Table, useNow } from "./parts.js";
import { useFollowing, useLoad } from "./load.js";
import { go, to } from "./router.js";
import { callerOf, NOBODY } from "./rows.js";
import { Tree } from "./tree.js";

const OPEN = ["pending", "in_progress"];
const REASONS = {
  requested: "The caller asked for this agent by its ID.",
  only_candidate: "No other agent with the capability could take the task.",
  least_busy: "It ran the fewest tasks.",
  round_robin: "It was its turn.",
  fastest: "Its last tasks took the least time.",
};
/** Keys of a REQUEST's metadata that link to other exchanges. */
const LINKS = { rerun_of: "Runs again", retry_of: "Retries", resumes: "Resumes" };

export function Exchange({ id }) {
  const now = useNow();
  const { data, problem, reload } = useLoad(path`exchanges/${id}`);
  const alone = useLoad(problem?.status === 404 ? path`contracts/${id}` : null).data;
  const { request, response, attempts, children, omitted } = data ?? {};
  const isOpen = request && OPEN.includes(request.status) && !response;
  useFollowing(isOpen ? request.session_id : null, reload);
  if (alone) return html`<${Head} title="RESPONSE" /><p>Its REQUEST is not in the ledger.</p><${Code} value=${alone} label="The contract as JSON" />`;
  if (problem) return html`<${Head} title="Exchange" /><${ProblemBox} problem=${problem} />`;
  if (!data) return html`<${Head} title="Exchange" /><${Loading} />`;
  return html`<${Top} request=${request} response=${response} isOpen=${isOpen} reload=${reload} />
    <${About} request=${request} response=${response} attempts=${attempts} now=${now} />
    ${request.metadata?.erased ? html`<${Erased} mark=${request.metadata.erased} />` : html`<${Content} request=${request} response=${response} />`}
    <${Attempts} attempts=${attempts} />
    <${Delegated} children=${children} omitted=${omitted} start=${request.created_at} />
    <section><h2>On the command line</h2><${Code} text=${`aorch log ${request.contract_id}`} label="Command" /></section>
    <section><details><summary>The contracts as JSON</summary><${Raw} request=${request} response=${response} /></details></section>`;
}

function Content({ request, response }) {
  const { stderr, exit_code } = response?.metadata ?? {};
  return html`${response?.error && html`<section><h2>Error</h2><${Code} text=${response.error} label="Error" bad /></section>`}
    ${response && !(response.error && response.result === null) && html`<section><h2>Result</h2><${Result} result=${response.result} /></section>`}
    ${stderr && html`<section><h2>Standard error${exit_code ? ` (exit code ${exit_code})` : ""}</h2><${Code} text=${stderr} label="Standard error" /></section>`}
    <section><h2>Parameters</h2><${Code} value=${request.payload} label="Parameters" /></section>
    ${request.metadata?.context && html`<section><h2>Context</h2><${Code} value=${request.metadata.context} label="Context" /></section>`}`;
}

/** A result that is one text is shown as that text. The contracts as JSON have it as it was written. */
function Result({ result }) {
  const text = soleText(result);
  return text === null ? html`<${Code} value=${result} label="Result" />` : html`<${Code} text=${text} label="Result" />`;
}

/** What stands where the content was, if its owner erased it. */
function Erased({ mark }) {
  return html`<section class="empty"><${Icon} name="cancelled" /><h2>The content was erased</h2><p class="break">${moment(mark.at)}, by ${mark.by}${mark.reason && `: ${mark.reason}`}</p></section>`;
}

/** The tasks that the agent delegated, with those below them. */
function Delegated({ children, omitted, start }) {
  if (!children.length) return null;
  const more = Object.values(omitted).reduce((sum, count) => sum + count, 0);
  return html`<section><h2>Delegated tasks</h2><${Tree} roots=${children} start=${start} label="Delegated tasks" />${more > 0 && html`<p class="muted">And ${number(more)} more.</p>`}</section>`;
}

function Top({ request, response, isOpen, reload }) {
  const { erased, redacted } = request.metadata ?? {}; // the values of such a task are not in the ledger
  const again = async () => {
    const task = await post(path`tasks/${request.contract_id}/rerun`);
    go(["exchanges", task.contract_id]);
  };
  const cancel = async () => {
    await post(path`tasks/${request.contract_id}/cancel`);
    reload();
  };
  const crumbs = html`<a class="ellipsis" href=${to(["sessions", request.session_id])}>${request.session_id}</a><span aria-hidden="true">/</span><span class="mono">${short(request.contract_id)}</span>`;
  return html`<${Head} title=${request.capability} crumbs=${crumbs}><${Status} status=${response?.status ?? request.status} />
    <div class="actions">
      ${isOpen && html`<${Action} scope="run" label="Cancel" question="Cancel this task?" consequence="A running agent is asked to stop. The exchange ends as cancelled." run=${cancel} done="The task is cancelled." danger small=${false} />`}
      ${!isOpen && !erased && !redacted && html`<${Action} scope="run" label="Run again" question="Run this task again?" consequence="It is queued as a new exchange in the same session, with the same parameters." run=${again} done="The task is queued again." small=${false} />`}
    </div></${Head}>`;
}

function About({ request, response, attempts, now }) {
  const { routing, caller: token, custom, context, queue, ...others } = request.metadata ?? {};
  const { caller } = callerOf(request);
  const code = response?.metadata?.code;
  const agent = response && response.from_agent !== "orchestrator" ? response.from_agent : request.to_agent;
  const facts = [
    ["Agent", agent && html`<a href=${to(["agents"], { agent })}>${agent}</a>`],
    ["Why this agent", why(routing, queue, agent)],
    ["Caller", caller !== NOBODY && html`<a href=${to(["live"], { caller })}>${caller}</a>${token?.name && request.from_agent !== NOBODY && ` as ${request.from_agent}`}`],
    ["Created", html`${moment(request.created_at)} <span class="muted">(<${Age} time=${request.created_at} now=${now} />)</span>`],
    ["Duration", duration(response?.metadata?.duration_ms)],
    ["Attempts", attempts.length > 1 ? attempts.length : null],
    ["Error code", code && html`<code>${code}</code>`],
    ["Delegated by", request.parent_id && html`<${Id} id=${request.parent_id} />`],
    ...Object.entries(LINKS).map(([key, word]) => [word, typeof others[key] === "string" && html`<${Id} id=${others[key]} />`]),
    ["Secret parameters", Array.isArray(others.redacted) && others.redacted.join(", ")],
    ["Priority", queue?.priority],
    ["Model", response?.metadata?.model],
    ["Tokens", tokens(response?.metadata?.usage)],
    ["ID", html`<span class="mono">${request.contract_id}</span>`],
  ];
  return html`<${Facts} of=${facts.filter(([, value]) => value !== false)} />`;
}

function tokens(usage) {
  if (typeof usage?.input !== "number" || typeof usage?.output !== "number") return null;
  return `${number(usage.input)} in, ${number(usage.output)} out`;
}

const Id = ({ id }) => html`<a class="mono" href=${to(["exchanges", id])}>${short(id)}</a>`;

function why(routing, queue, agent) {
  if (!routing) return queue && agent ? (queue.agent_id ? REASONS.requested : "It was free when the task was taken from the queue.") : null;
  const { reason, candidates, require } = routing;
  const sentences = [REASONS[reason] ?? reason];
  if (candidates > 1) sentences.push(`There were ${candidates} candidates.`);
  if (require) sentences.push(`Required: ${Object.entries(require).map(([name, value]) => `${name}=${value}`).join(", ")}.`);
  return sentences.join(" ");
}

function Attempts({ attempts }) {
  if (!attempts.length) return null;
  return html`<section><h2>${counted(attempts.length, "attempt")}</h2><${Table} label="Attempts" columns=${[["Number", "right"], ["Agent"], ["Started"], ["Duration", "right"], ["Outcome"]]}>
    ${attempts.map(
      (attempt) => html`<tr key=${attempt.number}><td class="right">${attempt.number}</td><td class="break">${attempt.agent_id}</td><td class="number">${moment(attempt.started_at)}</td>
      <td class="right">${attempt.ended_at && duration(Date.parse(attempt.ended_at) - Date.parse(attempt.started_at))}</td>
      <td class="break">${attempt.error ? html`<span class="bad">${attempt.error}</span> <code class="muted">${attempt.code}</code>` : attempt.ended_at ? html`<${Status} status="completed" />` : html`<${Status} status="in_progress" />`}</td></tr>`,
    )}</${Table}></section>`;
}

function Raw({ request, response }) {
  return html`<${Code} value=${request} label="The REQUEST as JSON" />${response && html`<${Code} value=${response} label="The RESPONSE as JSON" />`}`;
}
