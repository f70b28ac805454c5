"""Case life: what each role decides, as pure functions of what it has seen."""
