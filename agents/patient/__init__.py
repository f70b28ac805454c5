"""The patient: from a scan to a diagnosis with a certificate; the scan leaves sealed or not at all."""
