// Converts a source of type SOURCE to float32 as NumPy's astype does, rounding once to nearest even.
#include "pixel_types.cuh"

extern "C" __global__ void __launch_bounds__(256)
to_float(const Source* __restrict__ source, float* __restrict__ out, long long count) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const Source value = source[i];
        out[i] = JOIN(CONVERT_, SOURCE)(value);
    }
}
