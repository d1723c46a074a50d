"""Whether a flight out of New York will arrive late: the worked example of a project that the platform retrains."""
