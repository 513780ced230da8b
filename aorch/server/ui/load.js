// Reads from the API, as hooks.

import { useCallback, useEffect, useRef, useState } from "./preact.js";
import { follow, get } from "./api.js";

/** The most items that a page of the API has. */
const MOST = 1000;
const AT_MOST_EVERY_MS = 1_000;

/**
 * Read a path of the API, again whenever it or the query changes. Returns {data, problem, loading, reload}.
 *
 * Earlier data of the same path stays while it is read again. `every_ms`: read it again as often, while the tab is visible.
 */
export function useLoad(where, query = {}, every_ms = 0) {
  const [state, setState] = useState({ loading: true });
  const [again, setAgain] = useState(0);
  const busy = useRef(false);
  busy.current = state.loading;
  const reload = useCallback(() => setAgain((count) => count + 1), []);
  const asked = JSON.stringify(query);
  useEffect(() => {
    if (where === null) return undefined;
    const stopped = new AbortController();
    setState((before) => (before.where === where ? { ...before, loading: true } : { where, loading: true }));
    get(where, query, stopped.signal).then(
      (data) => setState({ where, data, loading: false }),
      (problem) => problem.name === "AbortError" || setState((before) => ({ ...before, where, problem, loading: false })),
    );
    return () => stopped.abort();
  }, [where, asked, again]);
  useEffect(() => {
    if (!every_ms) return undefined;
    const repeating = setInterval(() => document.hidden || busy.current || reload(), every_ms);
    return () => clearInterval(repeating);
  }, [every_ms, reload]);
  return { ...state, reload };
}

/**
 * Read a list in pages: {items, page, problem, loading, more, reload}.
 *
 * `more` reads the next page, and is null on the last one. `reload` reads as many items again as are shown, up to a full page.
 */
export function usePages(where, name, query) {
  const [state, setState] = useState({ items: [], loading: true });
  const stopped = useRef(new AbortController());
  const asked = `${where} ${JSON.stringify(query)}`;
  const read = (asks, before) => {
    setState((earlier) => ({ ...earlier, loading: true, problem: undefined }));
    get(where, { ...query, ...asks }, stopped.current.signal).then(
      (page) => setState({ page, items: [...before, ...page[name]], next: page.next, loading: false }),
      (problem) => problem.name === "AbortError" || setState((earlier) => ({ ...earlier, problem, loading: false })),
    );
  };
  useEffect(() => {
    stopped.current = new AbortController();
    setState({ items: [], loading: true });
    read({}, []);
    return () => stopped.current.abort();
  }, [asked]);
  const more = state.next && !state.loading ? () => read({ cursor: state.next }, state.items) : null;
  const reload = () => read({ limit: Math.min(MOST, Math.max(query.limit, state.items.length)) }, []);
  return { ...state, more, reload };
}

/** Call `reload` after new contracts of the session, at once and then at most once a second. Does nothing without a session. */
export function useFollowing(session, reload) {
  const again = useRef(reload);
  again.current = reload;
  useEffect(() => {
    if (!session) return undefined;
    let pause = 0;
    let isDue = false;
    const changed = () => {
      isDue = Boolean(pause);
      if (isDue) return;
      again.current();
      pause = setTimeout(() => {
        pause = 0;
        if (isDue) changed();
      }, AT_MOST_EVERY_MS);
    };
    const stop = follow({ session, onOpen: changed, onEvents: changed, onState: () => {} }); // at the start: what was missed
    return () => {
      stop();
      clearTimeout(pause);
    };
  }, [session]);
}
