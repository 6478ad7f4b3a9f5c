"""What a graded class looks like: a CSV, and one page with points, distribution and failed checks."""

import base64
import collections
import csv
import html
import io
import os
from pathlib import Path

PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ border-bottom: 1px solid #ccc; padding: .2rem .6rem; text-align: left; vertical-align: top }}
td.n, th.n {{ text-align: right }} img {{ max-width: 100% }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write(course, name, rows, nobody):
    """Write `report/NAME.csv` and `report/NAME.html`; return their paths."""
    folder = course.root / "report"
    folder.mkdir(exist_ok=True)
    parts = dict.fromkeys(part for row in rows for part in row.get("points", {}))
    table, page = folder / f"{name}.csv", folder / f"{name}.html"
    _replace(table, csv_text(name, rows, list(parts)))
    _replace(page, html_text(name, rows, nobody, list(parts)))
    return table, page


def _replace(path, text):
    new = Path(f"{path}.new")
    new.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    os.replace(new, path)


def csv_text(name, rows, parts):
    """A line a student. A cell that a spreadsheet would take for a formula is put in quotes."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["assignment", "student", "status", "score", "max", "late_hours", "to_mark_by_hand"]
    writer.writerow([*head, *parts, "remarks"])
    for row in rows:
        points = row.get("points", {})
        graded = row["status"] == "graded"
        most = sum(row["max"].values()) if graded else ""
        late = round(row.get("late", 0) / 3600, 1) if graded else ""
        values = [name, row["student"], row["status"], row.get("score", "") if graded else "", most]
        values += [late, " ".join(row.get("by_hand", []))]
        values += [points.get(part, "") for part in parts] + ["; ".join(row["odd"])]
        writer.writerow([_harmless(v) for v in values])
    return file.getvalue()


def _harmless(value):
    text = str(value)
    return (
        "'" + text if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t") else value
    )


def html_text(name, rows, nobody, parts):
    graded = [row for row in rows if row["status"] == "graded"]
    body = [_summary(rows, graded)]
    if graded:
        body += [_pictures(graded, parts), _questions(graded, parts), _failed(graded)]
    body += [_odd(rows, nobody), _marks(graded, parts)]
    return PAGE.format(title=html.escape(f"{name}: the class"), body="\n".join(body))


def _summary(rows, graded):
    by_hand = sum(bool(row.get("by_hand")) for row in graded)
    lines = [f"{len(rows)} submissions, {len(graded)} graded, {len(rows) - len(graded)} not."]
    if graded:
        scores = sorted(row["score"] for row in graded)
        most = sum(graded[0]["max"].values())
        lines.append(f"Median {scores[len(scores) // 2]:g} of {most:g} points.")
    if by_hand:
        lines.append(f"{by_hand} wait for a mark by hand: these points are still missing here.")
    return f"<p>{' '.join(lines)}</p>"


def _table(head, lines, numbers=()):
    cells = [
        f"<th{' class=n' if k in numbers else ''}>{html.escape(h)}</th>" for k, h in enumerate(head)
    ]
    text = [f"<table><thead><tr>{''.join(cells)}</tr></thead><tbody>"]
    for line in lines:
        cells = [
            f"<td{' class=n' if k in numbers else ''}>{html.escape(str(v))}</td>"
            for k, v in enumerate(line)
        ]
        text.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*text, "</tbody></table>"])


def _questions(graded, parts):
    lines = []
    for part in parts:
        got = [row["points"].get(part) or 0.0 for row in graded]
        most = graded[0]["max"].get(part, 0)
        full = sum(g >= most for g in got)
        lines.append(
            [part, f"{most:g}", f"{sum(got) / len(got):.1f}", f"{100 * full / len(got):.0f} %"]
        )
    return "<h2>Points a question</h2>" + _table(["part", "of", "mean", "full"], lines, (1, 2, 3))


def _failed(graded):
    count = collections.Counter(part for row in graded for part in row["failed"])
    lines = []
    for part, times in count.most_common():
        said = collections.Counter(row["failed"][part] for row in graded if part in row["failed"])
        lines.append([part, times, said.most_common(1)[0][0]])
    head = ["check", "failed", "most often it said"]
    return "<h2>Checks most often failed</h2>" + _table(head, lines, (1,))


def _odd(rows, nobody):
    lines = [(row["student"], row["status"], remark) for row in rows for remark in row["odd"]]
    lines += [("", "not graded", remark) for remark in nobody]
    if not lines:
        return "<h2>Remarks</h2><p>Nothing was odd.</p>"
    return "<h2>Remarks</h2>" + _table(["student", "status", "what was odd"], lines)


def _marks(graded, parts):
    lines = [
        [row["student"], f"{row['score']:g}", *(f"{row['points'].get(p) or 0:g}" for p in parts)]
        for row in graded
    ]
    return "<h2>All marks</h2>" + _table(
        ["student", "score", *parts], lines, range(1, len(parts) + 2)
    )


def _pictures(graded, parts):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    most = sum(graded[0]["max"].values())
    left.hist([row["score"] for row in graded], bins=min(20, int(most) + 1), range=(0, most))
    left.set(xlabel="points", ylabel="students", title="Distribution")
    shares = [
        sum(row["points"].get(p) or 0 for row in graded) / len(graded) / (graded[0]["max"][p] or 1)
        for p in parts
    ]
    right.barh(parts, [100 * s for s in shares])
    right.invert_yaxis()
    right.set(xlabel="mean, % of the points", xlim=(0, 100), title="Points a question")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    text = base64.b64encode(file.getvalue()).decode()
    alt = "Two plots: the distribution of points, and the mean points of each question."
    return f'<img alt="{alt}" src="data:image/png;base64,{text}">'
