// The frame: navigation, the token, and the view of the address.

import { html, render, useCallback, useEffect, useErrorBoundary, useRef, useState } from "./preact.js";
import { get, token, whenRefused } from "./api.js";
import { App, Icon, Loading, ProblemBox } from "./parts.js";
import { to, useAddress } from "./router.js";
import { Agents } from "./agents.js";
import { Charts } from "./charts.js";
import { Exchange } from "./exchange.js";
import { Live } from "./live.js";
import { Memory } from "./memory.js";
import { Queue } from "./queue.js";
import { Search } from "./search.js";
import { Session } from "./session.js";
import { Sessions } from "./sessions.js";

const PLACES = [
  ["live", "Live", Live],
  ["sessions", "Sessions", Sessions, Session],
  ["agents", "Agents", Agents],
  ["queue", "Queue", Queue],
  ["memory", "Memory", Memory],
  ["search", "Search", Search],
  ["charts", "Charts", Charts],
];
const PAUSE_MS = 6_000;

function Page() {
  const address = useAddress();
  const [about, setAbout] = useState(null);
  const [problem, setProblem] = useState(null);
  const [toasts, setToasts] = useState([]);
  const check = useCallback(() => get("").then(setAbout, setProblem), []);
  const tell = useCallback((text) => {
    const toast = { text };
    setToasts((shown) => [...shown, toast]);
    setTimeout(() => setToasts((shown) => shown.filter((other) => other !== toast)), PAUSE_MS);
  }, []);
  useEffect(() => {
    whenRefused(check);
    check();
  }, []);
  if (problem && !about) return html`<main><${ProblemBox} problem=${problem} /></main>`;
  if (!about) return html`<${Loading} />`;
  if (!about.scopes.includes("read")) return html`<${Gate} about=${about} check=${check} />`;
  const app = { can: (scope) => about.scopes.includes(scope), tell };
  return html`<${App.Provider} value=${app}>
    <div class="frame"><${Side} about=${about} place=${address.parts[0] ?? "live"} check=${check} /><main id="content" tabindex="-1"><${View} address=${address} /></main></div>
    <div class="toasts" role="status">${toasts.map((toast) => html`<div class="toast">${toast.text}</div>`)}</div>
  </${App.Provider}>`;
}

function View({ address: { parts, query } }) {
  const [failure, forget] = useErrorBoundary();
  useEffect(forget, [parts.join("/")]);
  if (failure) return html`<h1>This view failed</h1><${ProblemBox} problem=${{ message: String(failure), hint: "Reload the page, or choose another view." }} />`;
  const [place = "live", id] = parts;
  if (place === "exchanges" && id) return html`<${Exchange} key=${id} id=${id} query=${query} />`;
  const [, , List, One] = PLACES.find(([name]) => name === place) ?? PLACES[0];
  return id !== undefined && One ? html`<${One} key=${id} id=${id} query=${query} />` : html`<${List} key=${place} id=${id} query=${query} />`;
}

const SHOWN_UNDER = { exchanges: "live" };

function Side({ about, place, check }) {
  const [open, setOpen] = useState(false);
  const current = SHOWN_UNDER[place] ?? place;
  const forget = () => {
    token.forget();
    check();
  };
  return html`<header class="side ${open ? "" : "closed"}">
    <button class="skip" onClick=${() => document.getElementById("content").focus()}>Skip to the content</button>
    <div class="bar-top"><a class="brand" href=${to(["live"])}><${Mark} />aorch</a>
      <button class="menu" aria-expanded=${open} aria-controls="places" onClick=${() => setOpen(!open)}><${Icon} name="menu" />Menu</button></div>
    <nav id="places" aria-label="Views"><ul>${PLACES.map(
      ([name, word]) =>
        html`<li><a href=${to([name])} aria-current=${name === current ? "page" : undefined} onClick=${() => setOpen(false)}><${Icon} name=${name} />${word}</a></li>`,
    )}</ul></nav>
    <div class="foot">
      ${about.token_required && html`<span class="break">Token: ${about.caller}</span><span><button class="link" onClick=${forget}>Forget the token</button></span>`}
      <span><a href="docs">HTTP API</a></span><span>aorch ${about.version}</span>
    </div>
  </header>`;
}

const Mark = () => html`<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" fill="#4053d6" /><g fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"><path d="M8 11h13m-4-4 4 4-4 4" /><path d="M24 21H11m4-4-4 4 4 4" opacity=".75" /></g></svg>`;

/** Asks for a token, where the server needs one. */
function Gate({ about, check }) {
  const field = useRef(null);
  const [tried, setTried] = useState(Boolean(token.get()));
  useEffect(() => {
    document.title = "Token · aorch";
    field.current?.focus();
  }, []);
  const enter = (event) => {
    event.preventDefault();
    token.set(field.current.value.trim());
    setTried(true);
    check();
  };
  const lacks = about.scopes.length > 0;
  return html`<main class="gate"><span class="brand"><${Mark} />aorch</span><h1>This server needs a token</h1>
    <p class="muted">Create one with <code>aorch tokens create NAME</code>. This page keeps it until you close the tab.</p>
    ${tried && html`<div class="problem" role="alert"><strong>${lacks ? "This token lacks the scope read." : "The server does not know this token."}</strong>
      <span>${lacks ? "Create one with --scope read." : "It may be mistyped, revoked or expired."}</span></div>`}
    <form onSubmit=${enter}><label class="field"><span>Token</span><input ref=${field} type="password" autocomplete="off" required /></label><button class="primary">Continue</button></form></main>`;
}

render(html`<${Page} />`, document.getElementById("app"));
