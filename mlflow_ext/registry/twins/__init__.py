"""ONNX twins: scikit-learn models converted to ONNX, and compared with the original before anything is answered by one.

Making happens in processes of its own (evaluation, or `process.py`), because it imports much. Which requests a twin
answers is decided in `serving/plan.py`.
"""
