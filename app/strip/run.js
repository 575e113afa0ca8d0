// One run as the browser knows it: events in, tokens and totals out. Draws nothing.

class Run {
  constructor(id) {
    this.id = id;
    this.header = null;
    this.tokens = []; // by position
    this.changed = new Set(); // positions to redraw
    this.applied = 0; // events taken in
    this.status = { name: "queued", ahead: 0, message: "" };
    this.finishReason = null;
    this.activeFlops = 0;
    this.fullDepthFlops = 0;
    this.cacheBytes = 0;
    this.vanillaBytes = 0;
    this.cacheEntries = [];
    this.decodeSeconds = 0;
    this.decodeTokens = 0;
  }

  // Returns false if events are missing before these.
  take(batch) {
    if (batch.from > this.applied) return false;
    batch.events.slice(this.applied - batch.from).forEach((event) => this.apply(event));
    this.applied = Math.max(this.applied, batch.from + batch.events.length);
    this.status = batch.status;
    return true;
  }

  apply(event) {
    if (event.kind === "header") this.header = event.header;
    if (event.kind === "end") this.finishReason = event.finish_reason;
    if (event.kind !== "tokens") return;
    const records = event.newest ? [...event.completed, event.newest] : event.completed;
    for (const token of records) {
      this.tokens[token.position] = token;
      this.changed.add(token.position);
    }
    event.steps.forEach((step) => this.count(step));
    this.fullDepthFlops = event.full_depth_flops;
    this.vanillaBytes = event.vanilla_kv_bytes;
  }

  count(step) {
    this.activeFlops += step.active_flops;
    this.cacheBytes = step.cache_bytes.reduce((sum, bytes) => sum + bytes, 0);
    this.cacheEntries = step.cache_entries;
    if (step.phase === "decode") {
      this.decodeSeconds += step.latency_s;
      this.decodeTokens += step.num_tokens;
    }
  }

  get isFinished() {
    return ["done", "cancelled", "failed"].includes(this.status.name);
  }

  get numRecursions() {
    return this.header ? this.header.num_recursions : 0;
  }

  numTokens(phase) {
    return this.tokens.filter((token) => token && token.phase === phase).length;
  }

  // Depths of content tokens: specials are left out, as is the newest token, which has none yet.
  depths(phase) {
    return this.tokens
      .filter((t) => t && !t.special && t.recursion_depth !== null && (!phase || t.phase === phase))
      .map((token) => token.recursion_depth);
  }

  meanDepth(phase) {
    const depths = this.depths(phase);
    return depths.length ? depths.reduce((sum, depth) => sum + depth, 0) / depths.length : null;
  }
}
