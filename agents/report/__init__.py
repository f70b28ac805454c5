"""What a patient keeps of a case: `case.json` and a page that needs nothing but itself."""

from agents.report.report import write_report
from agents.report.result import CaseResult

__all__ = ["CaseResult", "write_report"]
