"""What the conformance suite said, as a table for a terminal and as that of docs/conformance.md."""

from collections import Counter

from conformance_expected import CAUSES, VIEWS

BEGIN, END = "<!-- made by hack/conformance --write -->", "<!-- end -->"


def reason(result):
    """Of one failing program: every reason once; empty if it passes."""
    verdict = result.verdict
    found = [f"{row.cause}: {row.reason}" for row in verdict.reasons]
    if verdict.unexpected:
        found.append(f"not judged: {verdict.unexpected[0][:200]}")
    found += [f"EXPECTED TO FAIL, line {row.line}" for row in verdict.gone]
    return " | ".join(dict.fromkeys(found))


def cause(result):
    """The first that is known."""
    return result.verdict.reasons[0].cause if result.verdict.reasons else "not judged"


def totals(programs):
    """How many programs pass, and why the others do not."""
    results = programs.values()
    passing = sum(result.passes() for result in results)
    causes = Counter(cause(result) for result in results if not result.passes())
    why = ", ".join(f"{count} {name}" for name, count in causes.most_common())
    return f"{passing} of {len(programs)} programs pass" + (f"; not: {why}" if why else "")


def as_text(results, view):
    """For each runtime how many test points are ok, not ok and skipped; the reasons of the first that fails."""
    runtimes = [name for name, views in results.items() if view in views]
    lines = [f"== {view}: test points ok / not ok / skipped",
             f"{'program':33}" + "".join(f"{name:>14}" for name in runtimes) + "  reason"]
    for program in results[runtimes[0]][view]:
        these = [results[name][view][program] for name in runtimes]
        line = f"{program:33}"
        for one in these:
            line += f"{one.ok:>6} {len(one.failures):>3} {len(one.skipped):>3}"
        reasons = [f"{name}: {said}" for name, one in zip(runtimes, these) if (said := reason(one))]
        if len(runtimes) == 1:
            reasons = [said for one in these if (said := reason(one))]
        lines.append(f"{line}  {reasons[0] if reasons else ''}".rstrip())
    for name in runtimes:
        points = results[name][view].values()
        counts = [sum(one.ok for one in points), sum(len(one.failures) for one in points),
                  sum(len(one.skipped) for one in points)]
        lines.append("{}: {}; points: {} ok, {} not ok, {} skipped".format(name, totals(results[name][view]), *counts))
    return "\n".join(lines)


def cell(text):
    return text.replace("|", "\\|")


def in_numbers(result):
    failed, all_points = len(result.failures), result.ok + len(result.failures)
    return "" if result.passes() else f"{failed} of {all_points}"


def summary_table(results):
    yield "| runtime | view | pass | " + " | ".join([*CAUSES, "not judged"]) + " |"
    yield "|" + "---|" * (4 + len(CAUSES))
    for name, views in results.items():
        for view, programs in views.items():
            causes = Counter(cause(one) for one in programs.values() if not one.passes())
            numbers = [str(causes[word] or "") for word in [*CAUSES, "not judged"]]
            passing = sum(one.passes() for one in programs.values())
            yield f"| {name} | {view} | {passing} of {len(programs)} | " + " | ".join(numbers) + " |"


def program_table(results):
    """A program a line; an empty field is one that passes."""
    columns = [(view, name) for view in VIEWS for name in results if view in results[name]]
    yield "| program | " + " | ".join(f"{view} {name}" for view, name in columns) + " |"
    yield "|---|" + "---|" * len(columns)
    view, name = columns[0]
    for program in results[name][view]:
        cells = [in_numbers(results[name][view][program]) for view, name in columns]
        yield f"| `{program}` | " + " | ".join(cells) + " |"


def reason_table(results):
    """Each reason of each program, with whom it holds for."""
    found = {}
    for name, views in results.items():
        for view, programs in views.items():
            for program, one in programs.items():
                reasons = dict.fromkeys((row.cause, row.reason) for row in one.verdict.reasons)
                if one.verdict.unexpected:
                    reasons["not judged", one.verdict.unexpected[0][:160]] = None
                for why in reasons:
                    found.setdefault((program, *why), []).append((name, view))
    yield "| program | fails with | cause | reason |"
    yield "|---|---|---|---|"
    for program, why, text in sorted(found):
        names = {}
        for name, view in found[program, why, text]:
            names.setdefault(name, []).append(view)
        who = ", ".join(f"{name} ({', '.join(views)})" for name, views in names.items())
        yield f"| `{program}` | {who} | {why} | {cell(text)} |"


def write(document, results):
    """Between the marks of the document."""
    text = document.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    tables = [summary_table(results), program_table(results), reason_table(results)]
    made = "\n\n".join("\n".join(table) for table in tables)
    document.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")
