"""What `import learnrate` costs over numpy's own import, and which heavy packages it loads: none should be.

python benchmarks/overhead/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

PAIRS = 15
HEAVY = ("torch", "keras", "jax", "tensorflow", "sklearn", "scipy", "optuna", "altair", "vl_convert", "click", "rich")


def seconds(statement: str) -> float:
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def loaded() -> list[str]:
    code = f"import learnrate, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def main() -> None:
    pairs = [(seconds("import numpy"), seconds("import numpy, learnrate")) for _ in range(PAIRS)]
    extra = [1000 * (both - alone) for alone, both in pairs]
    verb = [1000 * (seconds("import numpy, learnrate; learnrate.select") - alone) for alone, _ in pairs]
    print(f"median of {PAIRS} pairs: numpy alone {1000 * statistics.median(alone for alone, _ in pairs):.0f} ms")
    print(f"import learnrate: {statistics.median(extra):.1f} ms more (aim: at most 50)")
    print(f"and learnrate.select looked up: {statistics.median(verb):.1f} ms more")
    print(f"heavy packages loaded: {', '.join(loaded()) or 'none'}")


if __name__ == "__main__":
    main()
