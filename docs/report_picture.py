"""Make docs/images/report.png from a report of phantoms: its head in light, a part with figures in dark.

    python docs/report_picture.py work/demo/runs/demo/report/report.html ROW

ROW of the dark page is where its part begins. Needs chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, WHOLE = 1250, 1500, 16_000  # pixels


def main() -> None:
    page = Path(sys.argv[1]).resolve()
    light, dark = (screenshot(page, dark=dark) for dark in (False, True))
    start = int(sys.argv[2])
    pair = np.concatenate([light[:HEIGHT], dark[start : start + HEIGHT]], axis=1)
    small = cv2.resize(pair, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(Path(__file__).parent / "images" / "report.png"), small)


def screenshot(page: Path, *, dark: bool) -> np.ndarray:
    """The page's first WHOLE rows, (rows, WIDTH, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        theme = ["--blink-settings=preferredColorScheme=0", "--force-dark-mode"] if dark else []
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *theme]
        options += [f"--window-size={WIDTH},{WHOLE}", f"--screenshot={picture}"]
        subprocess.run(["chromium", *options, page.as_uri()], check=True, capture_output=True)
        return np.asarray(cv2.imread(str(picture)))


if __name__ == "__main__":
    main()
