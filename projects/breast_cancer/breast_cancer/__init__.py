"""Whether a tumour is benign: the small numeric example of a project that the platform retrains."""
