"""Prints tokens coloured by depth, each with its depth as a digit, so that colour is never the only sign."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from mor_core.traces.trace import TokenRecord, Trace

_DIGITS = "₀₁₂₃₄₅₆₇₈₉"
_COLOURS = ("#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")  # viridis
_CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {
    127: "\u2421"
}


class TokenPrinter:
    """Writes a run to the terminal as it grows."""

    def __init__(self, num_recursions: int) -> None:
        self.num_recursions = num_recursions
        self.console = Console(highlight=False, soft_wrap=True)

    def show(self, tokens: Sequence[TokenRecord]) -> None:
        """Print tokens and their depths; control characters are replaced by visible symbols."""
        for token in tokens:
            if token.special:
                continue
            digit = "" if token.recursion_depth is None else _subscript(token.recursion_depth)
            # The depth digit goes before the token's line breaks.
            body = token.text.rstrip("\n").translate(_CONTROL)
            breaks = "\n" * (len(token.text) - len(token.text.rstrip("\n")))
            shown = Text(body, style=self._style(token)) + Text(digit, style="dim") + Text(breaks)
            self.console.print(shown, end="")

    def summarise(self, trace: Trace) -> None:
        """Print what the run cost."""
        counts = trace.depth_histogram("decode")
        depths = ", ".join(f"depth {depth}: {count}" for depth, count in enumerate(counts, start=1))
        flops = sum(step.active_flops for step in trace.steps)
        share = flops / trace.header.full_depth_flops
        kept = sum(trace.steps[-1].cache_bytes)
        seconds = sum(step.latency_s for step in trace.steps)
        decoded = sum(step.num_tokens for step in trace.steps if step.phase == "decode")
        self.console.print("\n")
        self.console.print(
            f"decoded tokens by depth: {depths}\n"
            f"active FLOPs: {flops:,} ({share:.1%} of full depth)\n"
            f"KV cache: {kept:,} bytes ({kept / trace.header.vanilla_kv_bytes:.1%} of a plain Transformer's)\n"
            f"{decoded} tokens decoded, {seconds:.2f} s in all, ended by: {trace.header.finish_reason}"
        )

    def _style(self, token: TokenRecord) -> str:
        if token.recursion_depth is None:
            return "dim"
        last = len(_COLOURS) - 1
        place = round((token.recursion_depth - 1) * last / max(1, self.num_recursions - 1))
        weight = "" if token.phase == "decode" else "dim "
        return f"{weight}{_COLOURS[min(max(place, 0), last)]}"


def _subscript(number: int) -> str:
    return "".join(_DIGITS[int(digit)] for digit in str(number))
