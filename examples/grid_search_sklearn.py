"""Which network, learning rate and length? scikit-learn's search with the class name changed, on handwritten digits.

    python examples/grid_search_sklearn.py                      # 800 digits, 9 of 18 points, a minute
    python examples/grid_search_sklearn.py --samples 1797 --sampler grid    # all digits, every point

`SearchCV` stands where `GridSearchCV` stood; everything else is as it was.
"""

from __future__ import annotations

import argparse
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from learnrate.adapters.sklearn import SearchCV

PARAMETERS = {
    "hidden_layer_sizes": [(100,), (50, 50)],
    "learning_rate_init": [0.01, 0.001, 0.0001],
    "max_iter": [100, 200, 300],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=800, help="of the 1,797 digits")
    parser.add_argument("--sampler", default="tpe", choices=["tpe", "random", "qmc", "gp", "grid"])
    parser.add_argument("--points", type=int, default=9, help="how many of the 18 to try, unless by grid")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--max-iter", type=int, nargs="+", default=PARAMETERS["max_iter"])
    parser.add_argument("--jobs", type=int, default=-1)
    arguments = parser.parse_args()

    digits = load_digits()
    images, labels = digits.data[: arguments.samples] / 16, digits.target[: arguments.samples]
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    search = SearchCV(
        MLPClassifier(random_state=0),
        PARAMETERS | {"max_iter": arguments.max_iter},
        sampler=arguments.sampler,
        n_iter=None if arguments.sampler == "grid" else arguments.points,
        cv=arguments.folds,
        scoring="accuracy",
        n_jobs=arguments.jobs,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length is one of the things that are searched
        search.fit(x, y)

    results = search.cv_results_
    rows = zip(results["rank_test_score"], results["mean_test_score"], results["std_test_score"], results["params"])  # noqa: B905  # of one length
    for rank, mean, deviation, parameters in sorted(rows, key=lambda row: row[0]):
        print(f"{rank:>3}  {mean:.4f} ± {deviation:.4f}  {parameters}")
    print(f"best parameters: {search.best_params_}")
    print(f"accuracy over the folds {search.best_score_:.4f}, on the test set {search.score(x_test, y_test):.4f}")


if __name__ == "__main__":
    main()
