"""The drift engine: reference profiles, window statistics that merge, methods and the verdict. It knows no MLflow."""
