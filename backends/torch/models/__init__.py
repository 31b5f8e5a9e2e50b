"""Networks whose every downsampling can be learned, spectral or strided."""
