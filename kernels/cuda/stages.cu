// Probabilities of a first stage as channels of the second stage's source: converted to the type SOURCE of the image as
// shared/stages.py defines, then to float32 as any source.
#include "pixel_types.cuh"

// (max - min) * p - min, truncated. Beyond the type's range, the lower bits of what x86-64's conversion to 32 or 64 bits
// gives; NaN becomes 0.
template <typename T>
static __device__ __forceinline__ T as_raw_type(float p) {
    constexpr bool is_real = T(0.5f) != T(0), is_signed = T(-1) < T(0);
    if constexpr (is_real) {
        return (T)p;
    } else {
        constexpr double two_to_32 = 4294967296.0, two_to_63 = two_to_32 * two_to_32 / 2;
        constexpr double count = sizeof(T) == 1 ? 256.0 : sizeof(T) == 2 ? 65536.0 : sizeof(T) == 4 ? two_to_32 : 2 * two_to_63;
        constexpr double low = is_signed ? -count / 2 : 0.0;
        double value;
        if constexpr (sizeof(T) < 4) {
            value = trunc((double)(p * (float)(count - 1) - (float)low));
        } else {
            value = trunc((double)p * (count - 1) - low);
        }
        if (value >= low && value < low + count) return (T)value;
        if (value != value || (sizeof(T) == 8 && !is_signed && value > 0)) return 0;
        if constexpr (sizeof(T) == 8 || (sizeof(T) == 4 && !is_signed)) {
            return (T)(value >= -two_to_63 && value < two_to_63 ? (long long)value : (long long)0x8000000000000000ull);
        } else {
            return (T)(value >= -two_to_32 / 2 && value < two_to_32 / 2 ? (int)value : (int)0x80000000u);
        }
    }
}

// One thread per voxel: probabilities (voxels, known) to (classes, voxels). A class that the forest does not know has the
// column -1 and probability 0.
extern "C" __global__ void __launch_bounds__(256)
append_probabilities(const float* __restrict__ probabilities, long long voxels, int known,
                     const int* __restrict__ columns, int classes, float* __restrict__ out) {
    const long long voxel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (voxel >= voxels) return;
    for (int c = 0; c < classes; c++) {
        const float p = columns[c] < 0 ? 0.0f : probabilities[voxel * known + columns[c]];
        const Source value = as_raw_type<Source>(p);
        out[c * voxels + voxel] = JOIN(CONVERT_, SOURCE)(value);
    }
}
