// The line above the strip: the run's status, four counters, and the depth legend with its counts.

import { element, setText } from "./dom.js";
import { fixed, formatBytes, formatFlops, sigmoid } from "./format.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { Header, Routing } from "./types" */

/** @param {Run} run */
export function statusText(run) {
  const { name, ahead, message } = run.status;
  if (name === "queued") return ahead ? say("waiting_line", { place: ahead + 1 }) : say("waiting");
  if (name === "loading") return say("loading");
  if (name === "running") return say("running");
  if (name === "failed") return message;
  const isRead = run.header && run.header.run_kind === "analyse" && run.finishReason === "length";
  const reason = isRead ? say("read") : run.finishReason && say(`reason_${run.finishReason}`);
  if (name === "cancelled") return say("stopped");
  return reason ? say("finished_as", { reason }) : say("finished");
}

// The run's checkpoint and settings, in one line.
/** @param {Run} run */
export function provenance(run) {
  const { header } = run;
  const prompt = run.numTokens("prefill");
  return [
    header.checkpoint,
    say("recursions", { count: header.num_recursions }),
    ruleText(header),
    say("phases", { prompt, decoded: run.records.length - prompt }),
    header.seed === null ? "" : say("seed", { seed: header.seed }),
    say("weights", { sha: header.sha8 }),
  ].filter((part) => part).join(" · ");
}

/** @param {Header} header */
function thresholdText(header) {
  const scores = [...new Set(header.threshold_logits.filter((z) => z !== null).map((z) => fixed(sigmoid(z), 2)))];
  return scores.length ? `, ${say("threshold", { scores: scores.join(" / ") })}` : "";
}

/** @param {Routing} routing */
function capText(routing) {
  return routing.max_depth ? `, ${say("capped", { depth: routing.max_depth })}` : "";
}

/** @param {Header} header */
function ruleText(header) {
  const { routing } = header;
  const name = say(`rule_${routing.name}`, routing) + capText(routing);
  if (["causal", "aux"].includes(routing.name)) return name + thresholdText(header);
  const overrides = ["forced", "fixed", "random"].includes(routing.name);
  return overrides ? `${name}, ${say(`gate_${routing.gate}`)}` : name;
}

/** @param {Run} run */
export function counterValues(run) {
  const rate = run.decodeSeconds > 0 ? run.decodeTokens / run.decodeSeconds : null;
  const mean = run.meanDepth();
  const full = run.fullDepthFlops;
  const plain = run.vanillaBytes;
  const layers = run.header && run.header.num_hidden_layers;
  const bytes = { bytes: formatBytes(run.cacheBytes), plain: formatBytes(plain), layers };
  Object.assign(bytes, { value: bytes.bytes, total: bytes.plain });
  /** @type {[string, number | null][]} */
  const phases = [[say("prompt"), run.meanDepth("prefill")], [say("generated"), run.meanDepth("decode")]];
  return [
    {
      id: "rate", label: say("speed"), value: rate === null ? "–" : say("speed_value", { rate: fixed(rate, rate < 10 ? 1 : 0) }),
      note: run.header ? say("speed_note", run.header) : "",
    },
    {
      id: "depth", label: say("mean_depth"), value: mean === null ? "–" : say("of", { value: fixed(mean, 2), total: run.numRecursions }),
      note: phases.filter(([, depth]) => depth !== null).map(([name, depth]) => `${name} ${fixed(depth, 2)}`).join(" · "),
    },
    {
      id: "flops", label: say("flops"), value: full ? say("flops_value", { share: fixed((100 * run.activeFlops) / full, 0) }) : "–",
      note: full ? say("of", { value: formatFlops(run.activeFlops), total: formatFlops(full) }) : formatFlops(run.activeFlops),
    },
    {
      id: "kv", label: say("kv"), value: plain && run.cacheBytes ? say("kv_value", { share: fixed((100 * run.cacheBytes) / plain, 0) }) : "–",
      note: plain && run.cacheBytes ? say(layers ? "kv_note" : "of", bytes) : "",
    },
  ];
}

/** @param {HTMLElement} root  @param {Run} run */
export function drawCounters(root, run) {
  counterValues(run).forEach((counter, index) => {
    let tile = /** @type {HTMLElement | undefined} */ (root.children[index]);
    if (!tile) {
      tile = element("div", "counter");
      tile.dataset.testid = `counter-${counter.id}`;
      const line = element("span", "counter-line");
      line.append(element("span", "counter-label"), element("b"));
      tile.append(line, element("span", "counter-note"));
      root.append(tile);
    }
    const [line, note] = tile.children;
    setText(line.children[0], counter.label);
    setText(line.children[1], counter.value);
    setText(note, counter.note);
  });
}

/** @param {HTMLElement} root  @param {Run} run  @param {string} badge */
export function drawStatus(root, run, badge) {
  const [mark, status, source] = /** @type {HTMLCollectionOf<HTMLElement>} */ (root.children);
  root.dataset.status = run.status.name;
  setText(mark, say(`badge_${badge}`));
  setText(status, run.status.name === "failed" ? say("failed") : statusText(run)); // the error is shown above
  setText(source, run.header ? provenance(run) : "");
  mark.dataset.badge = badge;
}
