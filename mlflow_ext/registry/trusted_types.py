"""The skops types we trust: what fitted scikit-learn estimators hold besides skops' own list. For users as well.

Judging a model's files with it lives in `artifacts.py`. Cheap to import: names only.

`mlflow.sklearn.log_model(model, name="model", skops_trusted_types=TRUSTED_TYPES)` logs forests, trees, boosting,
neighbours, networks, calibrated and stacked models, searches and column transformers, which MLflow's default refuses.

A type stands here when building it from a file's contents runs no code that the file chose: array holders of
scikit-learn's own (checked by their `__setstate__`), parameter objects, and pure functions. Never here: anything that
calls what it is given (`functools.partial`, `operator.methodcaller`), reads files or the network, or evaluates text.
Everything else of scikit-learn's public estimators is trusted by skops itself.
"""

_METRICS = "sklearn.metrics"

TRUSTED_TYPES: list[str] = sorted(
    [
        # trees, forests, gradient boosting
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        # neighbours
        *(
            f"{_METRICS}._dist_metrics.{metric}Distance64"
            for metric in (
                *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard"),
                *("Mahalanobis", "Manhattan", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean"),
                *("SokalMichener", "SokalSneath"),
            )
        ),
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        # networks
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        # Gaussian processes
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(
            f"sklearn.gaussian_process.kernels.{kernel}"
            for kernel in (
                *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern"),
                *("PairwiseKernel", "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel"),
            )
        ),
        # clusters
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        # calibration and thresholds
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        # searches over parameters keep their scorer and their splitter
        *(f"{_METRICS}._scorer.{scorer}" for scorer in ("_CurveScorer", "_PassthroughScorer", "_Scorer")),
        *(
            f"{_METRICS}._classification.{name}"
            for name in (
                *("accuracy_score", "balanced_accuracy_score", "f1_score", "jaccard_score", "log_loss"),
                *("brier_score_loss", "matthews_corrcoef", "precision_score", "recall_score"),
            )
        ),
        *(f"{_METRICS}._ranking.{name}" for name in ("average_precision_score", "roc_auc_score")),
        *(
            f"{_METRICS}._regression.{name}"
            for name in (
                *("explained_variance_score", "max_error", "mean_absolute_error", "mean_squared_error", "r2_score"),
                *("mean_absolute_percentage_error", "mean_squared_log_error", "median_absolute_error"),
                *("root_mean_squared_error", "root_mean_squared_log_error"),
            )
        ),
        *(
            f"sklearn.model_selection._split.{splitter}"
            for splitter in (
                *("GroupKFold", "KFold", "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit"),
                *("StratifiedGroupKFold", "StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit"),
            )
        ),
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
        # preprocessing, column transformers, feature selection
        "builtins.object",
        "numpy.dtype",
        "numpy.mean",
        "numpy.number",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        *(
            f"sklearn.feature_selection._univariate_selection.{name}"
            for name in ("chi2", "f_classif", "f_oneway", "f_regression", "r_regression")
        ),
        "sklearn.utils._bunch.Bunch",
    ]
)
