"""The record of a run as plain data; knows no torch."""
