// Exports the strip and its heatmaps, drawn as on the screen, as an SVG, or from there as a PNG.

import { counterValues, provenance, statusText } from "./counters.js";
import { element } from "./dom.js";
import { textOn, tokenLabel } from "./format.js";
import { TITLE_HEIGHT } from "./heatmaps.js";
import { currentLanguage, say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */

const PICTURE_WIDTH = 1200;
const MARGIN = 24;
const LABELS = 100; // left of the heatmaps
const PNG_SCALE = 2;
/** @type {Record<string, string>} */
const ANCHORS = { left: "start", center: "middle", right: "end" };
/** @type {Record<string, string>} */
const BASELINES = { top: "text-before-edge", middle: "central", alphabetic: "alphabetic" };

// A canvas context for the heatmaps that records what they draw as SVG elements.
export class SvgPen {
  x = 0; // origin of the drawing
  y = 0;
  /** @type {string | CanvasGradient | CanvasPattern} */
  fillStyle = "#000";
  /** @type {string | CanvasGradient | CanvasPattern} */
  strokeStyle = "#000";
  lineWidth = 1;
  font = "";
  /** @type {CanvasTextAlign} */
  textAlign = "left";
  /** @type {CanvasTextBaseline} */
  textBaseline = "top";
  path = "";
  circle = {};

  /** @param {string | null} namespace  @param {Element} root */
  constructor(namespace, root) {
    this.namespace = namespace;
    this.root = root;
  }

  /** @param {string} name  @param {object} attributes  @param {string} [text] */
  add(name, attributes, text) {
    const node = document.createElementNS(this.namespace, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(typeof value === "number" ? Math.round(value * 100) / 100 : value));
    if (text !== undefined) node.textContent = text;
    this.root.append(node);
    return node;
  }

  /** @param {number} x  @param {number} y  @param {number} width  @param {number} height */
  box(x, y, width, height) { return { x: x + this.x, y: y + this.y, width: Math.max(0, width), height: Math.max(0, height) }; }

  /** @param {[x: number, y: number, width: number, height: number]} box */
  fillRect(...box) { this.add("rect", { ...this.box(...box), fill: this.fillStyle }); }

  /** @param {[x: number, y: number, width: number, height: number]} box */
  strokeRect(...box) { this.add("rect", { ...this.box(...box), fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth }); }

  /** @param {string} text  @param {number} x  @param {number} y */
  fillText(text, x, y) {
    const [, weight = "400", size] = this.font.match(/^(?:(\d+) )?([\d.]+)px/) ?? ["", "400", "11"];
    const anchor = ANCHORS[this.textAlign];
    const baseline = BASELINES[this.textBaseline];
    this.add("text", {
      x: x + this.x, y: y + this.y, fill: this.fillStyle, "font-size": size, "font-weight": weight, "text-anchor": anchor, "dominant-baseline": baseline, "xml:space": "preserve",
    }, text);
  }

  beginPath() { this.path = ""; }
  /** @param {number} x  @param {number} y */
  moveTo(x, y) { this.path += `M${x + this.x} ${y + this.y}`; }
  /** @param {number} x  @param {number} y */
  lineTo(x, y) { this.path += `L${x + this.x} ${y + this.y}`; }
  stroke() { this.add("path", { d: this.path, fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth }); }
  /** @type {(x: number, y: number, radius: number, ...angles: number[]) => void} */
  arc(x, y, radius) { this.circle = { cx: x + this.x, cy: y + this.y, r: radius }; }
  fill() { this.add("circle", { ...this.circle, fill: this.fillStyle }); }
}

// Returns an SVG element of the run as it is shown.
/** @param {View} view */
function pictureOf(view) {
  const { run } = view;
  const theme = view.theme();
  const namespace = view.part("svg").namespaceURI;
  const root = document.createElementNS(namespace, "svg");
  const pen = new SvgPen(namespace, root);
  const back = pen.add("rect", { x: 0, y: 0, width: PICTURE_WIDTH, fill: theme.isDark ? "#14161b" : "#ffffff" });
  let top = MARGIN;
  /** @type {(text: string, size: number, weight?: number) => void} */
  const line = (text, size, weight = 400) => {
    pen.font = `${weight} ${size}px`;
    pen.fillStyle = theme.text;
    pen.fillText(text, MARGIN, top);
    top += size * 1.6;
  };
  pen.textBaseline = "top";
  line(`MoR Explorer · ${say(`badge_${view.badge}`)} · ${statusText(run)}`, 15, 700);
  line(provenance(run), 12);
  line(counterValues(run).map(({ label, value }) => `${label} ${value}`).join("   "), 13, 600);
  top = drawPictureLegend(pen, view, top + 4);
  top = drawPictureTokens(pen, view, top + 8);
  top = drawPictureMaps(pen, view, top + 6);
  line(say("digit_hint"), 12);
  const height = Math.ceil(top + MARGIN / 2);
  back.setAttribute("height", String(height));
  const size = { width: PICTURE_WIDTH, height, viewBox: `0 0 ${PICTURE_WIDTH} ${height}`, "font-family": "system-ui, sans-serif" };
  for (const [name, value] of Object.entries(size)) root.setAttribute(name, String(value));
  return root;
}

/** @param {SvgPen} pen  @param {View} view  @param {number} top */
function drawPictureLegend(pen, view, top) {
  let left = MARGIN;
  for (let depth = 1; depth <= view.run.numRecursions; depth += 1) {
    const colour = view.colourOf(depth);
    pen.add("rect", { x: left, y: top, width: 20, height: 20, rx: 4, fill: colour });
    Object.assign(pen, { font: "700 13px", fillStyle: textOn(colour), textAlign: "center", textBaseline: "middle" });
    pen.fillText(String(depth), left + 10, top + 10);
    Object.assign(pen, { font: "400 13px", fillStyle: view.theme().text, textAlign: "left" });
    const count = view.run.depths().filter((value) => value === depth).length;
    pen.fillText(say(depth === 1 ? "depth_once" : "depth_count", { count, share: "" }), left + 27, top + 10);
    left += 160;
  }
  pen.textBaseline = "top";
  return top + 30;
}

/** @param {SvgPen} pen  @param {View} view  @param {number} top */
function drawPictureTokens(pen, view, top) {
  const ruler = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  ruler.font = "16px system-ui, sans-serif";
  let left = MARGIN;
  for (const token of view.run.tokens) {
    if (!token) continue;
    const text = tokenLabel(token);
    const width = Math.max(14, ruler.measureText(text).width + 8);
    if (left + width > PICTURE_WIDTH - MARGIN) {
      left = MARGIN;
      top += 46;
    }
    const colour = view.colourOf(token.recursion_depth);
    const stroke = colour ? {} : { stroke: view.theme().text, "stroke-width": 1.5 };
    pen.add("rect", { x: left, y: top, width, height: 24, rx: 4, fill: colour ?? "none", ...stroke });
    Object.assign(pen, { font: "400 16px", fillStyle: colour ? textOn(colour) : view.theme().text, textAlign: "center", textBaseline: "middle" });
    pen.fillText(text, left + width / 2, top + 12);
    Object.assign(pen, { font: "400 11px", fillStyle: view.theme().text });
    pen.fillText(token.recursion_depth === null ? "?" : String(token.recursion_depth), left + width / 2, top + 33);
    left += width + 3;
    if (token.text.includes("\n")) {
      left = MARGIN;
      top += 46;
    }
  }
  return top + 50;
}

// The heatmaps, as wide as on the screen.
/** @param {SvgPen} pen  @param {View} view  @param {number} top */
function drawPictureMaps(pen, view, top) {
  const { maps, run } = view;
  const panels = maps.panels(run);
  for (const panel of panels) {
    Object.assign(pen, { x: 0, y: top, font: "650 13px", fillStyle: view.theme().text, textAlign: "left", textBaseline: "top" });
    pen.fillText(panel.title, MARGIN, panel.top - TITLE_HEIGHT + 10);
    panel.rows.forEach((row, index) => {
      Object.assign(pen, { font: `400 ${panel.height < 12 ? 9 : 11}px`, textAlign: "right", textBaseline: "middle" });
      pen.fillText(row, MARGIN + LABELS - 8, panel.top + (index + 0.5) * panel.height);
    });
    pen.x = MARGIN + LABELS;
    maps.drawPanel(pen, run, panel);
  }
  maps.drawAxis(pen, run, panels);
  Object.assign(pen, { x: 0, y: 0, textAlign: "left", textBaseline: "top" });
  return top + maps.height + 8;
}

/** @param {Blob} blob  @param {string} name */
function save(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {Run} run  @param {string} ending */
function pictureName(run, ending) {
  return `${run.header.checkpoint.replace(/[^\w.-]/g, "-")}-${run.header.created.slice(0, 19).replace(/:/g, "")}.${ending}`;
}

/** @param {View} view */
function saveSvg(view) {
  const text = new XMLSerializer().serializeToString(pictureOf(view));
  save(new Blob([text], { type: "image/svg+xml" }), pictureName(view.run, "svg"));
}

/** @param {View} view */
async function savePng(view) {
  const svg = pictureOf(view);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  await image.decode();
  const canvas = element("canvas");
  canvas.width = PICTURE_WIDTH * PNG_SCALE;
  canvas.height = Number(svg.getAttribute("height")) * PNG_SCALE;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(PNG_SCALE, PNG_SCALE);
  context.drawImage(image, 0, 0);
  canvas.toBlob((blob) => blob && save(blob, pictureName(view.run, "png")));
}

// The two buttons below the heatmaps.
/** @param {HTMLElement} root  @param {View} view */
export function drawPictureButtons(root, view) {
  root.hidden = !view.run.header || !view.run.tokens.length;
  if (root.hidden || root.dataset.for === currentLanguage()) return;
  root.dataset.for = currentLanguage();
  root.replaceChildren();
  for (const [id, act] of /** @type {const} */ ([["png", savePng], ["svg", saveSvg]])) {
    const button = element("button", "transport-button", say(`picture_${id}`));
    button.type = "button";
    button.dataset.testid = `picture-${id}`;
    button.onclick = () => act(view);
    root.append(button);
  }
}
