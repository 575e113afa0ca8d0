// A small run as Python sends it: three recursions, two prompt tokens after the document start, two generated ones.

import { prepareWords } from "../../mor_core/page/strip/words.js";

export const DEPTHS = [3, 1, 2, 3, 1];
const TEXTS = ["<|endoftext|>", "The", " fox", " ran", "."];
const CACHED = { 1: [0, 1, 4], 2: [0, 1, 2, 4], 3: [0, 1, 2, 3, 4] };

export const HEADER = {
  run_kind: "generate",
  checkpoint: "tiny-stories",
  sha8: "0123abcd",
  seed: 7,
  created: "2026-11-30T10:00:00+00:00",
  num_recursions: 3,
  routing: { name: "causal", gate: "sigmoid", thresholds: [0.5] },
  threshold_logits: [null, 0, 0],
  router: { type: "expert_choice", chooses_once: false, has_threshold: true, has_top_k: true, num_logits: 1 },
  kv_strategy: "recursion_wise",
  cache_slots: [
    { stage: "prelude", recursion: null, layer: 1, label: "P1" },
    { stage: "shared", recursion: 1, layer: 1, label: "R1 L1" },
    { stage: "shared", recursion: 2, layer: 1, label: "R2 L1" },
    { stage: "shared", recursion: 3, layer: 1, label: "R3 L1" },
    { stage: "coda", recursion: null, layer: 1, label: "C1" },
  ],
  kv_bytes_per_entry: 512,
  num_hidden_layers: 5,
  expected_new_tokens: 4,
  device: "cpu",
  dtype: "float32",
  windows: [],
  has_lens: true,
};

export function token(position, changes = {}) {
  const depth = DEPTHS[position];
  return {
    position,
    token_id: 100 + position,
    text: TEXTS[position],
    token_bytes: "",
    special: position === 0,
    phase: position < 3 ? "prefill" : "decode",
    recursion_depth: depth,
    router_logits: [2, depth > 1 ? 1.5 : -1.5, depth > 1 ? depth - 2.5 : null],
    router_scores: [0.88, depth > 1 ? 0.82 : 0.18, depth > 1 ? 0.62 : null],
    cached_slots: CACHED[depth],
    log_probability: position === 0 ? null : -0.5 * position,
    entropy: position === 0 ? null : 1.5,
    alternatives: [],
    latency_s: position < 3 ? null : 0.02,
    expert_idx: [],
    lens: Array.from({ length: depth }, (_, index) => [{ token_id: index < depth - 1 ? 9 : 8, text: "x", probability: 0.5 }]),
    ...changes,
  };
}

export const newest = (position) => token(position, {
  recursion_depth: null, router_logits: [null, null, null], router_scores: [null, null, null], cached_slots: [], latency_s: null, lens: [],
});

export function step(first, count, changes = {}) {
  return {
    phase: first === 0 ? "prefill" : "decode",
    first_position: first,
    num_tokens: count,
    latency_s: first === 0 ? 0.1 : 0.02,
    active_flops: 1000 * count,
    cache_entries: [first + count, first + count, 3, 2, first + count],
    cache_bytes: [512, 512, 256, 128, 512],
    dense_flops: 1500 * count,
    ...changes,
  };
}

const tokens = (completed, last, steps, count) => ({
  kind: "tokens", completed, newest: last, steps, full_depth_flops: 1500 * count, vanilla_kv_bytes: 4000 * count,
});

export const EVENTS = [
  { kind: "header", header: HEADER },
  tokens([0, 1, 2].map((at) => token(at)), newest(3), [step(0, 3)], 3),
  tokens([token(3)], newest(4), [step(3, 1)], 4),
  tokens([token(4)], null, [step(4, 1)], 5),
  { kind: "end", finish_reason: "length" },
];

export const status = (name, changes = {}) => ({ name, ahead: 0, message: "", ...changes });

export const batch = (from, to, name = "running") => ({ from, events: EVENTS.slice(from, to), status: status(name) });

// Words that show which name was said with which values.
export function prepareEchoes() {
  const echo = (name) => ({ en: name === "of" ? "{value} of {total}" : name });
  prepareWords(new Proxy({}, { get: (_, name) => echo(name) }));
}
