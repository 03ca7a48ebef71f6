"""Holds what the demo found against its bars; exits with 1 if one is missed.

python -m benchmarks.demo_bars work/demo
"""

import json
import sys
from pathlib import Path

PATIENTS, AUROC = 30, 0.90


def main() -> None:
    content = json.loads((Path(sys.argv[1]) / "runs" / "demo" / "report" / "metrics.json").read_text(encoding="utf-8"))
    test = content["splits"]["test"]
    slices = test["levels"]["slice"]
    patients, auroc = slices["patients"], slices["figures"]["any"]["auroc"]["value"]
    gain = content["baseline"]["difference"]["low"]
    augmented = content["train"]["augmented"]
    bars = [
        (patients >= PATIENTS, f"held-out phantom patients: {patients}, at least {PATIENTS}"),
        (auroc >= AUROC, f"AUROC of any: {auroc:.3f}, at least {AUROC:.2f}"),
        (gain > 0, f"gain over the baseline, lower end of the interval: {gain:.3f}, above 0"),
        (augmented > 0, f"augmented images in training: {augmented}, above 0"),
    ]
    for reached, bar in bars:
        print("reached" if reached else "MISSED ", bar)
    sys.exit(0 if all(reached for reached, _ in bars) else 1)


if __name__ == "__main__":
    main()
