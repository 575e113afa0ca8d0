// Three heatmaps over the same positions on one canvas: recursion depth, router score, KV-cache occupancy.
// Columns are positions, recursion 1 is at the top. A run's final length is expected from the start, so nothing rescales.

const SCORE_LOW = "#2b6cb0"; // below the threshold
const SCORE_HIGH = "#dd7611"; // above it
const TITLE_HEIGHT = 34;
const AXIS_HEIGHT = 22;
const MIN_COLUMN = 5; // narrower is not legible: a longer run scrolls
const MAX_COLUMN = 24;

class Heatmaps {
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.labels = element("div", "map-labels");
    this.scroller = element("div", "map-scroller");
    this.canvas = element("canvas", "map-canvas");
    this.canvas.dataset.testid = "heatmaps";
    this.canvas.setAttribute("role", "img");
    this.titles = element("div", "map-titles");
    this.scroller.append(this.canvas);
    root.replaceChildren(this.labels, this.scroller, this.titles);
    this.canvas.onclick = (event) => {
      const position = this.positionOf(event);
      if (position !== null) view.pin(view.pinned === position ? null : position);
    };
    this.canvas.onmousemove = (event) => view.hover(this.positionOf(event), event);
    this.canvas.onmouseleave = () => view.hover(null);
    this.drawnLayout = "";
  }

  positionOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const position = Math.floor((event.clientX - box.left) / this.column);
    const run = this.view.run;
    return run && run.tokens[position] ? position : null;
  }

  panels(run) {
    const recursions = Array.from({ length: run.numRecursions }, (_, index) => say("row_recursion", { number: index + 1 }));
    const judged = run.header.router_type === "token_choice" ? recursions.map((_, index) => say("row_depth", { number: index + 1 })) : recursions;
    const slots = run.header.cache_slots.map((slot) => slot.label);
    const panels = [
      { name: "depth", title: say("map_depth"), rows: recursions, height: 18 },
      { name: "score", title: say("map_score"), rows: judged, height: 18 },
      { name: "cache", title: say("map_cache"), rows: slots, height: slots.length > 14 ? 9 : 13 },
    ];
    let top = 0;
    for (const panel of panels) {
      panel.top = top + TITLE_HEIGHT;
      top = panel.top + panel.rows.length * panel.height;
    }
    this.height = top + AXIS_HEIGHT;
    return panels;
  }

  layout(run) {
    const columns = run.numColumns;
    const available = this.scroller.clientWidth;
    this.column = Math.min(MAX_COLUMN, Math.max(MIN_COLUMN, available / columns));
    const width = Math.max(Math.round(columns * this.column), 1);
    const scale = window.devicePixelRatio || 1;
    const layout = [width, this.height, scale].join();
    if (layout !== this.drawnLayout) {
      this.canvas.width = width * scale;
      this.canvas.height = this.height * scale;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${this.height}px`;
      this.drawnLayout = layout;
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, this.height);
    return context;
  }

  update(run) {
    this.root.hidden = !run.header || !run.tokens.length;
    if (this.root.hidden) return;
    const panels = this.panels(run);
    if (this.drawnFor !== run.id + language) this.drawFrame(run, panels);
    const context = this.layout(run);
    this.theme = this.view.theme();
    for (const panel of panels) this.drawPanel(context, run, panel);
    this.drawAxis(context, run, panels);
    this.drawFocus(context, panels);
    const newest = run.tokens.length * this.column;
    if ((!run.isFinished || !run.isAtEnd) && newest > this.scroller.clientWidth) this.scroller.scrollLeft = newest - this.scroller.clientWidth + 40;
    this.canvas.setAttribute("aria-label", this.summary(run));
  }

  drawPanel(context, run, panel) {
    const inset = this.column > 9 ? 1 : 0.5;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const token of run.tokens) {
      if (!token) continue;
      const left = Math.round(token.position * this.column); // whole pixels, so that cells have no seams
      const right = Math.round((token.position + 1) * this.column);
      for (let row = 0; row < panel.rows.length; row += 1) {
        const cell = {
          x: left, y: panel.top + row * panel.height, width: right - left - inset, height: panel.height - 1, row,
        };
        this[`${panel.name}Cell`](context, run, token, cell);
      }
    }
  }

  depthCell(context, run, token, cell) {
    const depth = token.recursion_depth;
    if (depth === null) return this.outline(context, cell);
    if (cell.row >= depth) return this.fill(context, cell, this.theme.empty);
    const colour = this.view.colourOf(depth);
    this.fill(context, cell, colour);
    if (cell.row === depth - 1 && this.column >= 9) {
      context.fillStyle = textOn(colour);
      context.font = `600 ${Math.min(11, this.column)}px ${this.theme.font}`;
      context.fillText(String(depth), cell.x + cell.width / 2, cell.y + cell.height / 2 + 0.5);
    }
  }

  scoreCell(context, run, token, cell) {
    const logit = token.router_logits[cell.row] ?? null;
    if (token.recursion_depth === null) return this.outline(context, cell);
    if (logit === null) return this.hatch(context, cell);
    if (run.header.router_type === "token_choice") { // no threshold: a score for each depth, the chosen one marked
      this.fill(context, cell, mix(this.theme.neutral, SCORE_HIGH, token.router_scores[cell.row]));
      if (token.recursion_depth === cell.row + 1) this.dot(context, cell);
      return;
    }
    const threshold = sigmoid(run.header.threshold_logits[cell.row] ?? 0);
    const score = sigmoid(logit);
    const share = score >= threshold ? (score - threshold) / (1 - threshold) : (threshold - score) / threshold;
    this.fill(context, cell, mix(this.theme.neutral, score >= threshold ? SCORE_HIGH : SCORE_LOW, share));
    if (token.recursion_depth > cell.row) this.dot(context, cell); // entered, so that colour is not alone
  }

  dot(context, cell) {
    context.fillStyle = "#ffffff";
    context.beginPath();
    context.arc(cell.x + cell.width / 2, cell.y + cell.height / 2, Math.min(2.2, this.column / 4), 0, 7);
    context.fill();
  }

  cacheCell(context, run, token, cell) {
    if (token.recursion_depth === null) return this.outline(context, cell);
    const slot = run.header.cache_slots[cell.row];
    const kept = token.cached_slots.includes(cell.row);
    const colour = slot.recursion === null ? this.theme.muted : this.view.colourOf(slot.recursion);
    this.fill(context, cell, kept ? colour : this.theme.empty);
  }

  fill(context, cell, colour) {
    context.fillStyle = colour;
    context.fillRect(cell.x, cell.y, cell.width, cell.height);
  }

  outline(context, cell) {
    context.strokeStyle = this.theme.border;
    context.lineWidth = 1;
    context.strokeRect(cell.x + 0.5, cell.y + 0.5, cell.width - 1, cell.height - 1);
  }

  hatch(context, cell) {
    context.strokeStyle = this.theme.border;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(cell.x + 1, cell.y + cell.height - 2);
    context.lineTo(cell.x + cell.width - 1, cell.y + 2);
    context.stroke();
  }

  drawAxis(context, run, panels) {
    const bottom = this.height - AXIS_HEIGHT;
    const every = [5, 10, 20, 50].find((step) => step * this.column >= 60) || 100;
    context.fillStyle = this.theme.muted;
    context.font = `11px ${this.theme.font}`;
    context.textBaseline = "top";
    context.textAlign = "left";
    for (let position = 0; position * this.column < this.canvas.clientWidth; position += every) {
      context.fillRect(position * this.column, bottom, 1, 4);
      context.fillText(String(position), position * this.column + 3, bottom + 5);
    }
    const first = run.tokens.findIndex((token) => token && token.phase === "decode");
    if (first < 0) return;
    context.fillStyle = this.theme.text;
    for (const panel of panels) { // the prompt ends here; the titles between the panels stay readable
      context.fillRect(first * this.column - 1, panel.top - 2, 1.5, panel.rows.length * panel.height + 3);
    }
  }

  drawFocus(context, panels) {
    for (const position of [this.view.pinned, this.view.hovered]) {
      if (position === null || !this.view.run.tokens[position]) continue;
      context.strokeStyle = position === this.view.pinned ? this.theme.accent : this.theme.text;
      context.lineWidth = 2;
      for (const panel of panels) {
        context.strokeRect(position * this.column - 1, panel.top - 1, this.column + 1, panel.rows.length * panel.height + 1);
      }
    }
  }

  reveal(position) {
    const left = position * this.column;
    const view = this.scroller;
    if (left < view.scrollLeft || left + this.column > view.scrollLeft + view.clientWidth) {
      view.scrollLeft = left - view.clientWidth / 2;
    }
  }

  summary(run) {
    const decoded = run.depths("decode");
    const counts = Array.from({ length: run.numRecursions }, (_, i) => decoded.filter((d) => d === i + 1).length);
    return say("map_summary", {
      count: run.tokens.length,
      mean: fixed(run.meanDepth(), 2),
      total: run.numRecursions,
      counts: counts.join(", "),
      entries: run.cacheEntries.join(", ") || "–",
    });
  }
}
