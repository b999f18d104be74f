"""Parameters of the shipped variants, a file a kind; they import no torch."""
