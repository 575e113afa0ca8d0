"""`mor bench decode`: one stream of the demo model with its trace, against Hugging Face's Llama and against no trace.

A full run on a CPU measures both with and without compiled modules; a quick run skips the compiled ones, which take a
minute to build.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.requests import Batch, PlainRequest
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.roofline import Cost
from mor_core.benchmarks.workloads import layer_parameters
from mor_core.checkpoints.checkpoint import LoadedCheckpoint, load_checkpoint, resolve_checkpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.aot_compile import CompiledModules
from mor_core.serving.engine import Engine
from mor_core.traces.trace import Trace

_PROMPT = "Once upon a time there was a little rabbit who lived in a wood."
_AIM, _TRACE_AIM = 4.0, 0.95
_TRACE_REPEATS = 3  # times the usual repeats: the expected difference is a few percent, and single runs vary by ten


def run(bench: Bench) -> Iterator[Result]:
    """Decode the same number of tokens greedily from the same prompt, without stopping at the end of a text."""
    new = bench.pick(300, 60)
    dtype = getattr(torch, bench.dtype)
    loaded = load_checkpoint(resolve_checkpoint("default"), device=bench.device, dtype=dtype)
    loaded.model.config.eos_token_id = None  # every run must have the same length
    ids = [DOCUMENT_START_ID, *encode_text(loaded.tokenizer, _PROMPT)]
    ways: dict[str, CompiledModules | None] = {"decode": None}
    if not bench.quick and bench.device == "cpu":
        ways["compiled decode"] = CompiledModules(loaded.model)
    bench.planned = 2 * len(ways)
    for way, compiled in ways.items():
        ours = _Traced(loaded, ids, new, compiled)
        yield bench.compare(
            f"{way}, one stream, demo model, trace on, {new} new tokens after {len(ids)}",
            Side("MoR with its trace", ours.run, work=new, costs=ours.costs),
            _llama_side(loaded.model.config, bench, ids, new),
            unit="tokens/s",
            aim=_AIM if compiled or len(ways) == 1 else None,
            note="greedy, reading the prompt included on both sides",
            extra=ours.facts,
        )
        yield bench.compare(
            f"{way}, what the trace costs, {new} new tokens",
            Side("MoR with its trace", ours.run, work=new),
            Side("MoR, tokens alone", ours.run_bare, work=new),
            unit="tokens/s",
            repeats=bench.pick(_TRACE_REPEATS, 1) * bench.repeats,
            aim=_TRACE_AIM,
            note="early exits are not part of a run's trace",
        )


class _Traced:
    """Our side: a run with its trace, as in the app."""

    def __init__(
        self, loaded: LoadedCheckpoint, ids: list[int], new: int, compiled: CompiledModules | None
    ) -> None:
        self._loaded = loaded
        self._ids = ids
        self._new = new
        self._compiled = compiled
        self._trace: Trace | None = None

    def run(self) -> None:
        updates = generate_with_trace(
            self._loaded,
            _PROMPT,
            max_new_tokens=self._new,
            temperature=0.0,
            compiled=self._compiled,
        )
        self._trace = collect_trace(updates)

    def run_bare(self) -> None:
        """Decode the same tokens without recording a trace."""
        engine = Engine(self._loaded.model, compiled=self._compiled)
        Batch(engine, [PlainRequest(self._ids, RoutingRule.causal(), self._new)], 1).run()

    def costs(self) -> list[Cost]:
        """Return the least cost of the last run."""
        assert self._trace is not None
        return stream_costs(self._loaded, self._trace)

    def facts(self) -> dict[str, float | None]:
        """Return the mean depth of the last run."""
        assert self._trace is not None
        return {"mean_recursion_depth": self._trace.mean_recursion_depth}


def stream_costs(loaded: LoadedCheckpoint, trace: Trace) -> list[Cost]:
    """Return the least cost of a run by its trace: each layer call reads its weights, attention the cache."""
    config, itemsize = loaded.model.config, loaded.model.dtype.itemsize
    depths = [token.recursion_depth or 0 for token in trace.tokens]
    costs = []
    for step in trace.steps:
        last = step.first_position + step.num_tokens
        deepest = max(depths[step.first_position : last], default=0)
        calls = config.num_prelude_layers + config.num_coda_layers
        calls += deepest * config.num_layers_per_recursion
        weights = calls * layer_parameters(config) + config.vocab_size * config.hidden_size
        num_bytes = weights * itemsize + sum(step.cache_bytes)
        costs.append(Cost(step.active_flops, num_bytes))
    return costs


def _llama_side(config: MoRConfig, bench: Bench, ids: list[int], new: int) -> Side:
    """Return Hugging Face's Llama of the same width and unrolled depth, random weights, with its own cache."""
    depth, width = config.num_hidden_layers, config.attention_head_dim
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=depth,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=width,
            max_position_embeddings=config.max_position_embeddings,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    ).eval()
    llama = llama.to(torch.device(bench.device), getattr(torch, bench.dtype))  # type: ignore[arg-type]
    prompt = torch.tensor([ids], device=bench.device)
    mask = torch.ones_like(prompt)

    def generate() -> Tensor:
        with torch.inference_mode():
            found: Tensor = llama.generate(
                prompt, attention_mask=mask, max_new_tokens=new, do_sample=False
            )
        assert found.shape[1] == len(ids) + new
        return found

    itemsize = llama.dtype.itemsize
    weights = len(layer_schedule(config)) * layer_parameters(config)
    weights += config.vocab_size * config.hidden_size
    entry = 2 * config.num_key_value_heads * width * depth
    costs = [
        Cost(2 * weights, itemsize * (weights + entry * (len(ids) + place))) for place in range(new)
    ]
    return Side(
        "transformers LlamaForCausalLM.generate, same width and unrolled depth",
        generate,
        work=new,
        costs=costs,
    )
