"""Parameters of the shipped objectives."""
