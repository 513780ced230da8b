// Queue: what waits, what runs, since when, and which processes run it.

import { html } from "./preact.js";
import { path, post } from "./api.js";
import { duration, number, short } from "./format.js";
import { Action, Age, Code, Empty, Head, Loading, ProblemBox, Table, useApp, useNow } from "./parts.js";
import { useLoad } from "./load.js";
import { to } from "./router.js";

const REFRESH_MS = 2_000;
const COLOURS = { queued: "pending", scheduled: "cancelled", running: "in_progress" };

export function Queue() {
  const { data, problem, reload } = useLoad("queue", { limit: 100 }, REFRESH_MS);
  return html`<${Head} title="Queue" /><${ProblemBox} problem=${problem} />
    ${data ? html`<${Whole} queue=${data} reload=${reload} />` : !problem && html`<${Loading} />`}`;
}

function Whole({ queue, reload }) {
  if (queue.queued + queue.scheduled + queue.running === 0) {
    return html`<${Empty} icon="queue" title="The queue is empty"><p>Queue a task in a terminal. This server or <code>aorch worker</code> runs it.</p><${Code} text="aorch run echo text=hello --detach" label="Command" /></${Empty}>`;
  }
  const tiles = [
    ["Running", number(queue.running)],
    ["Queued", number(queue.queued)],
    ["Scheduled", number(queue.scheduled)],
    ["Oldest waits for", queue.oldest_s === null ? "–" : duration(queue.oldest_s * 1000)],
  ];
  return html`<dl class="tiles">${tiles.map(([name, value]) => html`<div class="tile" key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <section><h2>By capability and priority</h2><${Groups} groups=${queue.groups} /></section>
    ${queue.workers.length > 0 && html`<section><h2>Who runs tasks</h2><${Workers} workers=${queue.workers} /></section>`}
    <section><h2>Tasks</h2><${Tasks} tasks=${queue.tasks} reload=${reload} />
      ${queue.more > 0 && html`<p class="muted below">And ${number(queue.more)} more.</p>`}</section>`;
}

function Groups({ groups }) {
  const now = useNow();
  const columns = [["Capability"], ["Priority", "right"], ["Running", "right"], ["Queued", "right"], ["Scheduled", "right"], ["Oldest since", "right"]];
  return html`<${Table} label="By capability and priority" columns=${columns}>${groups.map(
    (group) => html`<tr key=${`${group.priority} ${group.capability}`}><th scope="row" class="break">${group.capability}</th><td class="right">${group.priority}</td>
      ${["running", "queued", "scheduled"].map((state) => html`<td class="right ${group[state] ? "" : "muted"}">${number(group[state])}</td>`)}
      <td class="right">${group.oldest_at ? html`<${Age} time=${group.oldest_at} now=${now} />` : html`<span class="muted">–</span>`}</td></tr>`,
  )}</${Table}>`;
}

function Workers({ workers }) {
  return html`<${Table} label="Who runs tasks" columns=${[["Process"], ["Running", "right"]]}>${workers.map(
    (worker) => html`<tr key=${worker.worker_id}><td class="mono break">${worker.worker_id}</td><td class="right">${number(worker.running)}</td></tr>`,
  )}</${Table}>`;
}

function Tasks({ tasks, reload }) {
  const now = useNow();
  const { can } = useApp();
  const columns = [["State"], ["Task"], ["Session"], ["Priority", "right"], ["Waiting since", "right"], ...(can("run") ? [[html`<span class="hidden">Cancel</span>`]] : [])];
  return html`<${Table} label="Tasks" columns=${columns}>${tasks.map(
    (task) => html`<tr key=${task.contract_id}>
      <td><span class="state ${COLOURS[task.state]}"><span class="dot"></span>${task.state}</span></td>
      <td class="break"><a href=${to(["exchanges", task.contract_id])}>${task.capability}<span class="hidden"> ${short(task.contract_id)}</span></a>${task.agent_id && html` <span class="muted">${task.agent_id}</span>`}
        ${task.attempts > 1 && html` <span class="pill">${task.attempts} attempts</span>`}</td>
      <td class="break"><a href=${to(["sessions", task.session_id])}>${task.session_id}</a></td><td class="right">${task.priority}</td>
      <td class="right">${task.state === "scheduled" ? html`starts <${Age} time=${task.not_before} now=${now} />` : html`<${Age} time=${task.waiting_since ?? task.created_at} now=${now} />`}</td>
      ${can("run") && html`<td class="right"><${Cancel} task=${task} reload=${reload} /></td>`}</tr>`,
  )}</${Table}>`;
}

function Cancel({ task, reload }) {
  const cancel = async () => {
    await post(path`tasks/${task.contract_id}/cancel`);
    reload();
  };
  const consequence = `${task.capability} in session ${task.session_id}. ${task.state === "running" ? "Its agent is asked to stop." : "No agent will be called."}`;
  return html`<${Action} scope="run" label="Cancel" question="Cancel this task?" consequence=${consequence} run=${cancel} done="The task is cancelled." danger />`;
}
