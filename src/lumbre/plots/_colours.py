"""Okabe and Ito's palette, told apart by people with any colour vision."""

TRAIN = "#0072B2"
VALID = "#D55E00"
