"""Open Inference Protocol v2: tensors in, tensors out. No HTTP: `serving/routes/openinference.py` has that.

`messages.py` reads and writes bodies, `model_input.py` and `model_output.py` stand between tensors and a model,
`inference.py` is the straight line through them.
"""
