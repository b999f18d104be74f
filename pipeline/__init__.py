"""Run many trainings."""
