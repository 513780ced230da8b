// The delegation tree of a session, or below an exchange: each exchange with a bar that shows when it ran.

import { html } from "./preact.js";
import { duration } from "./format.js";
import { Status, Table } from "./parts.js";
import { to } from "./router.js";

const INDENT = 18;

/** `start`: when the bars begin; without it, at the start of each of `roots`. */
export function Tree({ roots, start, label = "Delegation tree" }) {
  const rows = roots.flatMap((root) => below(root, 0, Date.parse(start ?? root.created_at)));
  const longest = Math.max(...rows.map(({ node, offset }) => offset + took(node))) || 1;
  return html`<${Table} label=${label} className="bars" columns=${[["Exchange"], ["Agent"], ["Duration", "right"], [`From the start of ${start ? "the exchange" : "each tree"} to ${duration(longest)}`]]}>
    ${rows.map(
      ({ node, depth, offset }) => html`<tr key=${node.contract_id}>
        <th scope="row"><span class="tree-name" style=${{ paddingLeft: `${depth * INDENT}px` }}><${Status} status=${node.status} quiet /><a class="break" href=${to(["exchanges", node.contract_id])}>${node.capability}</a>${step(node) && html`<span class="muted">${step(node)}</span>`}
          ${omitted(node) > 0 && html`<span class="pill">and ${omitted(node)} more</span>`}</span></th>
        <td class="break muted">${node.agent_id}</td><td class="right">${duration(node.duration_ms)}</td>
        <td class="lane"><span class="bar ${node.status}" style=${{ marginLeft: share(offset, longest), width: share(took(node), longest) }}></span></td></tr>`,
    )}</${Table}>`;
}

/** The step of a pipeline that an exchange is, as the command line writes it: "step fetch", "step translate[3]". */
const step = ({ step, index }) => step && `step ${step}${index === null ? "" : `[${index}]`}`;

/** How long an exchange ran; if it is open, until now. */
const took = (node) => node.duration_ms ?? (isOpen(node) ? Date.now() - Date.parse(node.created_at) : 0);
const isOpen = (node) => node.status === "pending" || node.status === "in_progress";
const omitted = (node) => Object.values(node.omitted ?? {}).reduce((sum, count) => sum + count, 0);
const share = (part, whole) => `min(calc(100% - 3px), ${((100 * part) / whole).toFixed(2)}%)`;

/** The exchanges of a tree, each with its depth, and its start after the start of the tree (ms). */
function below(node, depth, start) {
  const offset = Math.max(0, Date.parse(node.created_at) - start);
  return [{ node, depth, offset }, ...node.children.flatMap((child) => below(child, depth + 1, start))];
}
