"""What gates compute with: measures on rows, paired comparisons, pictures. Verdicts are the gates' own business."""
