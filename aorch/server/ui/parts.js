// Parts that views share: states, times, values, messages, buttons. Every value from the ledger becomes text.

import { createContext, html, useContext, useEffect, useRef, useState } from "./preact.js";
import { age, duration, moment } from "./format.js";

const ICONS = {
  live: "M2 8h3l2-5 3 10 2-5h2",
  sessions: "M3 3h10v7H7l-3 3v-3H3z",
  agents: "M4 4h8v7H4zM8 1.5V4M6.5 7v1M9.5 7v1M2 7v2M14 7v2M6 13.5h4",
  queue: "M3 4h10M3 8h10M3 12h6",
  memory: "M8 3c-2-1.3-4-1.3-6 0v10c2-1.3 4-1.3 6 0 2-1.3 4-1.3 6 0V3c-2-1.3-4-1.3-6 0zm0 0v10",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5 14 14",
  charts: "M2.5 2.5v11h11M5 10l2.5-3 2.5 2 3-4.5",
  completed: "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5zM5.2 8.2l2 2 3.6-4",
  failed: "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
  cancelled: "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5zM3.8 12.2l8.4-8.4",
  interrupted: "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5zM8 4.8v3.7M8 10.9v.2",
  pending: "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5zM8 4.5V8l2.3 1.5",
  in_progress: "M8 1.75a6.25 6.25 0 0 1 6.25 6.25M8 14.25A6.25 6.25 0 0 1 1.75 8",
  pause: "M5.5 3v10M10.5 3v10",
  play: "M4.5 2.5v11l9-5.5z",
  menu: "M2.5 4h11M2.5 8h11M2.5 12h11",
};

/** An icon. The text beside it says what it means. */
export function Icon({ name }) {
  return html`<svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

const WORDS = { in_progress: "in progress" };
const KNOWN = ["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"];

/** The status of an exchange: a sign of its own shape and colour, with its word. `quiet`: the word is only for screen readers. */
export function Status({ status, quiet }) {
  const known = KNOWN.includes(status) ? status : "pending";
  const word = WORDS[status] ?? status;
  return html`<span class="state ${known}" title=${quiet ? word : undefined}><${Icon} name=${known} /><span class=${quiet ? "hidden" : ""}>${word}</span></span>`;
}

/** The time now, as a hook; it advances every five seconds. */
export function useNow() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const ticking = setInterval(() => setNow(Date.now()), 5_000);
    return () => clearInterval(ticking);
  }, []);
  return now;
}

/** How long ago; the exact time is its title. */
export function Age({ time, now }) {
  return time ? html`<time class="number" datetime=${time} title=${moment(time)}>${age(time, Math.max(now, Date.now()))}</time>` : null;
}

/** Facts as names and values; those without a value are left out. */
export function Facts({ of }) {
  const shown = of.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl class="facts">${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

export const Duration = ({ ms }) => html`<span class="number">${duration(ms)}</span>`;

const MOST = 100_000;
const COLOURED = 20_000;
const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function coloured(text) {
  const found = [];
  let end = 0;
  for (const token of text.matchAll(TOKENS)) {
    const kind = token[1] ? (token[2] ? "key" : "string") : "literal";
    const word = token[1] ?? token[0];
    found.push(text.slice(end, token.index), html`<span class=${kind}>${word}</span>`);
    end = token.index + word.length;
  }
  return [...found, text.slice(end)];
}

/** Text as it is, with a button that copies it. `value`: shown as JSON instead. */
export function Code({ text, value, label, bad }) {
  const [whole, setWhole] = useState(false);
  const full = text ?? JSON.stringify(value, null, 2) ?? "";
  const shown = whole ? full : full.slice(0, MOST);
  return html`<div class="code ${bad ? "error-text" : ""}">
    <pre tabindex="0" role="region" aria-label=${label}><code>${text === undefined && full.length <= COLOURED ? coloured(shown) : shown}</code></pre>
    ${shown.length < full.length && html`<button class="small" onClick=${() => setWhole(true)}>Show all</button>`}
    ${shown.length === full.length && html`<${Copy} text=${full} label=${label} />`}
  </div>`;
}

function Copy({ text, label }) {
  const [copied, setCopied] = useState(false);
  if (!navigator.clipboard) return null;
  const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true));
  return html`<button class="small" onClick=${copy} onBlur=${() => setCopied(false)} aria-label=${`Copy: ${label}`}>${copied ? "Copied" : "Copy"}</button>`;
}

/** What went wrong, and what to do next. */
export function ProblemBox({ problem }) {
  if (!problem) return null;
  return html`<div class="problem" role="alert"><strong>${problem.message}</strong>${problem.hint && html`<span>${problem.hint}</span>`}</div>`;
}

/** What stands where nothing is: what it would be, and how to get one. */
export function Empty({ icon, title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} /><h2>${title}</h2>${children}</div>`;
}

export const Loading = () => html`<div class="loading" role="status">Loading…</div>`;

/** The heading of a view. It gets the focus when the view opens. */
export function Head({ title, crumbs, children }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${typeof title === "string" ? title : "aorch"} · aorch`;
    if (arrived) heading.current?.focus({ preventScroll: true });
    arrived = true;
  }, [title]);
  return html`${crumbs && html`<nav class="crumbs" aria-label="Path">${crumbs}</nav>`}
    <div class="head"><h1 ref=${heading} tabindex="-1">${title}</h1>${children}</div>`;
}
let arrived = false;

/** A table that scrolls sideways on narrow screens. `columns`: [name, "right" for numbers]. */
export function Table({ label, columns, children, className = "" }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table class=${className}>
    <thead><tr>${columns.map(([name, align]) => html`<th scope="col" class=${align ?? ""}>${name}</th>`)}</tr></thead>
    <tbody>${children}</tbody></table></div>`;
}

const TYPING_MS = 250;

/** A choice with its label above it. `options`: [key, text]. */
export function Choice({ label, value, onInput, options }) {
  return html`<label class="field"><span>${label}</span><select value=${value} onChange=${(event) => onInput(event.target.value)}>
    ${options.map(([key, word]) => html`<option value=${key} selected=${key === value}>${word}</option>`)}</select></label>`;
}

/** A field with its label above it. Typing waits a moment before it counts. `choices` are suggestions. */
export function Field({ label, value, onInput, choices, wide }) {
  const [draft, setDraft] = useState(value);
  const waiting = useRef(0);
  const latest = useRef(onInput);
  latest.current = onInput;
  useEffect(() => {
    if (!waiting.current) setDraft(value);
  }, [value]);
  useEffect(() => () => clearTimeout(waiting.current), []);
  const typed = (event) => {
    const text = event.target.value;
    setDraft(text);
    clearTimeout(waiting.current);
    waiting.current = setTimeout(() => {
      waiting.current = 0;
      latest.current(text);
    }, TYPING_MS);
  };
  const list = choices && `choices-${label}`;
  return html`<label class="field ${wide ? "wide" : ""}"><span>${label}</span>
    <input value=${draft} onInput=${typed} list=${list} autocomplete="off" spellcheck=${false} />
    ${choices && html`<datalist id=${list}>${choices.map((choice) => html`<option value=${choice} />`)}</datalist>`}</label>`;
}

export const STATUSES = [["", "Any"], ...KNOWN.map((status) => [status, (WORDS[status] ?? status).replace(/^./, (first) => first.toUpperCase())])];

/** What the page knows about its caller: `can(scope)`, and `tell(text)` for messages. */
export const App = createContext(null);
export const useApp = () => useContext(App);

/** A button that does something in the ledger, after a question. Not shown to callers whose token lacks the scope. */
export function Action({ scope, label, question, consequence, run, done, danger, small = true }) {
  const { can, tell } = useApp();
  const dialog = useRef(null);
  const [busy, setBusy] = useState(false);
  if (!can(scope)) return null;
  const act = async () => {
    setBusy(true);
    try {
      const result = await run();
      tell(done);
      dialog.current?.close();
      return result;
    } catch (problem) {
      dialog.current?.close();
      tell([problem.message, problem.hint].filter(Boolean).join(". "));
    } finally {
      setBusy(false);
    }
  };
  return html`<button class="${small ? "small" : ""} ${danger ? "danger" : ""}" disabled=${busy} onClick=${() => (question ? dialog.current.showModal() : act())}>${label}</button>
    ${question && html`<dialog ref=${dialog} aria-label=${question}><h2>${question}</h2><p class="break">${consequence}</p>
      <div class="actions"><button onClick=${() => dialog.current.close()}>Go back</button><button class="primary" disabled=${busy} onClick=${act}>${label}</button></div></dialog>`}`;
}
