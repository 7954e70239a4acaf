"""What the bytes of trained weights depend on beside seeds and versions: threads, and the kernels of a processor."""

from types import MappingProxyType

# PyTorch and oneDNN pick their kernels by processor and sum in another order on each: name what every x86-64 server
# has. Of MKL's code branches only COMPATIBLE is for other processors than Intel's, too; named any other, MKL picks by
# itself there and says nothing (oneMKL's developer guide, "Specifying Code Branches"). Read when the libraries load.
PINNED = MappingProxyType(
    {
        "OMP_NUM_THREADS": "1",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
    }
)
