"""What differs among the runtimes, which of it is listed with a reason, and the fewest edits that show it."""

import json
import re
from collections import Counter
from pathlib import Path

LIST = Path(__file__).resolve().parent / "differences.txt"
MOST_RUNS = 40
# One runtime's word for what the others have, or are: the size and the name of what hides something.
OF_TWO = "of two: "
HIDING = ("source", "data", "flags", "root", "kind")


class Difference:
    """A fact that the first runtime has against others: `kind` is how. It is alone where all others agree, and each where every
    runtime has it in another way."""

    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values

    def group(self):
        """Without what is by chance, so that the same difference is found in other cases."""
        key = re.sub(r"^exec \d+", "exec", self.key)
        key = re.sub(r"^(hook) \d+", r"\1", key)
        key = re.sub(r"^(environment|arguments|file|path|mount) .*?( \S+)?$", r"\1\2", key)
        return " | ".join([self.kind, key, *(value[:70] for value in self.values)])

    def text(self):
        """What the list of known differences is asked about."""
        return " | ".join([self.kind, self.key, *self.values])


def shortened(message):
    """An error without what is by chance."""
    message = re.sub(r'^time="[^"]*" level=\w+ msg=|^\d{4}-\S+Z?:? |^aril: |^\d{4}-.*?: ', "", message)
    return re.sub(r"\d+", "N", message)[:160]


def compared(runs):
    """The differences of the first runtime from the others, all of them."""
    names = list(runs)
    trial, *peers = names
    outcomes = {name: runs[name].outcome for name in names}
    if outcomes[trial] != "ran":
        if all(outcomes[peer] == "ran" for peer in peers):
            return [Difference("refused", "outcome", [said(runs[name]) for name in names])]
        if outcomes[trial] == "hangs":
            return [Difference("hangs", "outcome", [said(runs[name]) for name in names])]
    elif not any(outcomes[peer] == "ran" for peer in peers):
        return [Difference("accepted", "outcome", [said(runs[name]) for name in names])]
    same = [peer for peer in peers if outcomes[peer] == outcomes[trial]]
    keys = sorted({key for name in [trial, *same] for key in runs[name].facts})
    if outcomes[trial] != "ran":
        # How far they got before that is their own affair; what they leave is not.
        keys = [key for key in keys if key.startswith("left")]
    found = []
    for key in keys:
        alike = [peer for peer in same if ran_as(runs[peer], key) == ran_as(runs[trial], key)]
        values = {name: value(runs[name].facts, key) for name in [trial, *same]}
        others = [values[peer] for peer in alike]
        if not others or values[trial] in others:
            continue
        kind = f"only {alike[0]}" if len(others) < len(peers) else "alone" if len(set(others)) == 1 else "each"
        found.append(Difference(kind, key, [values.get(name, f"({outcomes[name]})") for name in names]))
    return found


def ran_as(run, key):
    """Whether the exec process that the fact is of has run its program: of one that has not, the code alone is a fact."""
    process = re.match(r"exec \d+ ", key)
    return process and not key.endswith((" code", " ran")) and run.facts.get(f"{process[0]}ran")


def said(run):
    return run.outcome if run.outcome == "ran" else f"{run.outcome}: {shortened(run.message)}"


def value(facts, key):
    """What is compared."""
    text = facts.get(key, "-")
    stem, _, field = key.rpartition(" ")
    if "mount " in key and field in HIDING:
        root, flags = facts.get(f"{stem} root", ""), facts.get(f"{stem} flags", "").split(",")
        if root == "/null":
            return "a null device"
        is_empty = "ro" in flags and re.search(r"nr_inodes=[12]\b|size=0k|(^|,)ro(,|$)", facts.get(f"{stem} data", ""))
        if facts.get(f"{stem} kind") == "tmpfs" and is_empty:
            return "an empty directory"
        if field == "data" and facts.get(f"{stem} kind") == "tmpfs":
            # Given at the mount or afterwards: what is at the path tells.
            return ",".join(one for one in text.split(",") if one.split("=")[0] not in ("mode", "uid", "gid"))
        if field == "source" and facts.get(f"{stem} kind") in ("proc", "sysfs"):
            return "-"
    return text


class Known:
    """The list of differences with reasons. A line is a regular expression for the difference, where it takes one more for
    the edits of the case after two ampersands, and the reason after two bars. One that begins with "of two: " is for a machine
    where only one other runtime runs, which nobody is there to contradict."""

    def __init__(self):
        self.entries, self.met = [], Counter()
        for line in LIST.read_text().splitlines():
            if line and not line.startswith("#"):
                patterns, reason = line.split(" || ")
                difference, _, edits = patterns.removeprefix(OF_TWO).partition(" && ")
                self.entries.append((patterns.startswith(OF_TWO), re.compile(difference), re.compile(edits), reason))

    def reason(self, difference, edits):
        text, edits = difference.text(), json.dumps(edits, ensure_ascii=False)
        for of_two, pattern, condition, reason in self.entries:
            if of_two and len(difference.values) != 2:
                continue
            if pattern.search(text) and condition.search(edits):
                self.met[reason] += 1
                return reason
        return None


def smallest(edits, shows):
    """The edits without those, and without those items of their lists, that `shows` does not need."""
    runs, changed = 0, True
    # Most need one alone.
    for edit in edits if len(edits) > 1 else []:
        runs += 1
        if shows([edit]):
            edits = [edit]
            break
    while changed:
        changed = False
        for candidate in smaller(edits):
            if runs == MOST_RUNS:
                return edits
            runs += 1
            if shows(candidate):
                edits, changed = candidate, True
                break
    return edits


def smaller(edits):
    for index in range(len(edits)):
        yield edits[:index] + edits[index + 1:]
    for index, edit in enumerate(edits):
        for key in ("items", "to"):
            items = edit.get(key)
            if isinstance(items, list) and len(items) > 1:
                for place in range(len(items)):
                    yield [*edits[:index], {**edit, key: items[:place] + items[place + 1:]}, *edits[index + 1:]]
        if "mount" in edit:
            options = edit["mount"].get("options", [])
            for place in range(len(options)):
                mount = {**edit["mount"], "options": options[:place] + options[place + 1:]}
                yield [*edits[:index], {**edit, "mount": mount}, *edits[index + 1:]]
