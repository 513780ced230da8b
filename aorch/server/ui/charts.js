// Charts: the rate, failures, latency, wait and tokens over time, and the same as a table.

import { html, useEffect, useRef, useState } from "./preact.js";
import { compact, duration, moment, number, percent } from "./format.js";
import { Empty, Head, Loading, ProblemBox, Table } from "./parts.js";
import { Names } from "./live.js";
import { useLoad } from "./load.js";
import { setQuery, to } from "./router.js";

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;
const RANGES = {
  hour: ["Hour", HOUR, "minute", MINUTE],
  day: ["Day", DAY, "hour", HOUR],
  week: ["Week", 7 * DAY, "hour", HOUR],
  month: ["30 days", 30 * DAY, "day", DAY],
};
const REFRESH_MS = 30_000;
const HEIGHT = 180;

const CHARTS = [
  { title: "Exchanges", bars: true, form: number, series: [["count", "exchanges", "--accent"]] },
  { title: "Failures", bars: true, form: number, series: [["failed", "failed", "--bad"]] },
  { title: "Latency", form: duration, series: [["p50_ms", "p50", "--accent"], ["p95_ms", "p95", "--warn"]] },
  { title: "Wait in the queue", form: duration, series: [["wait_p50_ms", "p50", "--accent"], ["wait_p95_ms", "p95", "--warn"]] },
  { title: "Tokens", form: compact, series: [["tokens_in", "in", "--accent"], ["tokens_out", "out", "--warn"]] },
];

export function Charts({ query }) {
  const range = RANGES[query.range] ? query.range : "day";
  const [word, length, by, step] = RANGES[range];
  const { range: _, view, session, ...filters } = query;
  const [since, setSince] = useState("");
  useEffect(() => {
    const move = () => setSince(new Date(Math.floor((Date.now() / 1000 - length) / step) * step * 1000).toISOString());
    move();
    const moving = setInterval(move, REFRESH_MS);
    return () => clearInterval(moving);
  }, [length, step]);
  const { data, problem } = useLoad(since ? "stats" : null, { ...filters, session_id: session, by, since, limit: 1_000 }, REFRESH_MS);
  const rows = data && data.by === by ? filled(data, since, step) : null;
  const set = (name) => (value) => setQuery({ ...query, [name]: value });
  return html`<${Head} title="Charts"><div class="actions">
      <nav class="switch" aria-label="Time">${Object.entries(RANGES).map(([name, [text]]) => html`<a key=${name} href=${to(["charts"], { ...query, range: name === "day" ? "" : name })} aria-current=${name === range ? "page" : undefined}>${text}</a>`)}</nav>
      <nav class="switch" aria-label="Show as"><a href=${to(["charts"], { ...query, view: "" })} aria-current=${view === "table" ? undefined : "page"}>Charts</a><a href=${to(["charts"], { ...query, view: "table" })} aria-current=${view === "table" ? "page" : undefined}>Table</a></nav></div></${Head}>
    <form class="fields" role="search" aria-label="Filter exchanges" onSubmit=${(event) => event.preventDefault()}>
      <${Names} query=${query} set=${set} /></form>
    <${ProblemBox} problem=${problem} />
    ${!rows && !problem && html`<${Loading} />`}
    ${rows && data.total.count === 0 && html`<${Empty} icon="charts" title=${`No exchanges in this ${word.toLowerCase()}`}><p>Choose a longer time or clear the filters.</p></${Empty}>`}
    ${rows && data.total.count > 0 && html`<${Total} total=${data.total} />
      <section>${view === "table" ? html`<${Numbers} rows=${rows} />` : html`<div class="charts">${CHARTS.map((chart) => html`<${Chart} key=${chart.title} chart=${chart} rows=${rows} step=${step} />`)}</div>`}</section>`}`;
}

/** One row for each period from `since` until now. Those without exchanges have zeros, and no durations. */
function filled(data, since, step) {
  const known = new Map(data.groups.map((group) => [Date.parse(group.key) / 1000, group]));
  const rows = [];
  for (let start = Date.parse(since) / 1000; start <= Date.now() / 1000; start += step) {
    rows.push({ count: 0, failed: 0, ...known.get(start), start });
  }
  return rows;
}

function Total({ total }) {
  const tiles = [
    ["Exchanges", number(total.count)],
    ["Failed", percent(total.failed / total.count)],
    ["Latency, p50", duration(total.p50_ms)],
    ["Latency, p95", duration(total.p95_ms)],
    ["Wait, p95", duration(total.wait_p95_ms)],
    ["Tokens in", compact(total.tokens_in)],
    ["Tokens out", compact(total.tokens_out)],
    ["Cost", number(total.cost)],
  ];
  return html`<dl class="tiles">${tiles.filter(([, value]) => value).map(([name, value]) => html`<div class="tile" key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Numbers({ rows }) {
  const columns = [["Period"], ["Exchanges", "right"], ["Failed", "right"], ["p50", "right"], ["p95", "right"], ["Wait, p50", "right"], ["Wait, p95", "right"], ["Tokens in", "right"], ["Tokens out", "right"]];
  return html`<${Table} label="Statistics by period" columns=${columns}>${rows
    .filter((row) => row.count > 0)
    .reverse()
    .map(
      (row) => html`<tr key=${row.start}><th scope="row" class="number">${moment(row.start * 1000)}</th><td class="right">${number(row.count)}</td><td class="right ${row.failed ? "bad" : "muted"}">${number(row.failed)}</td>
        <td class="right">${duration(row.p50_ms)}</td><td class="right">${duration(row.p95_ms)}</td><td class="right">${duration(row.wait_p50_ms)}</td><td class="right">${duration(row.wait_p95_ms)}</td>
        <td class="right">${number(row.tokens_in)}</td><td class="right">${number(row.tokens_out)}</td></tr>`,
    )}</${Table}>`;
}

/** A chart by uPlot. It is drawn again when the width or the colours change. */
function Chart({ chart, rows, step }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [said, setSaid] = useState("");
  const [drawn, setDrawn] = useState(0);
  const hasData = rows.some((row) => chart.series.some(([name]) => row[name]));
  const data = [rows.map((row) => row.start), ...chart.series.map(([name]) => rows.map((row) => row[name] ?? null))];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const again = () => setDrawn((count) => count + 1);
    dark.addEventListener("change", again);
    return () => dark.removeEventListener("change", again);
  }, []);
  useEffect(() => {
    if (!hasData) return undefined;
    const tell = ({ cursor: { idx } }) => setSaid(idx === null || idx === undefined ? "" : told(chart, latest.current, idx));
    plot.current = new uPlot(options(chart, place.current.clientWidth, step, tell), latest.current, place.current);
    const fitted = new ResizeObserver(() => plot.current?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    fitted.observe(place.current);
    return () => {
      fitted.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [chart, step, drawn, hasData]);
  useEffect(() => plot.current?.setData(latest.current), [JSON.stringify(data)]);
  return html`<figure class="chart"><figcaption><h2>${chart.title}</h2>${chart.series.length > 1 && chart.series.map(([, word, colour]) => html`<span class="legend"><i style=${{ color: `var(${colour})` }}></i>${word}</span>`)}</figcaption>
    ${hasData ? html`<div class="plot" ref=${place} role="img" aria-label=${`${chart.title} over time; the table has the numbers`}></div><p class="hover-value" aria-hidden="true">${said}</p>` : html`<p class="muted none">None in this time.</p>`}</figure>`;
}

function told(chart, data, index) {
  const values = chart.series.map(([, word], place) => [data[place + 1][index], word]).filter(([value]) => value !== null);
  return [moment(data[0][index] * 1000), ...values.map(([value, word]) => `${chart.form(value)} ${word}`)].join(" · ");
}

function options(chart, width, step, tell) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const bars = uPlot.paths.bars({ size: [0.7, 32], radius: 0.15 });
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, sync: { key: "charts" }, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { range: (_, first, last) => [first - step / 2, last + step / 2] }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, gap: 4, space: 64, values: (_, times, __, ___, gap) => times.map((time) => clock(time, gap)) },
      { ...axis, size: 58, space: 36, incrs: chart.form === duration ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8, 1e9], values: (_, values) => values.map((value) => (value ? chart.form(value).replace(/\.?0+ s$/, " s") : "0")) },
    ],
    series: [
      {},
      ...chart.series.map(([, , name]) => ({
        stroke: colour(name),
        width: chart.bars ? 0 : 1.75,
        fill: chart.bars ? colour(name) : undefined,
        paths: chart.bars ? bars : undefined,
        points: { show: !chart.bars, size: 4, fill: colour(name) },
      })),
    ],
    hooks: { setCursor: [tell] },
  };
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const DATE = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** The text of a mark on the time axis. */
function clock(time, gap) {
  const moment = new Date(time * 1000);
  return gap >= DAY || (moment.getHours() === 0 && moment.getMinutes() === 0) ? DATE.format(moment) : TIME.format(moment);
}
