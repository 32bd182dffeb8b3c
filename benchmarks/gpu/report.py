"""Part ``report``: the figures as tables between two markers of gpu.md, and as gpu.svg."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmarks.gpu.plan import Plan
from benchmarks.gpu.results import Results, Row
from benchmarks.gpu.work import limit_seconds, totals
from benchmarks.serving import ROOT

TEMPLATE = ROOT / "docs" / "gpu.md"
START, END = "<!-- figures: python -m benchmarks.gpu report -->", "<!-- end of figures -->"


def write_report(plan: Plan) -> None:
    """Write gpu.md, with the text of this project's own, and gpu.svg where there are figures."""
    before, _, rest = TEMPLATE.read_text("utf-8").partition(START)
    after = rest.partition(END)[2]
    plan.docs.mkdir(parents=True, exist_ok=True)
    drawn = any(row.figures for row in plan.results.rows("engines", "torch"))
    if drawn:
        from benchmarks.gpu.plot import plot

        plot(plan.docs / "gpu.svg", plan.results)
    lines = "\n".join(figures(plan.results, drawn=drawn))
    (plan.docs / "gpu.md").write_text(f"{before}{START}\n\n{lines}\n\n{END}{after}", "utf-8")


def figures(results: Results, *, drawn: bool = False) -> Iterator[str]:
    """Yield the lines between the markers."""
    yield from _about(results)
    for title, part, table in SECTIONS:
        yield from ("", f"### {title}", "")
        lines = list(table(results))
        where = "" if part == "decode" else " on a machine with a GPU"
        yield from lines or [f"Not measured yet: `python -m benchmarks.gpu {part}`{where}."]
    if drawn:
        yield from ("", "![Images per second against the size of the batch](gpu.svg)")
    if notes := list(_notes(results)):
        yield from ("", "### What could not be measured", "", *notes)


def card_limits(results: Results) -> dict[str, float]:
    """Return the card's limits as ``limit_seconds`` takes them."""
    return {row.way: row.figures["most"] for row in results.rows("card") if row.figures}


def best_rates(results: Results) -> dict[str, float]:
    """Return the most images per second that the engine gave of each model."""
    rates: dict[str, float] = {}
    for row in results.rows("engines"):
        if row.figures:
            rates[row.subject] = max(rates.get(row.subject, 0.0), row.figures["rate"])
    return rates


def _about(results: Results) -> Iterator[str]:
    about = results.about
    if about.get("provider") == "cpu":
        yield "**These are no figures of a GPU: a CPU took its place, to try the benchmark out.**"
        yield ""
    card = about.get("card", "No GPU was at hand")
    yield f"{card}. {about['date']}, {about['processor']}; {about['versions']}."


def _conformance(results: Results) -> Iterator[str]:
    rows = [row for row in results.rows("conformance") if row.figures]
    if rows:
        yield from _table("device", "passed", "failed", "skipped")
    for row in rows:
        counts = (f"{row.figures[name]:.0f}" for name in ("passed", "failed", "skipped"))
        yield _line(row.subject, *counts)


def _card(results: Results) -> Iterator[str]:
    limits = list(results.rows("card"))
    if limits:
        yield from _table("what", "at most")
    for row in limits:
        most = row.figures["most"]
        unit = f"{most / 1e12:.1f} TFLOP/s" if row.subject == "FLOP/s" else f"{most / 1e9:.1f} GB/s"
        yield _line(row.way, unit)


def _work(results: Results) -> Iterator[str]:
    yield from _table(
        "network", "GFLOP for an image", "million weights", "MB that an image moves, fp16"
    )
    for name, layers in results.models.items():
        gflop, values, weights = totals(layers)
        yield _line(name, f"{gflop:.2f}", f"{weights:.2f}", f"{2 * values:.1f}")


def _networks(results: Results) -> Iterator[str]:
    rows = [row for row in results.rows("engines", "torch") if row.figures]
    batches = sorted({row.count for row in rows})
    for model in dict.fromkeys(row.subject for row in rows):
        heads = [f"images/s at {batch}" for batch in batches]
        yield from (f"**{model}**", "")
        yield from _table("computed by", "type", f"ms at {batches[0]}", *heads)
        mine = [row for row in rows if row.subject == model]
        for way, precision in dict.fromkeys((row.way, row.precision) for row in mine):
            found = {row.count: row for row in mine if (row.way, row.precision) == (way, precision)}
            first = found.get(batches[0])
            ms = f"{first.figures['p50']:.2f}" if first else "-"
            cells = (_rate(found.get(batch), results) for batch in batches)
            yield _line(way, precision, ms, *cells)
        yield ""


def _rate(row: Row | None, results: Results) -> str:
    """Return images per second, and which part of the card's limit that is."""
    if row is None:
        return "-"
    rate, layers = row.figures["rate"], results.models.get(row.subject)
    least = layers and limit_seconds(layers, row.count, row.precision, card_limits(results))
    return f"{rate:.0f} ({rate * least / row.count:.0%})" if least else f"{rate:.0f}"


def _service(part: str, of: str) -> Callable[[Results], Iterator[str]]:
    def table(results: Results) -> Iterator[str]:
        rows = [row for row in results.rows(part) if row.figures]
        counts = sorted({row.count for row in rows})
        if rows:
            yield from _table("network", "type", *(f"{of}: {count}" for count in counts))
        for model, precision in dict.fromkeys((row.subject, row.precision) for row in rows):
            mine = {x.count: x for x in rows if (x.subject, x.precision) == (model, precision)}
            cells = (_rate_and_time(mine.get(count)) for count in counts)
            yield _line(model, precision, *cells)

    return table


def _rate_and_time(row: Row | None) -> str:
    return f"{row.figures['rate']:.0f} ({row.figures['p50']:.1f} ms)" if row else "-"


def _decoding(results: Results) -> Iterator[str]:
    rows = [row for row in results.rows("decode") if row.figures]
    if not rows:
        return
    best = best_rates(results) or {"any network": 1000.0}
    counts = sorted({row.count for row in rows})
    needed = [f"cores for {name} at {rate:.0f}/s" for name, rate in best.items()]
    yield from _table("JPEG", "decoded by", *(f"threads: {count}" for count in counts), *needed)
    for size, way in dict.fromkeys((row.subject, row.way) for row in rows):
        mine = {
            row.count: row.figures["rate"] for row in rows if (row.subject, row.way) == (size, way)
        }
        cells = (f"{mine[count]:.0f}" if count in mine else "-" for count in counts)
        cores = (f"{rate / mine[1]:.1f}" if 1 in mine else "-" for rate in best.values())
        yield _line(size, way, *cells, *cores)


def _notes(results: Results) -> Iterator[str]:
    """Yield each reason once, with what it is about."""
    notes: dict[tuple[str, str], list[Row]] = {}
    for row in results.rows("conformance", "engines", "torch", "decode", "library", "http"):
        if row.note:
            notes.setdefault((row.part, row.note), []).append(row)
    for (part, note), rows in notes.items():
        first = rows[0]
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        words = " ".join(filter(None, (first.subject, first.way, first.precision)))
        yield f"- {part}: {words}, {first.count}{more}: {note}".replace("\n", " ")


def _table(*heads: str) -> Iterator[str]:
    yield _line(*heads)
    yield "|" + "---|" * len(heads)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


SECTIONS: tuple[tuple[str, str, Callable[[Results], Iterable[str]]], ...] = (
    ("The conformance suite", "conformance", _conformance),
    ("The limits of the card", "card", _card),
    ("What the networks need", "report", _work),
    ("Networks", "engines torch", _networks),
    (
        "The predictor: images a second, and p50 alone",
        "library",
        _service("library", "workers"),
    ),
    ("HTTP: images a second, and p50", "http", _service("http", "clients")),
    ("JPEGs decoded and resized in a second", "decode", _decoding),
)
"""Title, the parts that measure it, and what makes its lines."""
