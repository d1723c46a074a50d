"""One gate a file; each turns evidence into a GateResult."""
