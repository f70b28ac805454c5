"""CrypDoc's own way: a patient posts a scan, a doctor decides, a line says whether the model agreed."""
