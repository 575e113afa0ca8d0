"""The app's explanations: glossary, captions and what each number is. One module, so that a translation can follow."""

GLOSSARY = {
    "recursion": "One pass of a token through the shared block of layers.",
    "recursion depth": "How many recursions a token took, 1 to R. It is the computation spent at the "
    "token's position, that is on predicting the next token.",
    "router": "A small network that judges, before each recursion, whether a token takes it.",
    "router score": "The sigmoid of the router's logit. Under the causal rule a token enters a "
    "recursion if its score is at or above the threshold.",
    "causal rule": "Each token is judged by its own score alone. This is the rule of generation.",
    "top-k rule": "Each recursion takes the k best tokens of the whole text. This is the rule of "
    "training; a token's depth then depends on later tokens.",
    "gate": "The factor that scales what the shared block adds. Learned: the token's own score. "
    "Open: the same for all tokens.",
    "KV cache": "Keys and values of earlier tokens, kept so that they are not computed again. Each "
    "layer of each recursion has its own slot, which keeps only the tokens that took this recursion.",
    "prefill": "The prompt, processed in one call.",
    "decode": "Generation, one token a call.",
    "content token": "Every token but the special ones, such as the document start.",
    "active FLOPs": "Floating-point operations that routing needed. A multiply-add counts as 2.",
    "full depth": "The same model if every token took every recursion.",
    "plain Transformer": "A model of the same widths and the same unrolled depth, without sharing "
    "and without a router.",
    "bits per byte": "Loss per byte of text instead of per token, so that models with other "
    "tokenizers compare.",
    "perplexity": "exp of the mean loss in nats per token.",
}

TOKEN_CLASSES = (
    "Classes are told by spelling: closed lists of determiners, pronouns, prepositions, "
    "conjunctions and auxiliaries; everything else is another word. A word of two classes "
    '("her", "that") counts where the lists have it.'
)
OF_NEXT = (
    "The depth at a position is spent on predicting the token after it. This groups by that token."
)
DEPTH_IS_NOT_DIFFICULTY = (
    "Depth shows where this model spends computation. It does not prove that a token is difficult."
)
SCORE_SCALE = (
    "Blue: below the threshold, orange: above, grey: close to it. A dot: the token took the "
    "recursion. A diagonal line: it had dropped out before, so nothing was judged. Each recursion "
    "has its own router, so scores of different recursions are not comparable."
)
ANALYSE_EXAMPLE = (
    "The old clock in the hall struck nine, and still nobody came. Anna put down her book. "
    '"Perhaps they have lost their way," she said, and went to the window. Outside the snow was '
    "falling, softly and slowly, on the garden, on the gate and on the long white road."
)
ANALYSE_NOTE = (
    "The model reads the text; nothing is generated. Text longer than the context is read in "
    "windows that overlap by half."
)
TRACE_FILE_NOTE = (
    "Open a file that Download trace or `mor generate --trace FILE` has made. It is not kept."
)
NO_TRACES = (
    "No recorded run was found beside the checkpoints. Make some with `mor record`, or read a text "
    "of your own."
)
ROUTINGS = {
    "causal": "Causal threshold",
    "top_k": "Top-k (sees the future)",
    "fixed": "Fixed depth",
    "random": "Random",
    "forced": "Forced, token by token",
}
OWN_DEPTH = "Each token's own choice"
AUX_ROUTER = "Auxiliary router"
NO_ROUTER = "This model has no router: every token takes every recursion."
ROUTING_HELP = (
    f"{GLOSSARY['causal rule']} {GLOSSARY['top-k rule']} The others override the router: every token "
    "the same depth, a depth drawn by chance with the trained shares, or a depth that you give."
)
THRESHOLD_HELP = (
    "A token enters this recursion if its router logit is at or above this. 0 is a score of 0.5, "
    "which training aims at; lower sends more tokens deep."
)
FORCED_HELP = (
    "One number a position, the document start first, for example `3 1 - 2`. A dash, and every "
    "position after the last number, leaves the choice to the token."
)
NO_RECORDED_RUN = "No recorded run is bundled with these checkpoints: press Run to make one."
NO_CHECKPOINTS = (
    "No checkpoint was found. Train one with `mor train recipes/stories-mor3-expert.toml`, "
    "or name the folder of your checkpoints in the variable MOR_CHECKPOINTS."
)
NO_EVALUATION = (
    "{name} is not evaluated yet. `mor report` scores it and writes its evaluation.json."
)
STALE_EVALUATION = (
    "The evaluation of {name} belongs to other weights than those in the folder. `mor report` "
    "scores these."
)
NO_DEPTHS = (
    "The costs of {name} depend on how deep tokens go, and nothing here has measured that yet. "
    "`mor report` evaluates it, `mor record` records runs."
)
NO_TRAINING_LOG = "This checkpoint has no train_log.jsonl. `mor train` writes one with every run."
NO_SPEED = "No recorded run holds measured decode calls. `mor record` makes some on this machine."

FLOPS_FORMULA = r"""
Per layer, for $q$ tokens that attend to $k$ entries, with hidden size $E$, query width $Q$, key
width $G$ and MLP width $F$:

$$2q\,(2EQ + 2EG + 3EF) + 4qkQ$$

Prelude and coda: $q = k = n$, all tokens of the text. Recursion $r$: $q = k = n_r$, the tokens that
took it. The router adds one judgement a candidate, the head $2nEV$ for a vocabulary of $V$.

A multiply-add is 2. Only matrix products are counted, and attention counts every query-key pair
of a call, the masked half included. The plain Transformer has the same layers with $q = k = n$ and
no router.
"""
KV_FORMULA = (
    "Bytes of an entry: 2 (key and value) x KV heads x head width x bytes of a number. Prelude and "
    "coda keep every token; each layer of recursion r keeps the tokens that took recursion r. With "
    "shared keys all recursions read those of the first. The plain Transformer keeps every token in "
    "every layer."
)
SPEED_NOTE = (
    "Measured while the recorded runs were made: batch 1, eager PyTorch, one call a token, on a "
    "machine that may have had other work. A call also has costs that routing does not change "
    "(prelude, coda, head, sampling, Python), so seconds need not follow the counted FLOPs; how much "
    "skipping saves in batches is another question, which this does not measure."
)
QUALITY_NOTE = (
    "Every document after one document start, every token scored once, windows of the context's "
    "length that move by half, bytes of the documents in UTF-8. top_k sees later tokens: it is the "
    "training rule as a control, not a way to generate. Fixed depth and random routing override the "
    "router; a learned gate then scales what a rejected token adds to nearly nothing, an open gate "
    "does not."
)

NUMBERS = {
    "Recursion depth": "Read from the model's own routing in each call. The newest token of a run "
    "has none yet.",
    "Mean depth": "Mean over content tokens with a known depth; special tokens are left out.",
    "Router score": "Activation of the router's logit, before the factor alpha. Empty where a token "
    "was not judged.",
    "Active FLOPs": "Closed form over the layers that ran, from the counts of active tokens of each "
    "call. A test holds it equal to PyTorch's FlopCounterMode.",
    "Full-depth FLOPs": "The same closed form with every token in every recursion.",
    "KV entries and bytes": "Read from the tensors of the real cache after each call.",
    "KV bytes of a plain Transformer": "Closed form: unrolled layers x tokens x bytes of an entry.",
    "Speed": "Decoded tokens over the seconds of their calls, sampling included, drawing left out.",
    "Log-probability, entropy": "Of the model's own distribution, before temperature and top-k, in "
    "nats. They say how a token was chosen, from the position before it.",
    "Bits per byte, perplexity": "From evaluation.json: every token scored once, windows of the "
    "context's length that move by half; bits per byte divides by the UTF-8 bytes of the documents.",
    "Training FLOPs": "3 x the forward pass, summed over the steps from their counts of active "
    "tokens.",
}

LIMITS = (
    "Depth is no measure of difficulty. It is what a router learned to spend in one training run; "
    "another seed can spend it elsewhere.",
    "Training and generation use different rules: top-k over the text in training, a threshold for "
    "each token in generation. Every run names the rule that it used.",
    "The bundled models are tiny. They write grammatical sentences and lose the plot, and know "
    "nothing but old children's stories in English.",
    "Most of the training text is from 1860 to 1930. Its words and its views of peoples, women and "
    "animals are of that time, and a model can repeat them.",
    "Seconds need not follow counted FLOPs. What is measured here is one run at a time in eager "
    "PyTorch; it says nothing of batches or other machines.",
    "Classes of tokens are told by spelling, without a tagger.",
)

LICENCES = (
    "Code and weights: MIT. The training text of the bundled checkpoints is in the public domain in "
    "the USA (Project Gutenberg, Standard Ebooks), CC BY (African Storybook, Pratham Books, Book "
    "Dash) or MIT (TinyFabulist). The stories were cut to their prose; quotation marks, dashes and "
    "spaces were made alike. Credits that CC BY asks for come with each checkpoint:"
)
SOURCE = (
    "The method is that of Bae et al., Mixture-of-Recursions, NeurIPS 2025, "
    "[arXiv:2507.10524](https://arxiv.org/abs/2507.10524). This is an implementation of its own, and "
    "its small checkpoints are not the paper's."
)
CITATION = """@inproceedings{bae2025mixture,
  title         = {Mixture-of-Recursions: Learning Dynamic Recursive Depths for Adaptive
                   Token-Level Computation},
  author        = {Bae, Sangmin and Kim, Yujin and Bayat, Reza and others},
  booktitle     = {Advances in Neural Information Processing Systems},
  year          = {2025},
  eprint        = {2507.10524},
  archivePrefix = {arXiv}
}"""
