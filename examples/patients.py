"""Sixty synthetic patients, each with a logistic curve of its own: a table to try numaml on.

    python examples/patients.py [FILE]

Writes a CSV file (patients.csv) with the columns patient, hour, response: twelve measurements of
each patient at random hours of the first 16, the curve's height about 100 ± 15, its middle about
hour 8 ± 2, its rate from 0.5 to 1.2 an hour, and noise of standard deviation 3.
"""

import csv
import sys
from pathlib import Path

import numpy as np

PATIENTS, MEASUREMENTS, NOISE = 60, 12, 3.0


def rows(seed: int = 0):
    rng = np.random.default_rng(seed)
    for patient in range(PATIENTS):
        height, middle, rate = rng.normal(100, 15), rng.normal(8, 2), rng.uniform(0.5, 1.2)
        for hour in rng.uniform(0, 16, MEASUREMENTS):
            response = height / (1 + np.exp(-rate * (hour - middle))) + rng.normal(0, NOISE)
            yield f"p{patient:02}", f"{hour:.2f}", f"{response:.2f}"


def main(arguments) -> int:
    path = Path(arguments[0] if arguments else "patients.csv")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("patient", "hour", "response"), *rows()])
    print(f"{path}: {PATIENTS} patients, {MEASUREMENTS} measurements each")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
