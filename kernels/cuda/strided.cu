// Arrays of other libraries on the device, with any strides, in elements: sources and masks are read from them, results
// are written into them. Each thread takes every grid-th element of a contiguous array, the other side of the copy.
#include "pixel_types.cuh"

// (c, z, y, x) of type SOURCE to contiguous float32.
extern "C" __global__ void __launch_bounds__(256)
gather(const Source* __restrict__ source, long long first, long long step_c, long long step_z, long long step_y,
       long long step_x, int depth, int height, int width, long long count, float* __restrict__ out) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const long long x = i % width, row = i / width, y = row % height, plane = row / height;
        const long long z = plane % depth, c = plane / depth;
        const Source value = source[first + c * step_c + z * step_z + y * step_y + x * step_x];
        out[i] = JOIN(CONVERT_, SOURCE)(value);
    }
}

// (z, y, x, c) of type SOURCE to contiguous (z, y, x): 1 where any channel is above 0.
extern "C" __global__ void __launch_bounds__(256)
any_above_zero(const Source* __restrict__ source, long long first, long long step_z, long long step_y, long long step_x,
               long long step_c, int height, int width, int channels, long long count,
               unsigned char* __restrict__ out) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const long long x = i % width, row = i / width, y = row % height, z = row / height;
        unsigned char found = 0;
        for (long long c = 0; c < channels; c++) {
            const Source value = source[first + z * step_z + y * step_y + x * step_x + c * step_c];
            // Of the types that are converted here only float64 has positive values that become 0 as float32.
            found |= JOIN(CONVERT_, SOURCE)(value) > 0.0f || (sizeof(Source) == 8 && (double)value > 0.0);
        }
        out[i] = found;
    }
}

// Contiguous (z, y, x, c) of type SOURCE into an array of this type.
extern "C" __global__ void __launch_bounds__(256)
scatter(const Source* __restrict__ values, Source* __restrict__ target, long long first, long long step_z,
        long long step_y, long long step_x, long long step_c, int height, int width, int channels, long long count) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const long long c = i % channels, voxel = i / channels, x = voxel % width, row = voxel / width;
        const long long y = row % height, z = row / height;
        target[first + z * step_z + y * step_y + x * step_x + c * step_c] = values[i];
    }
}
