"""Print which share of mutmut's mutants is killed; fail if it is too small, or a survivor has no reason.

To be called where ``mutmut run`` has ended, with the page of reasons. A mutant is known by its function and
by what it changes there, for numbers move.
"""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

LEAST = 0.85


def mutmut(*arguments: str) -> list[str]:
    """Return the lines that mutmut prints."""
    done = subprocess.run(["mutmut", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def changed(diff: list[str]) -> str:
    """Return a diff without what moves, headers, context, indentation, and with one way to be not strict."""
    lines = [f"{line[0]} {line[1:].strip()}" for line in diff if re.match(r"[+-](?![+-]{2} )", line)]
    return "\n".join(re.sub(r", (strict=(None|False))?\)", ")", line) for line in lines)


def function_of(mutant: str) -> str:
    """Return ``growth.Growth.carry`` of mutmut's name of a mutant."""
    _, module, name = mutant.split(".")
    return f"{module}.{re.sub('^x(_|ǁ)|__mutmut_[0-9]+$', '', name).replace('ǁ', '.')}"


def explained(page: str) -> set[tuple[str, str]]:
    """Return the function and the change of every mutant that a page lists."""
    blocks = re.findall(r"^```diff\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found = set()
    for block in blocks:
        for entry in re.split(r"^@@ ", block, flags=re.MULTILINE)[1:]:
            function, *diff = entry.splitlines()
            found.add((function, changed(diff)))
    return found


results = [line.strip().split(": ", 1) for line in mutmut("results", "--all", "true")]
counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
alive = set()
for mutant, status in results:
    counts[function_of(mutant).split(".")[0]][status] += 1
    if status not in ("killed", "timeout"):
        alive.add((function_of(mutant), changed(mutmut("show", mutant))))
print("module         mutants  killed  timeouts  survived   share")
shares = []
for module, ends in sorted(counts.items()):
    total, killed, timeouts = ends.total(), ends["killed"], ends["timeout"]
    shares.append((killed + timeouts) / total)
    survived = total - killed - timeouts
    print(f"{module:<14} {total:>7} {killed:>7} {timeouts:>9} {survived:>9} {shares[-1]:>7.1%}")
listed = explained(Path(sys.argv[1]).read_text("utf-8"))
for word, entries in (("without a reason", alive - listed), ("listed, but dead by now", listed - alive)):
    for function, diff in sorted(entries):
        print(f"\n{word}: @@ {function}\n{diff}")
if min(shares) < LEAST or alive - listed:
    sys.exit(f"Every module must have {LEAST:.0%} of its mutants killed, and every survivor a reason.")
