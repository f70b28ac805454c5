"""Contracts with one bug planted each, and the invariant that must catch it.

A bug is a few exact replacements in the sources; each must match once, so that a changed source fails loudly.
"""

from __future__ import annotations

from dataclasses import dataclass

Edit = tuple[str, str, str]  # file, what stands there, what stands there instead

CASES, ROUNDS, BOOK = "Cases.sol", "base/CaseRounds.sol", "base/CaseBook.sol"


@dataclass(frozen=True)
class Mutant:
    """A planted bug. contract: whose code changes; caught_by: the invariant that must see it first."""

    name: str
    contract: str
    caught_by: str
    edits: tuple[Edit, ...]


MUTANTS = (
    Mutant(
        "commitment not bound to the doctor",
        "Cases",
        "I3",
        (
            (
                BOOK,
                "caseId, round, doctor, code, confidence, salt)\n",
                "caseId, round, code, confidence, salt)\n",
            ),
        ),
    ),
    Mutant(
        "second commitment allowed",
        "Cases",
        "I3",
        (
            (
                CASES,
                "s.round != c.round || s.status != status",
                "s.round != c.round || (s.status != status && (phase != Phase.Commit || s.commitment == 0))",
            ),
            (CASES, "++c.committed;", ""),
            (
                CASES,
                "        s.status = SeatStatus.Committed;\n",
                "        if (s.status == SeatStatus.Accepted) ++c.committed;\n"
                "        s.status = SeatStatus.Committed;\n",
            ),
        ),
    ),
    Mutant(
        "reveal before the commit phase ends",
        "Cases",
        "I7",
        (
            (
                CASES,
                "if (c.phase != phase) revert",
                "if (c.phase != phase && (phase != Phase.Reveal || c.phase != Phase.Commit)) revert",
            ),
        ),
    ),
    Mutant(
        "a tally kept while reveals come in",
        "Cases",
        "I7",
        (
            (
                CASES,
                "        ++c.revealed;\n",
                "        ++c.revealed;\n        if (code > c.result) c.result = code;\n",
            ),
        ),
    ),
    Mutant(
        "settling twice pays twice",
        "Cases",
        "I5",
        (
            (
                ROUNDS,
                "if (phase == Phase.Reveal) return",
                "if (phase == Phase.Settled) return true;\n        if (phase == Phase.Reveal) return",
            ),
            (
                ROUNDS,
                "        Outcome memory o = _count(caseId, c);\n",
                "        if (c.phase == Phase.Settled) {\n            _credit(caseId, c.account, c.seatFee);\n"
                "            return;\n        }\n        Outcome memory o = _count(caseId, c);\n",
            ),
        ),
    ),
    Mutant(
        "a tie goes to the code revealed first",
        "Cases",
        "I8",
        (
            (
                CASES,
                "        ++c.revealed;\n",
                "        if (c.revealed == 0) c.band = code;\n        ++c.revealed;\n",
            ),
            (
                ROUNDS,
                "        o.decided = o.agreeing >= PanelRules.neededToAgree(o.seated, o.revealed);\n",
                "        if (votes[c.band] == o.agreeing) o.code = c.band;\n"
                "        o.decided = o.revealed != 0 && 2 * o.agreeing >= o.revealed;\n",
            ),
        ),
    ),
    Mutant(
        "a no-show keeps the deposit",
        "Cases",
        "I2",
        (
            (
                ROUNDS,
                "            if (s.status == SeatStatus.NoShow) continue;\n",
                "            if (s.status == SeatStatus.NoShow) {\n"
                "                _credit(caseId, s.doctor, SEAT_DEPOSIT);\n"
                "                continue;\n            }\n",
            ),
            (ROUNDS, "uint256 gained = (o.seated - o.revealed) * SEAT_DEPOSIT;", "uint256 gained = 0;"),
            (ROUNDS, "uint256 forfeits = (o.seated - o.revealed) * SEAT_DEPOSIT;", "uint256 forfeits = 0;"),
        ),
    ),
    Mutant(
        "agreeing seats paid for the seats wanted, not for those taken",
        "Cases",
        "I2",
        (
            (
                ROUNDS,
                "uint256 pot = uint256(c.seatFee) * o.seated",
                "uint256 pot = uint256(c.seatFee) * c.wanted",
            ),
        ),
    ),
    Mutant(
        "reputation moved by anyone",
        "Reputation",
        "I4",
        (("Reputation.sol", "        if (msg.sender != CASES) revert OnlyCases();\n", ""),),
    ),
    Mutant(
        "a round that hangs moves reputation",
        "Cases",
        "I4",
        (
            (
                ROUNDS,
                "        emit RoundHung(caseId, round);\n",
                "        emit RoundHung(caseId, round);\n        _score(caseId, c, false);\n",
            ),
        ),
    ),
    Mutant(
        "a doctor drawn twice for a case",
        "Doctors",
        "I9",
        (
            (
                "base/Sortition.sol",
                "for (uint256 i; i < request.excluded.length; ++i) {",
                "for (uint256 i; i < 0; ++i) {",
            ),
        ),
    ),
    Mutant(
        "doctors drawn for a band above theirs",
        "Doctors",
        "I9",
        (
            (
                "base/Sortition.sol",
                "            pools = _poolsFrom(band, top);\n",
                "            pools = _poolsFrom(0, top);\n",
            ),
        ),
    ),
    Mutant(
        "withdrawing without setting the credit to nothing",
        "Cases",
        "I1",
        (("base/Credits.sol", "        creditOf[msg.sender] = 0;\n", ""),),
    ),
    Mutant(
        "the credit set to nothing after the payment",
        "Cases",
        "I1",
        (
            ("base/Credits.sol", "        creditOf[msg.sender] = 0;\n        _totalCredits -= amount;\n", ""),
            (
                "base/Credits.sol",
                "        if (!ok) revert PaymentRefused();\n",
                "        if (!ok) revert PaymentRefused();\n"
                "        creditOf[msg.sender] = 0;\n        _totalCredits -= amount;\n",
            ),
        ),
    ),
    Mutant(
        "a seat accepted without its deposit",
        "Cases",
        "I1",
        (
            (
                CASES,
                "        if (msg.value != SEAT_DEPOSIT) revert WrongPayment(msg.value, SEAT_DEPOSIT);\n",
                "",
            ),
            (CASES, "_heldDeposits += msg.value;", "_heldDeposits += SEAT_DEPOSIT;"),
        ),
    ),
    Mutant(
        "no refund when too few doctors came",
        "Cases",
        "I6",
        (
            (
                ROUNDS,
                "            _disband(caseId, c);\n            _finish(caseId, c, Phase.Refunded);\n",
                "            _anchor(caseId, c);\n",
            ),
        ),
    ),
    Mutant(
        "a phase closed by anyone before its time",
        "Cases",
        "I10",
        (
            (
                ROUNDS,
                "if (phase == Phase.Commit) return block.timestamp > c.deadline;",
                "if (phase == Phase.Commit) return true;",
            ),
        ),
    ),
    Mutant(
        "a receipt for another case opens this one",
        "Cases",
        "I11",
        ((CASES, "r.caseId != caseId || r.network", "r.network"),),
    ),
    Mutant(
        "anybody's signature makes a receipt",
        "Models",
        "I11",
        (
            (
                "Models.sol",
                "if (!TypedData.isSignedBy(receiptDigest(r), signature, _networks[r.network].owner)) revert",
                "if (signature.length != 65) revert",
            ),
        ),
    ),
    Mutant(
        "a certificate signed by dissenters",
        "Cases",
        "I12",
        ((BOOK, "if (i < c.roundStart || !_agrees(c, seats[i])) return", "if (i < c.roundStart) return"),),
    ),
    Mutant(
        "a certificate by too few",
        "Cases",
        "I12",
        ((BOOK, "enough = n >= PanelRules.neededToAgree(c.seated, c.revealed);", "enough = n > 0;"),),
    ),
    Mutant(
        "a record listed without the patient's consent",
        "DataMarket",
        "I13",
        (
            (
                "DataMarket.sol",
                "if (consentHash == 0 || consentHash != consentHashOf(account, consent)) revert",
                "if (consentHash == 0 && consent.text == 0) revert",
            ),
        ),
    ),
)


def planted(mutant: Mutant, sources: dict[str, str]) -> dict[str, str]:
    """The sources with the bug in them. Raises `ValueError` when a place to change is not there exactly once."""
    changed = dict(sources)
    for file, old, new in mutant.edits:
        if changed[file].count(old) != 1:
            raise ValueError(f"{mutant.name}: {file} has {changed[file].count(old)} places like {old!r}")
        changed[file] = changed[file].replace(old, new)
    return changed
