// Live: exchanges as they happen.

import { html, useEffect, useRef, useState } from "./preact.js";
import { follow, get } from "./api.js";
import { counted } from "./format.js";
import { Choice, Code, Empty, Field, Head, Icon, Loading, ProblemBox, STATUSES, useNow } from "./parts.js";
import { useLoad } from "./load.js";
import { endOf, exchangeOf, ExchangeRows } from "./rows.js";
import { setQuery } from "./router.js";

const SHOWN = 100;
const KEPT = 400;
/** The list changes at most this often, however many events come. */
const SHOW_MS = 250;

const matches = (exchange, { status, capability, agent, session, caller }) =>
  (!status || exchange.status === status) &&
  (!capability || exchange.capability === capability) &&
  (!agent || exchange.agent_id === agent) &&
  (!session || exchange.session_id === session) &&
  (!caller || [exchange.caller, exchange.from_agent, exchange.caller_id].includes(caller));

/** The newest exchanges by id, as events and pages tell them. */
class Recent {
  exchanges = new Map();

  add(contract) {
    const id = contract.request_id ?? contract.contract_id;
    const known = this.exchanges.get(id);
    if (!known) this.exchanges.set(id, exchangeOf(contract));
    else if (contract.contract_type === "RESPONSE") this.exchanges.set(id, { ...known, ...endOf(contract) });
    if (this.exchanges.size > KEPT * 2) this.exchanges = new Map(this.newest(KEPT, () => true).map((each) => [each.request_id, each]));
    return known ? null : id;
  }

  /** Add an exchange of a page, unless an event has already told how it ended. */
  addOlder(exchange) {
    if (!this.exchanges.get(exchange.request_id)?.completed_at) this.exchanges.set(exchange.request_id, exchange);
  }

  newest(count, wanted) {
    const found = [...this.exchanges.values()].filter(wanted);
    return found.sort((one, other) => (one.request_id < other.request_id ? 1 : -1)).slice(0, count);
  }
}

export function Live({ query }) {
  const now = useNow();
  const recent = useRef(null);
  const [state, setState] = useState({ shown: null, connection: "connecting" });
  const [held, setHeld] = useState(null);
  const pausing = useRef(false);
  const asked = JSON.stringify(query);

  useEffect(() => {
    const mine = (recent.current = new Recent());
    let ended = false;
    pausing.current = false;
    setHeld(null);
    let waiting = 0;
    let came = new Set();
    const show = () => {
      waiting = 0;
      const shown = mine.newest(SHOWN, (exchange) => matches(exchange, query));
      if (pausing.current) setHeld((before) => before + [...came].filter((id) => matches(mine.exchanges.get(id) ?? {}, query)).length);
      else setState((before) => ({ ...before, shown, problem: undefined, fresh: before.shown ? came : undefined }));
      came = new Set();
    };
    const soon = () => {
      waiting ||= setTimeout(show, SHOW_MS);
    };
    let isOpen = false;
    let wasOpen = false;
    const read = async () => {
      wasOpen = isOpen;
      try {
        const { session, ...filters } = query;
        const page = await get("exchanges", { ...filters, session_id: session, limit: SHOWN });
        for (const exchange of page.exchanges) mine.addOlder(exchange);
        if (!ended) show();
      } catch (problem) {
        if (!ended) setState((before) => ({ ...before, problem }));
      }
    };
    const opened = () => {
      isOpen = true;
      if (!wasOpen) read(); // what was written between the first page and the start of the stream
    };
    read();
    const stop = follow({
      session: query.session,
      onOpen: opened,
      onEvents: (events) => {
        for (const { type, data } of events) {
          if (type === "agent") continue;
          const added = mine.add(data);
          if (added) came.add(added);
        }
        soon();
      },
      onState: (connection) => {
        if (connection !== "live") isOpen = wasOpen = false;
        setState((before) => ({ ...before, connection }));
      },
    });
    return () => {
      ended = true;
      stop();
      clearTimeout(waiting);
    };
  }, [asked]);

  const pause = () => {
    pausing.current = !pausing.current;
    setHeld(pausing.current ? 0 : null);
    if (!pausing.current) setState((before) => ({ ...before, shown: recent.current.newest(SHOWN, (exchange) => matches(exchange, query)) }));
  };
  const { shown, connection, problem, fresh } = state;
  return html`<${Head} title="Live"><${Connection} connection=${connection} paused=${held !== null} />
      <div class="actions"><button onClick=${pause} aria-pressed=${held !== null}><${Icon} name=${held === null ? "pause" : "play"} />${held === null ? "Pause" : "Resume"}</button></div></${Head}>
    <${Filters} query=${query} />
    <${ProblemBox} problem=${problem} />
    ${held > 0 && html`<button class="notice" onClick=${pause}>${counted(held, "new exchange")}: show</button>`}
    ${shown === null ? !problem && html`<${Loading} />` : shown.length ? html`<${ExchangeRows} exchanges=${shown} now=${now} fresh=${fresh} />` : html`<${Nothing} filtered=${Object.keys(query).length > 0} />`}`;
}

function Connection({ connection, paused }) {
  if (connection instanceof Error) return html`<span class="state failed"><span class="dot"></span>No connection; trying again</span>`;
  if (paused) return html`<span class="state pending"><span class="dot"></span>Paused</span>`;
  return connection === "live" ? html`<span class="state completed"><span class="dot"></span>Following</span>` : null;
}

/** The filters of exchanges. They are in the address, so a link keeps them. */
export function Filters({ query, children }) {
  const set = (name) => (value) => setQuery({ ...query, [name]: value });
  return html`<form class="fields" role="search" aria-label="Filter exchanges" onSubmit=${(event) => event.preventDefault()}>
    ${children}
    <${Choice} label="Status" value=${query.status ?? ""} onInput=${set("status")} options=${STATUSES} />
    <${Names} query=${query} set=${set} />
    <${Field} label="Caller" value=${query.caller ?? ""} onInput=${set("caller")} />
    ${Object.keys(query).length > 0 && html`<button type="button" onClick=${() => setQuery({})}>Clear</button>`}
  </form>`;
}

/** The fields for the names of a capability, an agent and a session. Those of agents are suggested. */
export function Names({ query, set }) {
  const agents = useLoad("agents").data?.agents ?? [];
  const capabilities = [...new Set(agents.flatMap((agent) => agent.capabilities.map(({ name }) => name)))];
  return html`<${Field} label="Capability" value=${query.capability ?? ""} onInput=${set("capability")} choices=${capabilities} />
    <${Field} label="Agent" value=${query.agent ?? ""} onInput=${set("agent")} choices=${agents.map((agent) => agent.agent_id)} />
    <${Field} label="Session" value=${query.session ?? ""} onInput=${set("session")} />`;
}

function Nothing({ filtered }) {
  if (filtered) return html`<${Empty} icon="live" title="No exchange matches"><p>Clear a filter, or wait: new ones appear here as they happen.</p></${Empty}>`;
  return html`<${Empty} icon="live" title="No exchanges yet"><p>Run a task in a terminal. It appears here at once.</p><${Code} text="aorch run echo text=hello" label="Command" /></${Empty}>`;
}
