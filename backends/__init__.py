"""Adapters, one folder per framework: ``backends/<name>`` ships as ``spectral_stride.<name>``.

Nothing imports this package: import an adapter as ``spectral_stride.<name>``. The file is here so
that pytest and mypy read ``backends/torch`` as part of this project, and not as the framework of
the same name.
"""
