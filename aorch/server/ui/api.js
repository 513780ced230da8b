// The /v1 API: requests, the token, and the stream of new contracts.

const KEY = "aorch token";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

let onRefused = () => {};

/** Call `listener` when the server refuses the token (401). */
export function whenRefused(listener) {
  onRefused = listener;
}

/** The token of this tab. It is in sessionStorage only, so it ends with the tab. */
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** An error of the API (application/problem+json), or a server that cannot be reached (status 0). */
export class Problem extends Error {
  constructor(status, { code, detail, hint } = {}) {
    super(detail ?? `the server answered ${status}`);
    Object.assign(this, { status, code, hint });
  }
}

/** Return a path of the API with its parts percent-encoded: path`sessions/${id}/memory`. */
export function path(parts, ...values) {
  return parts.reduce((text, part, place) => text + encodeURIComponent(values[place - 1]) + part);
}

function request(method, where, { query = {}, body, headers = {}, signal } = {}) {
  const url = new URL(`v1/${where}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const sent = { ...headers };
  if (token.get()) sent.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  return fetch(url, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
}

async function problemOf(response) {
  const found = new Problem(response.status, await response.json().catch(() => ({})));
  if (response.status === 401) onRefused();
  return found;
}

async function answer(method, where, options = {}) {
  let response;
  try {
    response = await request(method, where, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the server cannot be reached", hint: "Check that `aorch serve` runs." });
  }
  if (!response.ok) throw await problemOf(response);
  return decoded(await response.text());
}

/** Parse JSON. Whole numbers that JavaScript would round keep their digits (as JSON.rawJSON, where the browser has it). */
function decoded(text) {
  if (!JSON.rawJSON || !/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, { source }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? JSON.rawJSON(source) : value,
  );
}

/** GET a path of the API. Rejects with a Problem. */
export const get = (where, query, signal) => answer("GET", where, { query, signal });

/** POST to a path of the API. Rejects with a Problem. */
export const post = (where, body) => answer("POST", where, { body });

/**
 * Follow /v1/events until the returned function is called. It reads by fetch, so that the token can be sent.
 *
 * `onOpen` is called each time the stream starts; the first time, nothing after it is missed. `onEvents` gets lists of
 * {type, data}. `onState` gets "live", or a Problem while there is no connection. A lost connection is resumed after its last event.
 */
export function follow({ session, onOpen = () => {}, onEvents, onState }) {
  const stopped = new AbortController();
  let last = null;
  let pause = FIRST_PAUSE_MS;

  async function read() {
    const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
    const response = await request("GET", "events", { query: { session_id: session }, headers, signal: stopped.signal });
    if (!response.ok) throw await problemOf(response);
    onState("live");
    onOpen();
    pause = FIRST_PAUSE_MS;
    const decoder = new TextDecoder();
    let rest = "";
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      const events = blocks.map(parse).filter(Boolean);
      for (const event of events) last = event.id ?? last;
      const told = events.filter((event) => event.type !== "next");
      if (told.length) onEvents(told);
    }
  }

  (async () => {
    while (!stopped.signal.aborted) {
      let problem = new Problem(0, { detail: "the connection was lost" });
      try {
        await read();
        if (stopped.signal.aborted) return;
      } catch (error) {
        if (stopped.signal.aborted) return;
        if (error instanceof Problem) problem = error;
      }
      onState(problem);
      if (problem.status === 401 || problem.status === 403) return;
      await new Promise((done) => setTimeout(done, pause * (0.75 + Math.random() / 2)));
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  })();
  return () => stopped.abort();
}

function parse(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return event.data ? { id: event.id, type: event.event, data: decoded(event.data) } : null;
}
