"""Methods, one file each, all from the same counts. Which of them decides says `methods/choice.py`."""
