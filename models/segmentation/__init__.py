"""Segmenting a CT volume by U-Nets along its axes: the patient's side, whoever evaluates the networks.

    plan = make_plan(slices=159, axes="xyz")                 # which images, in which order: public
    suite = load_suite()                                     # six networks: lung and infection along x, y, z
    job = Job.begin(folder, read_volume(path), plan)         # on disk, can be resumed
    for batch in job.pending():
        job.put(batch, logits_of(job.images(batch)))         # by any engine, here or through agents
    masks = job.finish()                                     # lung and infection, in the volume's own frame

Who learns what: the networks' owner sees the plan (number of slices, axes, side) and nothing of a picture or a mask.
"""
