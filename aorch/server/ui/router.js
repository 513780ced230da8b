// Addresses: #/sessions/ID?view=table. The parts are percent-encoded, so that any session id has one.

import { useEffect, useState } from "./preact.js";

/** Return the parts of the address and its query. */
export function here() {
  const [where, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { parts: where.split("/").filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the link to a view: to(["sessions", id], {view: "table"}). Empty values are left out. */
export function to(parts, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const asked = kept.length ? `?${new URLSearchParams(kept)}` : "";
  return `#/${parts.map(encodeURIComponent).join("/")}${asked}`;
}

/** Replace the query of this address, without another entry in the history. */
export function setQuery(query) {
  history.replaceState(null, "", to(here().parts, query));
  dispatchEvent(new Event("hashchange"));
}

/** Go to another view. */
export function go(parts, query) {
  location.hash = to(parts, query);
}

/** The address, as a hook. */
export function useAddress() {
  const [address, setAddress] = useState(here);
  useEffect(() => {
    const changed = () => setAddress(here());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}
