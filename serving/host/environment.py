"""Environment variables that decide how numbers are computed and how MLflow's code behaves, for whole processes."""

ONE_THREAD = {
    # threads do not survive a fork, hosts are many, and the rounding of a matrix product may hang on their number:
    # kernels are compared in hosts and compute in scoring processes
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
HOSTS = {
    **ONE_THREAD,
    # MLflow's own code behaves as in its scoring server
    "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
