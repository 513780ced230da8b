// Numbers, times and values as text.

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
];

/** A duration: "734 ms", "1.73 s", "2 min 5 s". */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1) return "< 1 ms";
  if (ms < 999.5) return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

/** How long it is since a time, in one unit: "12 s", "3 min". */
export function span(time, now) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? ["s", 1];
  return `${Math.floor(seconds / length)} ${unit}`;
}

/** How long ago a time is: "now", "12 s ago", "3 min ago"; "in 5 min" for one to come. */
export function age(time, now) {
  const seconds = Math.round((now - Date.parse(time)) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [unit, length] = UNITS.find(([, length]) => size >= length) ?? ["s", 1];
  const text = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A time on the reader's clock. */
export const moment = (time) => (time ? MOMENT.format(new Date(time)) : "");

const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });

/** A number with separators of thousands. */
export const number = (value) => (value === null || value === undefined ? "" : NUMBER.format(value));

const COMPACT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** A large number in few characters: "12.3K". */
export const compact = (value) => (value === null || value === undefined ? "" : COMPACT.format(value));

/** A share as per cent. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "";
  return `${share > 0 && share < 0.001 ? "< 0.1" : Number((share * 100).toFixed(1))} %`;
}

/** "1 exchange", "2 exchanges". */
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

const SHOWN = 300;

/** The text of a value that is a string, or an object with one string, as the command line prints it; otherwise null. */
export function soleText(value) {
  const parts = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.values(value) : [value];
  return parts.length === 1 && typeof parts[0] === "string" && parts[0].trim() ? parts[0] : null;
}

/** A value on one line. */
export function oneLine(value) {
  if (value === null || value === undefined) return "";
  const text = soleText(value) ?? JSON.stringify(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}

/** The end of an id, which differs from id to id. */
export const short = (id) => (id && id.length > 10 ? `…${id.slice(-6)}` : (id ?? ""));
