"""Choose a MAML learner with scikit-learn: grid search over groups, scores after adapting.

    python examples/model_selection.py

Growth curves of forty made-up animals. Every fold holds animals out, never rows; a score adapts to
`shots` rows of each animal held out and judges the others. The best pipeline is kept with joblib.
"""

import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np
import sklearn
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import numaml

ITERATIONS = 300


def animals(count=40, weeks=10):
    rng = np.random.default_rng(0)
    animal, week = np.repeat(np.arange(count), weeks), np.tile(np.arange(1.0, weeks + 1), count)
    weight = 20 + rng.normal(7, 1.5, count)[animal] * week + rng.normal(0, 1, count * weeks)
    return week[:, None], weight, animal


def main() -> int:
    x, y, groups = animals()
    with sklearn.config_context(enable_metadata_routing=True):
        maml = numaml.MAMLRegressor(
            hidden=(16,), shots=3, queries=5, iterations=ITERATIONS, random_state=0
        )
        maml.set_fit_request(groups=True).set_score_request(groups=True)
        pipeline = make_pipeline(StandardScaler(), maml)
        folds = GroupKFold(3)
        search = GridSearchCV(pipeline, {"mamlregressor__alpha": [0.01, 0.1]}, cv=folds)
        search.fit(x, y, groups=groups)
        print(f"best: {search.best_params_}, R² after adapting {search.best_score_:.3f}")
        error = numaml.AdaptedScorer(mean_absolute_error, greater_is_better=False)
        found = cross_validate(
            search.best_estimator_, x, y, params={"groups": groups}, cv=folds, scoring=error
        )
        print("mean absolute error in each fold:", (-found["test_score"]).round(2).tolist())
        path = Path(tempfile.mkdtemp()) / "pipeline.joblib"
        joblib.dump(search.best_estimator_, path)
        again = joblib.load(path)
        scaler, maml = again[:-1], again[-1]
        new = maml.adapt(scaler.transform([[1.0], [4.0], [6.0]]), [26.0, 44.0, 56.0])
        print("a new animal in week 9:", new.predict(scaler.transform([[9.0]])).round(1).tolist())
    return 0


if __name__ == "__main__":
    sys.exit(main())
