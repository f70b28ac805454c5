"""The sections of the report page, each a pure function of the checked result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agents.report import facts
from agents.report.charts import bar, certainty_gauge, reputation_bar, seat_dots
from agents.report.markup import Child, Html, h
from agents.report.result import CaseResult, Seat, Segmentation
from agents.report.timeline import timeline
from agents.report.words import moment, money, plural, seconds, short_id, size, words

CHECK = (
    "The signature is a bn254 BLS aggregate. To check it off line: hash the message to a point of G1, "
    "add up the signers' public keys in G2 and compare the two pairings; every figure needed is in "
    "case.json beside this page. On chain, the call check of the Certificates contract answers the same."
)


def section(key: str, title: str, *children: Child) -> Html:
    head = h("h2", {"id": key}, title)
    return h("section", {"aria-labelledby": key}, head, *children)


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], numeric: Sequence[int] = ()
) -> Html:
    """A table whose first cell of each row names the row. numeric: the columns aligned to the right."""

    def cell(index: int, content: Child) -> Html:
        kind = {"class": "num" if index in numeric else None}
        return h("th", {"scope": "row", **kind}, content) if index == 0 else h("td", kind, content)

    top = [
        h("th", {"scope": "col", "class": "num" if i in numeric else None}, name)
        for i, name in enumerate(heads)
    ]
    body = [h("tr", {}, [cell(i, content) for i, content in enumerate(row)]) for row in rows]
    whole = h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, top)), h("tbody", {}, body))
    return h("div", {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": caption}, whole)


def hexa(text: str) -> Html:
    """A long id, cut in the middle; the whole of it in the title and in case.json."""
    return h("code", {"title": text}, short_id(text))


def header(result: CaseResult) -> Html:
    """State, case, verdict and date."""
    state = "Settled" if result.settled else "Refunded"
    when = moment(result.timeline[-1].t) if result.timeline else ""
    meta = [part for part in (result.specialty, when) if part]
    return h(
        "header",
        {},
        h("p", {"class": "brand"}, "CrypDoc", h("span", {}, "case report")),
        h(
            "p",
            {"class": "meta"},
            h("span", {"class": f"chip {state.lower()}"}, state),
            "Case ",
            hexa(result.case_id),
        ),
        h("h1", {}, facts.headline(result)),
        h("p", {"class": "lead"}, facts.explanation(result)),
        h("p", {"class": "meta"}, " · ".join(meta)),
    )


def notice_box(result: CaseResult) -> Html:
    items = [h("p", {}, text) for text in facts.notices(result)]
    return h("aside", {"class": "notice", "aria-label": "Notices"}, items)


def overview(result: CaseResult, image: Html) -> Html:
    """The scan on the left; how sure, the panel, the cost on the right."""
    label = f"The scan of this case{', synthetic' if result.synthetic else ''}"
    figure = h(
        "figure",
        {"class": "card scan"},
        h("img", {"src": image, "alt": label}),
        h("figcaption", {}, _details(result.scan) or "The plain scan stayed with the patient and the panel."),
    )
    model = _measured(result.segmentation) or h(
        "div",
        {"class": "card"},
        h("h2", {}, "How sure the model was"),
        certainty_gauge(result.model.probability, result.bucket),
        h("p", {}, facts.certainty(result), " It never saw the scan, and the panel never saw its answer."),
    )
    panel = h(
        "div",
        {"class": "card"},
        h("h2", {}, "How the panel agreed"),
        seat_dots(result),
        h("p", {"class": "strong"}, facts.agreement(result)),
        h("p", {"class": "quiet small"}, "Filled: agreed. Half: another verdict. Ring: none given."),
    )
    parts, total = facts.spent_items(result)
    spent = h(
        "div",
        {"class": "card"},
        h("h2", {}, "What it cost"),
        h("p", {"class": "figure"}, money(total if parts else result.bounty_wei, result.currency)),
        _definitions([(name, money(value, result.currency)) for name, value in parts]),
    )
    return h("div", {"class": "overview"}, figure, h("div", {"class": "cards"}, model, panel, spent))


def _measured(found: Segmentation | None) -> Html | None:
    """Severity and volumes of a segmented volume, with the way to its pages."""
    if found is None:
        return None
    share = "no lung was found" if found.percent is None else f"{found.percent:.1f} %"
    rows = [("Severity", found.severity), ("Infected share of the lung", share)]
    volumes = (("Infection", found.infection_ml, 1), ("Lung", found.lung_ml, 0))
    rows += [(name, f"{ml:.{digits}f} ml") for name, ml, digits in volumes if ml is not None]
    rows.append(("Images evaluated", f"{found.images:,}"))
    when = plural(found.shown_to, "doctor")
    return h(
        "div",
        {"class": "card"},
        h("h2", {}, "What the model measured"),
        _definitions(rows),
        h(
            "p",
            {},
            f"It never saw a slice. {when} of the panel saw the mask, each after the votes were sealed.",
        ),
        h("p", {"class": "quiet small"}, f"All slices with the masks: {found.page}, beside this page.")
        if found.page
        else None,
    )


def _details(values: Mapping[str, object]) -> Html | None:
    shown = [
        (words(k), _value(v)) for k, v in values.items() if v is not None and not isinstance(v, dict | list)
    ]
    return _definitions(shown) if shown else None


def _value(value: object) -> Child:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return hexa(text) if text.startswith("0x") and len(text) > 20 else text


def _definitions(pairs: Iterable[tuple[str, Child]]) -> Html:
    return h("dl", {}, [h("div", {}, h("dt", {}, key), h("dd", {}, value)) for key, value in pairs])


def panel_section(result: CaseResult) -> Html:
    tables = [_round_table(result, number) for number in range(1, result.rounds + 1)]
    return section("panel", "The panel", tables, _model_line(result))


def _round_table(result: CaseResult, number: int) -> Html | None:
    seats = [seat for seat in result.panel if seat.round == number]
    if not seats:
        return None
    sat = len(result.seats_of(number))
    last = number == result.rounds
    caption = f"Round {number}: {plural(sat, 'seat')}" + (
        "" if last else ", no agreement, so a larger panel followed"
    )
    heads = ("Doctor", "Verdict", "Stated confidence", "Paid", "Reputation in this specialty (of 10,000)")
    return table(caption, heads, [_seat_row(result, seat, last) for seat in seats], numeric=(2, 3))


def _seat_row(result: CaseResult, seat: Seat, last: bool) -> list[Child]:
    agreed = result.settled and last and seat.verdict is not None and seat.verdict == result.label
    kind = (
        "agree"
        if agreed
        else "silent"
        if seat.verdict is None
        else "differ"
        if result.settled and last
        else "plain"
    )
    mark = {"agree": "agreed", "differ": "differed"}.get(kind)
    verdict = [
        h("span", {"class": f"verdict {kind}"}, facts.seat_outcome(seat)),
        h("span", {"class": "quiet"}, f" {mark}") if mark else None,
    ]
    name = [h("span", {"class": "name"}, seat.name), " "] if seat.name else []
    return [
        [*name, hexa(seat.doctor)],
        verdict,
        "—" if seat.confidence is None else f"{seat.confidence} %",
        money(seat.paid_wei, result.currency),
        reputation_bar(seat.reputation_before, seat.reputation_after),
    ]


def _model_line(result: CaseResult) -> Html | None:
    model = result.model
    if model.reputation_before is None and model.paid_wei is None:
        return None
    name: Child = [h("span", {"class": "name"}, model.name or "Model"), " ", hexa(model.address)]
    answer = model.label or "known to the patient alone"
    paid = money(model.paid_wei or 0, result.currency)
    row = [name, answer, paid, reputation_bar(model.reputation_before, model.reputation_after)]
    return table("The model", ("Model", "Answer", "Paid", "Reputation (of 10,000)"), [row], numeric=(2,))


def timeline_section(result: CaseResult) -> Html | None:
    if not result.timeline:
        return None
    start = result.timeline[0].t
    rows = [[f"{step.t - start:.2f} s", step.who, step.role, step.text] for step in result.timeline]
    listing = table("Every event of the case", ("After", "Who", "Role", "What"), rows, numeric=(0,))
    more = h("details", {}, h("summary", {}, f"All {plural(len(rows), 'event')} as a table"), listing)
    return section("timeline", "Time line", timeline(result), more)


def effort_section(result: CaseResult) -> Html | None:
    """Where the seconds and the bytes went."""
    tables = [
        _bars("Seconds by step", "Seconds", [(words(k), v, seconds(v)) for k, v in result.seconds.items()]),
        _bars("Bytes sent by step", "Bytes", [(words(k), v, size(v)) for k, v in result.bytes.items()]),
        _layers(result),
    ]
    if not any(tables):
        return None
    return section("effort", "Where time and traffic went", h("div", {"class": "columns"}, tables))


def _layers(result: CaseResult) -> Html | None:
    """Blind inference after the image went out, in the order of the network."""
    if not result.layers:
        return None
    rows = [[layer.name, seconds(layer.seconds), size(layer.bytes)] for layer in result.layers]
    return table("Blind inference by layer", ("Layer", "Seconds", "Bytes"), rows, numeric=(1, 2))


def _bars(caption: str, unit: str, values: Sequence[tuple[str, float, str]]) -> Html | None:
    if not values:
        return None
    top = max(abs(value) for _, value, _ in values) or 1
    ordered = sorted(values, key=lambda item: -item[1])
    rows = [[name, bar(value / top), text] for name, value, text in ordered]
    return table(caption, ("Step", "Share", unit), rows, numeric=(2,))


def transactions_section(result: CaseResult) -> Html | None:
    """Every transaction of the case, with who sent it and what it cost."""
    if not result.transactions:
        return None
    rows: list[list[Child]] = [
        [
            hexa(tx.hash),
            tx.call,
            tx.who or hexa(tx.sender),
            "—" if tx.block is None else f"{tx.block:,}",
            f"{tx.gas:,}",
            money(tx.wei, result.currency),
        ]
        for tx in result.transactions
    ]
    gas = sum(tx.gas for tx in result.transactions)
    caption = f"{plural(len(rows), 'transaction')}, {gas:,} gas in all"
    heads = ("Transaction", "What", "From", "Block", "Gas", "Value")
    return section("chain", "On the chain", table(caption, heads, rows, numeric=(3, 4, 5)))


def certificate_section(result: CaseResult) -> Html | None:
    """The certificate, field by field, and how to check it."""
    certificate = result.certificate
    if certificate is None:
        return None
    valid = certificate.get("valid") is True
    chip = h(
        "span", {"class": f"chip {'settled' if valid else 'refunded'}"}, "Valid" if valid else "Not valid"
    )
    flat = [(key, value) for key, value in certificate.items() if key not in ("valid", "how", "signers")]
    fields = _definitions([(words(key), _field(key, value)) for key, value in flat if value is not None])
    how = certificate.get("how")
    return section(
        "certificate",
        "Certificate",
        h("div", {"class": "card"}, h("p", {}, chip), fields, _signers(result, certificate.get("signers"))),
        h("p", {"class": "small"}, how if isinstance(how, str) else CHECK),
    )


def _signers(result: CaseResult, signers: object) -> Html | None:
    if not isinstance(signers, list | tuple | dict) or not signers:
        return None
    names = {seat.doctor.lower(): seat.name for seat in result.panel}
    items = []
    for signer in signers:
        text = str(signer)
        name = names.get(text.lower(), "")
        items.append(h("li", {}, [name, " "] if name else None, h("code", {}, text)))
    return h("div", {}, h("h3", {}, "Signed by"), h("ul", {"class": "signers"}, items))


def _field(key: str, value: object) -> Child:
    """One figure of a certificate; a date is a day."""
    if key == "date" and isinstance(value, int) and not isinstance(value, bool):
        return f"{moment(value)[:10]} ({value})"
    return _long(value)


def _long(value: object) -> Child:
    """A certificate's figure, whole, since someone may want to copy it."""
    if isinstance(value, list | tuple):
        return h("span", {"class": "pile"}, [h("code", {}, str(item)) for item in value])
    text = "yes" if value is True else "no" if value is False else str(value)
    return h("code", {}, text) if len(text) > 20 else text


def records_section(result: CaseResult) -> Html | None:
    if not result.records:
        return None
    text = "What researchers can buy: these bare facts and nothing else. The scan is not part of it."
    cards = [
        h("div", {"class": "card"}, _definitions(_flat(record, result.currency))) for record in result.records
    ]
    return section("market", "Data market", h("p", {"class": "quiet"}, text), cards)


def _flat(values: Mapping[str, object], currency: str, path: str = "") -> list[tuple[str, Child]]:
    """The fields of a record, nested ones named by their path."""
    pairs: list[tuple[str, Child]] = []
    for key, value in values.items():
        name = f"{path}{words(key)}"
        if isinstance(value, dict):
            pairs += _flat(value, currency, f"{name}: ")
        elif key.endswith("_wei") and isinstance(value, int) and not isinstance(value, bool):
            pairs.append((name, money(value, currency)))
        elif isinstance(value, list | tuple):
            pairs.append(
                (name, h("span", {"class": "pile"}, [h("span", {}, _value(item)) for item in value]))
            )
        elif value is not None:
            pairs.append((name, _value(value)))
    return pairs
