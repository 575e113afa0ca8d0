// Row labels, panel titles and their legends, drawn once a run as ordinary elements beside and above the canvas.

Heatmaps.prototype.drawFrame = function drawFrame(run, panels) {
  this.drawnFor = this.frameOf(run);
  this.labels.replaceChildren();
  this.titles.replaceChildren();
  this.root.style.height = `${this.height + 14}px`;
  for (const panel of panels) {
    panel.rows.forEach((row, index) => {
      const label = element("span", "map-label", row);
      label.style.top = `${panel.top + index * panel.height}px`;
      label.style.lineHeight = `${panel.height - 1}px`;
      label.style.fontSize = panel.height < 12 ? "9px" : "11px";
      this.labels.append(label);
    });
    const title = element("div", "map-title");
    title.style.top = `${panel.top - TITLE_HEIGHT + 8}px`;
    title.append(element("b", "", panel.title), ...this[`${panel.name}Legend`](run));
    this.titles.append(title);
  }
};

Heatmaps.prototype.frameOf = function frameOf(run) {
  return [run.id, language, run.header.has_lens, this.view.theme().text].join();
};

Heatmaps.prototype.predictionLegend = function predictionLegend() {
  return [element("span", "legend-text", say("map_prediction_note"))];
};

Heatmaps.prototype.depthLegend = function depthLegend(run) {
  return Array.from({ length: run.numRecursions }, (_, index) => this.swatch(this.view.colourOf(index + 1), say("depth", { number: index + 1 })));
};

Heatmaps.prototype.scoreLegend = function scoreLegend(run) {
  if (run.header.router.chooses_once) {
    const ramp = element("span", "ramp");
    ramp.style.background = `linear-gradient(90deg, var(--neutral), ${SCORE_HIGH})`;
    const words = [say("legend_scores"), say("legend_taken")];
    return [element("span", "legend-text", "0"), ramp, ...words.map((text) => element("span", "legend-text", text))];
  }
  const logits = run.header.threshold_logits;
  const decided = logits.filter((logit) => logit !== null);
  const ramp = element("span", "ramp");
  ramp.style.background = `linear-gradient(90deg, ${SCORE_LOW}, var(--neutral), ${SCORE_HIGH})`;
  const middle = decided.length ? say("threshold", { scores: [...new Set(decided.map((z) => fixed(sigmoid(z), 2)))].join(" / ") }) : "0.50";
  const parts = [element("span", "legend-text", "0"), ramp, element("span", "legend-text", say("legend_middle", { middle }))];
  const notes = [say("legend_entered"), say("legend_not_computed")];
  if (!decided.length) notes.push(say("legend_no_threshold", { rule: run.header.routing.name.replace("_", "-") }));
  else if (logits[0] === null) notes.push(say("legend_takes_all"));
  return [...parts, ...notes.map((note) => element("span", "legend-text", note))];
};

Heatmaps.prototype.cacheLegend = function cacheLegend(run) {
  const recursions = [...new Set(run.header.cache_slots.map((slot) => slot.recursion))].filter((r) => r !== null);
  return [
    this.swatch(this.view.theme().muted, say("legend_unshared")),
    ...recursions.map((recursion) => this.swatch(this.view.colourOf(recursion), say("recursion", { number: recursion }))),
    this.swatch(this.view.theme().empty, say("legend_not_kept")),
  ];
};

Heatmaps.prototype.swatch = function swatch(colour, text) {
  const node = element("span", "legend-text");
  const box = element("i", "swatch");
  box.style.background = colour;
  node.append(box, text);
  return node;
};
