// Types of the data that Python sends to the two components of this folder: see draw_pair and draw_race.

import type { Choice, Phase, Token, TokenText } from "../../../mor_core/page/strip/types";
import type { Part } from "../../../mor_core/page/strip/feed.js";

/** A token with its depth in the unit that both runs share; null while it has none. */
export interface Valued extends TokenText {
  value: number | null;
}

export interface PairToken extends Valued {
  position: number;
  phase: Phase;
  depth: number | null;
  log_probability: number | null;
  alternatives?: Choice[];
  lens?: Choice[][];
}

export interface Side {
  name: string;
  about: string;
  rest: number; // index of the first token after the shared text
  recursions: number;
  tokens: PairToken[];
}

/** Half-open ranges of tokens of A and of B, and the depth of B minus that of A. */
export type Piece = [startA: number, endA: number, startB: number, endB: number, difference: number | null];

interface Common {
  language: string;
  present: boolean;
  badge: "LIVE" | "RECORDED";
  unit: string;
  span: number; // the largest possible difference
  colours: Record<string, string>; // by value
}

export interface PairData extends Common {
  pair: string;
  sides: [Side, Side];
  pieces: Piece[];
  diverges: boolean;
}

export interface LaneData extends Part {
  run: string;
  name: string;
  values: number[]; // by depth
}

export interface RaceData extends Common {
  race: string;
  live: boolean;
  lanes: [LaneData, LaneData];
}

export type RaceToken = Token & Valued;
