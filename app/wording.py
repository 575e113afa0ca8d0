"""Texts of Explore and Live that are not in `words/` yet."""

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
NO_RECORDED_RUN = "No recorded run is bundled with these checkpoints: press Run to make one."
NO_CHECKPOINTS = (
    "No checkpoint was found. Train one with `mor train recipes/stories-mor3-expert.toml`, "
    "or name the folder of your checkpoints in the variable MOR_CHECKPOINTS."
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
