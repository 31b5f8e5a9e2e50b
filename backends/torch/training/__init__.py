"""Training of networks that learn their strides: the tool ``spectral-stride`` and its rooms.

Nothing is imported here, so that ``spectral-stride`` can say what is missing where the training
tools are not installed. Import from the modules: `commands` (the words of the command line),
`config` (the table of options), `recipes`, `networks`, `fit` (a run, from its configuration to its
folder), `classifier` (the loss and the optimizer), `run_folder`, `macs` (sizes and cost); and from
the rooms `data` (where samples come from), `sweep` (grids of runs) and `report` (what comes out).
"""
