// The line above the strip: where the run stands, four counters, and the depth legend with its counts.

const FINISH_WORD = {
  length: "reached the token limit", stop_token: "the model ended the text", context_full: "context full", cancelled: "stopped",
};

function statusText(run) {
  const { name, ahead, message } = run.status;
  if (name === "queued") return ahead ? `waiting: ${ordinal(ahead + 1)} in line` : "waiting";
  if (name === "loading") return "loading the model";
  if (name === "running") return "running";
  if (name === "failed") return message;
  const isRead = run.header && run.header.run_kind === "analyse" && run.finishReason === "length";
  const reason = isRead ? "the whole text was read" : FINISH_WORD[run.finishReason];
  if (name === "cancelled") return "stopped";
  return reason ? `finished: ${reason}` : "finished";
}

// What produced the run, in one line.
function provenance(run) {
  const { header } = run;
  const prompt = run.numTokens("prefill");
  return [
    header.checkpoint,
    `${header.num_recursions} recursions`,
    ruleText(header),
    `prefill ${prompt} | decode ${run.tokens.length - prompt}`,
    header.seed === null ? "" : `seed ${header.seed}`,
    `weights ${header.sha8}`,
  ].filter((part) => part).join(" · ");
}

function thresholdText(header) {
  const scores = [...new Set(header.threshold_logits.filter((z) => z !== null).map((z) => fixed(sigmoid(z), 2)))];
  return scores.length ? `, threshold ${scores.join(" / ")}` : "";
}

function ruleText(header) {
  const { routing } = header;
  if (routing.name === "causal") {
    return `causal routing${thresholdText(header)}`;
  }
  if (routing.name === "argmax") return "each token's own choice of depth";
  if (routing.name === "aux") return `auxiliary router${thresholdText(header)}`;
  if (routing.name === "none") return "no router";
  if (routing.name === "forced") return `forced depths, ${routing.gate} gate`;
  if (routing.name === "fixed") return `fixed depth ${routing.depth}, ${routing.gate} gate`;
  if (routing.name === "top_k") return "top-k routing (sees the future)";
  return `${routing.name} routing, ${routing.gate} gate`;
}

function counterValues(run) {
  const rate = run.decodeSeconds > 0 ? run.decodeTokens / run.decodeSeconds : null;
  const mean = run.meanDepth();
  const full = run.fullDepthFlops;
  const plain = run.vanillaBytes;
  const layers = run.header && run.header.num_hidden_layers;
  const phases = [["prompt", run.meanDepth("prefill")], ["generated", run.meanDepth("decode")]];
  return [
    {
      id: "rate", label: "Speed", value: rate === null ? "–" : `${fixed(rate, rate < 10 ? 1 : 0)} tokens/s`,
      note: run.header ? `decode, ${run.header.device}, ${run.header.dtype}` : "",
    },
    {
      id: "depth", label: "Mean depth", value: mean === null ? "–" : `${fixed(mean, 2)} of ${run.numRecursions}`,
      note: phases.filter(([, depth]) => depth !== null).map(([name, depth]) => `${name} ${fixed(depth, 2)}`).join(" · "),
    },
    {
      id: "flops", label: "Active FLOPs", value: full ? `${fixed((100 * run.activeFlops) / full, 0)}% of full depth` : "–",
      note: full ? `${formatFlops(run.activeFlops)} of ${formatFlops(full)}` : "",
    },
    {
      id: "kv", label: "KV cache", value: plain && run.cacheBytes ? `${fixed((100 * run.cacheBytes) / plain, 0)}% of plain` : "–",
      note: plain && run.cacheBytes ? `${formatBytes(run.cacheBytes)} of ${formatBytes(plain)}${layers ? `, ${layers}-layer Transformer` : ""}` : "",
    },
  ];
}

function drawCounters(root, run) {
  counterValues(run).forEach((counter, index) => {
    let tile = root.children[index];
    if (!tile) {
      tile = element("div", "counter");
      tile.dataset.testid = `counter-${counter.id}`;
      const line = element("span", "counter-line");
      line.append(element("span", "counter-label", counter.label), element("b"));
      tile.append(line, element("span", "counter-note"));
      root.append(tile);
    }
    setText(tile.firstChild.lastChild, counter.value);
    setText(tile.lastChild, counter.note);
  });
}

function drawStatus(root, run, badge) {
  root.dataset.status = run.status.name;
  setText(root.children[0], badge);
  setText(root.children[1], statusText(run));
  setText(root.children[2], run.header ? provenance(run) : "");
  root.children[0].dataset.badge = badge;
}

function drawDepthLegend(root, run, view) {
  const signature = `${run.id}:${run.numRecursions}`;
  if (root.dataset.for !== signature) {
    root.dataset.for = signature;
    root.replaceChildren();
    for (let depth = 1; depth <= run.numRecursions; depth += 1) {
      const item = element("span", "depth-item");
      const digit = element("b", "", String(depth));
      digit.style.background = view.colourOf(depth);
      digit.style.color = textOn(view.colourOf(depth));
      item.append(digit, element("span", ""));
      item.dataset.testid = `depth-count-${depth}`;
      root.append(item);
    }
    root.append(element("span", "depth-hint", "The digit under a token is its recursion depth: the computation spent there on predicting the next token."));
  }
  const depths = run.depths();
  for (let depth = 1; depth <= run.numRecursions; depth += 1) {
    const count = depths.filter((value) => value === depth).length;
    const share = depths.length ? ` (${Math.round((100 * count) / depths.length)}%)` : "";
    setText(root.children[depth - 1].children[1], `${depth === 1 ? "recursion" : "recursions"}: ${count}${share}`);
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
