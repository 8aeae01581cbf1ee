"""Small programs with a known mistake, each beside its mended twin, and further ones without any.

`sources.csv` names where each mistake was seen, and which half it belongs to: a hash of the source's id decides, and
it was written down before the programs, these before the checks. On the half "develop" the checks were made; the half
"frozen" is measured only. The programs are rewritten from descriptions; no code of the sources is in them.
"""

from corpus import (
    asked_attention_losses,
    asked_inputs_steps,
    asked_layers_columns,
    asked_terms_dimensions,
    data_and_rates,
    found_data,
    found_losses,
    found_nets,
    grown_data,
    grown_nets,
    later_data,
    later_losses,
    later_nets,
    loss_and_output,
    more_data,
    more_losses,
    more_nets,
    nets,
    reported_images_sequences,
    reported_losses_steps,
    reported_tables_nets,
    sound,
)

__all__ = [
    "ASKED",
    "CASES",
    "FOUND",
    "GROWN",
    "HEALTHY",
    "LATER",
    "MORE",
    "REPORTED",
    "Program",
    "asked_attention_losses",
    "asked_inputs_steps",
    "asked_layers_columns",
    "asked_terms_dimensions",
    "data_and_rates",
    "found_data",
    "found_losses",
    "found_nets",
    "grown_data",
    "grown_nets",
    "later_data",
    "later_losses",
    "later_nets",
    "loss_and_output",
    "more_data",
    "more_losses",
    "more_nets",
    "nets",
    "reported_images_sequences",
    "reported_losses_steps",
    "reported_tables_nets",
    "sound",
]
from corpus.asked import ASKED as ASKED
from corpus.found import FOUND as FOUND
from corpus.later import LATER as LATER
from corpus.more import MORE as MORE
from corpus.program import CASES as CASES
from corpus.program import GROWN as GROWN
from corpus.program import HEALTHY as HEALTHY
from corpus.program import Program as Program
from corpus.reported import REPORTED as REPORTED
