// Types of the data that Python sends and that modules share. The fields of a run are those of mor_core/traces
// (trace.py, events.py).

export type Phase = "prefill" | "decode";

export interface Choice {
  token_id: number;
  text: string;
  probability: number;
}

export interface Token {
  position: number;
  token_id: number;
  text: string;
  token_bytes: string;
  special: boolean;
  phase: Phase;
  recursion_depth: number | null;
  router_logits: (number | null)[];
  router_scores: (number | null)[];
  cached_slots: number[];
  log_probability: number | null;
  entropy: number | null;
  alternatives: Choice[];
  latency_s: number | null;
  expert_idx: number[];
  lens: Choice[][];
}

/** The fields that a token's text is shown from. */
export type TokenText = Pick<Token, "text" | "token_bytes" | "special">;

export interface Step {
  phase: Phase;
  first_position: number;
  num_tokens: number;
  latency_s: number;
  active_flops: number;
  cache_entries: number[];
  cache_bytes: number[];
  dense_flops: number | null;
}

export interface Slot {
  stage: "prelude" | "shared" | "coda";
  recursion: number | null;
  layer: number;
  label: string;
}

export interface Routing {
  name: string;
  gate?: string;
  max_depth?: number | null;
  [setting: string]: unknown;
}

/** The traits of the router type. */
export interface Router {
  type: string;
  chooses_once: boolean;
  has_threshold: boolean;
  has_top_k: boolean;
  num_logits: number;
}

export interface Header {
  run_kind: "generate" | "analyse";
  checkpoint: string;
  sha8: string;
  seed: number | null;
  created: string;
  num_recursions: number;
  routing: Routing;
  threshold_logits: (number | null)[];
  router: Router;
  kv_strategy: string;
  cache_slots: Slot[];
  kv_bytes_per_entry: number;
  num_hidden_layers: number | null;
  expected_new_tokens: number;
  device: string;
  dtype: string;
  windows: [number, number][];
  has_lens: boolean;
}

export interface HeaderEvent {
  kind: "header";
  header: Header;
}

export interface TokensEvent {
  kind: "tokens";
  completed: Token[];
  newest: Token | null;
  steps: Step[];
  full_depth_flops: number;
  vanilla_kv_bytes: number;
}

export interface EndEvent {
  kind: "end";
  finish_reason: string | null;
}

export type RunEvent = HeaderEvent | TokensEvent | EndEvent;

export interface Status {
  name: "queued" | "loading" | "running" | "done" | "cancelled" | "failed";
  ahead: number;
  message: string;
}

export interface Batch {
  from: number;
  events: RunEvent[];
  status: Status;
}

/** A batch in an answer from Python, with its events as deflated JSON in base64. */
export interface PackedBatch extends Omit<Batch, "events"> {
  packed: string;
  answers: number; // the number of the question
}

/** A run after one call of the model. A cost that was not recorded is null. */
export interface Frame {
  computed: number; // positions that the model has computed
  seconds: number;
  activeFlops: number;
  fullDepthFlops: number | null;
  cacheBytes: number;
  vanillaBytes: number;
  cacheEntries: number[];
  decodeSeconds: number;
  decodeTokens: number;
}

export interface Theme {
  isDark: boolean;
  text: string;
  font: string;
  accent: string;
  border: string;
  muted: string;
  empty: string;
  neutral: string;
}

/** Colours of depth 1, 2, ... as #rrggbb, by the number of levels. */
export type Scales = Record<number, string[]>;

/** The texts of the modules, by name and then by language. */
export type Words = Record<string, Record<string, string>>;

export type Granularity = "token" | "word" | "line";

/** The data that Python sends to the strip with every rerun. */
export interface StripData {
  run: string;
  language: string;
  present: boolean;
  colours: Scales;
  live: boolean;
  badge: "LIVE" | "RECORDED";
  stream: string | null;
  batch: Batch | PackedBatch | null;
  tools?: Tools | null; // to choose metric, units, tokens and several pins
}

export interface Tools {
  view: { metric: string; granularity: Granularity; pins: string; window: [number, number] | null };
  pin: number | null; // requested by a chart of the page
  class_labels: string[];
  classes: number[]; // of each token
}

/** The argument of a component's default export, passed by Streamlit. */
export interface Component<Data = StripData> {
  data: Data;
  parentElement: HTMLElement;
  setStateValue(name: string, value: unknown): void;
  setTriggerValue(name: string, value: unknown): void;
}

/** The element of a token, and what was written into it. */
export type TokenNode = HTMLElement & { written?: string };
