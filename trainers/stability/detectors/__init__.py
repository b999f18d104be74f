"""Detectors: pure functions of a window of signals, one short file each."""
