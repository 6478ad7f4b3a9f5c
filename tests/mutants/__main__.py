"""Store which test killed each mutant, from the last runs here: `python tests/mutants`, after `make test`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import mutants  # noqa: E402

memory = ROOT / ".pytest_cache" / "d" / "mutants"
unseen = mutants.keep(memory)
print(f"{len(mutants.load()) - len(unseen)} kills are in {mutants.KILLERS.relative_to(ROOT)}.")
if unseen:
    sys.exit(f"Not seen since they changed: {', '.join(unseen)}. Run tests/test_mutants.py.")
