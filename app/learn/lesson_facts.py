"""Every number of the lessons, read from recorded runs, evaluation.json and the paper's table; none is hard-coded.

`facts` returns the numbers in the texts, `truth` the number to guess. Imports neither Streamlit nor torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.learn import lessons
from app.learn.lesson_measures import applied_layers, capacities, kept_share, latency, punctuation
from app.learn.lessons import ALL_TOP_K, FIRST_TOP_K, RAISED_LOGIT, Lesson
from app.style.theme import format_bytes, format_flops
from mor_core.evaluation.paper_results import MAIN_TABLE, RANDOM_ROUTER_GAP, PaperResult
from mor_core.generation.lesson_runs import CAUSAL_RUN, TIMED, threshold_run
from mor_core.traces.trace import Trace

SHARED = "read-shared"
DECIDED = (0.1, 0.9)  # scores below the first or above the second are far from the threshold


@dataclass(frozen=True)
class Material:
    """The lessons' source data.

    Attributes:
        checkpoint: the checkpoint's name.
        runs: the lessons' recorded runs by name.
        evaluation: content of the checkpoint's evaluation.json.
    """

    checkpoint: str
    runs: Mapping[str, Trace]
    evaluation: Mapping[str, Any]

    @property
    def own(self) -> Trace:
        """The run on the complete text under the model's own rule."""
        return self.runs[CAUSAL_RUN]

    @property
    def timed(self) -> list[Trace]:
        """The generation runs whose latency is shown."""
        return [self.runs[name] for name in TIMED]

    def result(
        self, name: str, depth: int | None = None, gate: str = "learned"
    ) -> Mapping[str, Any]:
        """Return the evaluation's result under a rule.

        Raises:
            KeyError: the rule was not evaluated.
        """
        for found in self.evaluation["results"]:
            rule = found["routing"]
            if (rule["name"], rule["gate"], rule.get("depth")) == (name, gate, depth):
                return dict(found)
        raise KeyError(f"{name} {depth or ''}")


def facts(lesson: Lesson, material: Material) -> dict[str, str]:
    """Return the formatted numbers in a lesson's texts by name."""
    picks = {"most_picks": str(lesson.max_picks)}
    return _common(material) | picks | _FACTS[lesson.name](material)


def truth(lesson: Lesson, material: Material) -> float:
    """Return the number that the viewer guesses in a lesson."""
    return _TRUTHS[lesson.name](material)


def targets(lesson: Lesson, material: Material) -> set[int]:
    """Return the positions that the viewer guesses in a lesson."""
    if lesson.name == "choice":
        return lessons.changed(material.runs[FIRST_TOP_K], material.runs[ALL_TOP_K])
    return lessons.deepest(material.own)


def _common(material: Material) -> dict[str, str]:
    trace = material.own
    marks, deep = punctuation(trace), lessons.deepest(trace)
    return {
        "deep": str(len(deep)),
        "marks": str(len(marks)),
        "deep_marks": str(len(marks & deep)),
        "name": material.checkpoint,
        "R": str(trace.header.num_recursions),
        "tokens": str(len(lessons.content(trace))),
        "held_out": f"{material.result('causal')['num_tokens']:,}",
        "more_one": f"{_more(material, 'fixed', 1):.3f}",
    }


def _layers(material: Material) -> dict[str, str]:
    trace, header = material.own, material.own.header
    deep, marks = lessons.deepest(trace), punctuation(trace)
    return {
        "prelude": str(header.config["num_prelude_layers"]),
        "coda": str(header.config["num_coda_layers"]),
        "stored": str(applied_layers(trace, 1)),
        "block": str(header.config["num_layers_per_recursion"]),
        "least": str(applied_layers(trace, 1)),
        "most": str(applied_layers(trace, header.num_recursions)),
        "deep_share": f"{len(deep) / len(lessons.content(trace)):.0%}",
        "words": str(len(lessons.content(trace)) - len(marks)),
        "deep_words": str(len(deep - marks)),
        "more_all": f"{_more(material, 'fixed', header.num_recursions):.3f}",
    }


def _router(material: Material) -> dict[str, str]:
    scores = [
        score
        for token in lessons.content(material.own)
        for score in token.router_scores[1:]
        if score is not None
    ]
    decided = [score for score in scores if not DECIDED[0] <= score <= DECIDED[1]]
    raised = material.runs[threshold_run(RAISED_LOGIT)]
    return {
        "width": str(material.own.header.config["hidden_size"]),
        "threshold": f"{material.own.header.routing['thresholds'][0]:g}",
        "raised": f"{raised.header.routing['thresholds'][0]:.2f}",
        "changed": str(len(lessons.changed(material.own, raised))),
        "scores": str(len(scores)),
        "decided": str(len(decided)),
        "decided_share": f"{len(decided) / len(scores):.0%}",
        "low": f"{DECIDED[0]:g}",
        "high": f"{DECIDED[1]:g}",
    }


def _choice(material: Material) -> dict[str, str]:
    moved = lessons.changed(material.runs[FIRST_TOP_K], material.runs[ALL_TOP_K])
    causal = lessons.changed(material.runs["read-causal-1"], material.own)
    agreement = material.evaluation["router"]["topk_threshold_agreement"]
    return {
        "first_tokens": str(len(lessons.content(material.runs[FIRST_TOP_K]))),
        "later_tokens": str(
            len(lessons.content(material.own)) - len(lessons.content(material.runs[FIRST_TOP_K]))
        ),
        "capacities": ", ".join(f"{share:.0%}" for share in capacities(material.own)),
        "moved": str(len(moved)),
        "moved_causal": str(len(causal)),
        "agreement_2": f"{agreement[1]:.1%}",
        "agreement_3": f"{agreement[-1]:.1%}",
        "better_top_k": f"{-_more(material, 'top_k'):.4f}",
        "paper_expert": f"{_paper('MoR, expert-choice, cache').nll:.4f}",
        "paper_token": f"{_paper('MoR, token-choice, cache').nll:.4f}",
    }


def _caches(material: Material) -> dict[str, str]:
    trace, shared = material.own, material.runs[SHARED]
    return {
        "slots": str(len(trace.header.cache_slots)),
        "plain_bytes": format_bytes(trace.header.vanilla_kv_bytes),
        "own_bytes": format_bytes(sum(trace.steps[-1].cache_bytes)),
        "kept": f"{kept_share(trace):.0%}",
        "shared_kept": f"{kept_share(shared):.0%}",
        "own_surprise": f"{lessons.surprise(trace):.3f}",
        "shared_surprise": f"{lessons.surprise(shared):.3f}",
    }


def _pays(material: Material) -> dict[str, str]:
    measured, own = latency(material.timed), material.result("causal")
    everyone_2 = material.result("fixed", 2)
    return {
        "device": material.timed[0].header.device,
        "dtype": material.timed[0].header.dtype,
        "recorded": material.timed[0].header.created[:10],
        "sweep_tokens": f"{material.evaluation['threshold_sweep'][0]['num_tokens']:,}",
        "sweep_documents": str(material.evaluation["threshold_sweep"][0]["num_documents"]),
        "paper_expert": f"{_paper('MoR, expert-choice, cache').nll:.4f}",
        "paper_two": f"{_paper('MoR, expert-choice, cache', 2).nll:.4f}",
        "paper_plain": f"{_paper('Vanilla', 1).nll:.4f}",
        "runs": str(len(material.timed)),
        "steps": f"{sum(measured.counts):,}",
        "flops_saved": f"{measured.saved(measured.flops):.0%}",
        "seconds_saved": f"{measured.saved(measured.seconds):.0%}",
        "flops_ratio": f"{measured.flops[-1] / measured.flops[0]:.2f}",
        "seconds_ratio": f"{measured.seconds[-1] / measured.seconds[0]:.2f}",
        "more_1": f"{_more(material, 'fixed', 1):.3f}",
        "more_2": f"{_more(material, 'fixed', 2):.3f}",
        "more_3": f"{_more(material, 'fixed', 3):.3f}",
        "flops_own": format_flops(own["active_flops_per_token"]),
        "flops_2": format_flops(everyone_2["active_flops_per_token"]),
    }


def _proof(material: Material) -> dict[str, str]:
    random = material.result("random")["more_nats_than_own_rule"]
    depths = material.evaluation["depths"]
    return {
        "gap": f"{random['nll_nats_per_token']:.3f}",
        "gap_low": f"{random['interval'][0]:.3f}",
        "gap_high": f"{random['interval'][1]:.3f}",
        "gap_open": f"{_more(material, 'random', gate='open'):.3f}",
        "loss": f"{material.result('causal')['nll_nats_per_token']:.3f}",
        "explained": f"{depths['explained_by_token']['epsilon_squared']:.0%}",
        "types": f"{depths['explained_by_token']['num_types']:,}",
        "correlation": f"{depths['by_next_surprisal']['rank_correlation']:.2f}",
        "paper_gap": f"{RANDOM_ROUTER_GAP:.3f}",
    }


def _more(material: Material, name: str, depth: int | None = None, gate: str = "learned") -> float:
    """Return a rule's loss minus that of the model's own rule, in nats per token."""
    result = material.result(name, depth, gate)
    return float(result["more_nats_than_own_rule"]["nll_nats_per_token"])


def _paper(model: str, recursions: int = 3) -> PaperResult:
    """Return the paper's result of a model at the full training budget."""
    wanted = (model, recursions, 16.5e18)
    return next(
        row for row in MAIN_TABLE if (row.model, row.recursions, row.forward_flops) == wanted
    )


_FACTS = {
    "layers": _layers,
    "router": _router,
    "choice": _choice,
    "caches": _caches,
    "pays": _pays,
    "proof": _proof,
}
_TRUTHS = {
    "router": lambda material: float(
        len(lessons.changed(material.own, material.runs[threshold_run(RAISED_LOGIT)]))
    ),
    "caches": lambda material: 100 * kept_share(material.own),
    "pays": lambda material: 100 * latency(material.timed).saved(latency(material.timed).seconds),
    "proof": lambda material: _more(material, "random"),
}
