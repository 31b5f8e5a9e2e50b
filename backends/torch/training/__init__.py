"""Training of networks that learn their strides: the tool ``spectral-stride`` and its parts.

Nothing is imported here, so that ``spectral-stride`` can say what is missing where the training
tools are not installed. Import from the modules: `config` (the choices), `data`, `models`, `lit`
(the loss and the optimizer), `cost` (sizes and multiply-accumulates), `run` (training to a folder),
`report` and `picture` (what comes out), `commands` and `cli` (the words of the command line).
"""
