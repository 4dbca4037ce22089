// Results of a tile before their download: class probabilities or features, reduced to the wanted channels and converted
// to the type they are stored in, the most probable class, or the uncertainty.
#include "arithmetic.cuh"

// Target type of the conversion: 0 float, then signed and unsigned integers of 8, 16 and 32 bits.
#ifndef TARGET
#define TARGET 0
#endif

#if TARGET == 0
typedef float Target;
#elif TARGET == 1
typedef signed char Target;
#define LOWEST (-128.0f)
#define BEYOND 128.0f
#elif TARGET == 2
typedef unsigned char Target;
#define LOWEST 0.0f
#define BEYOND 256.0f
#elif TARGET == 3
typedef short Target;
#define LOWEST (-32768.0f)
#define BEYOND 32768.0f
#elif TARGET == 4
typedef unsigned short Target;
#define LOWEST 0.0f
#define BEYOND 65536.0f
#elif TARGET == 5
typedef int Target;
#define LOWEST (-2147483648.0f)
#define BEYOND 2147483648.0f
#else
typedef unsigned Target;
#define LOWEST 0.0f
#define BEYOND 4294967296.0f
#endif

// scaled: out_low + (value - in_low) * ratio, each step rounded; integers are then rounded to even, otherwise truncated.
// overflow_count: number of values outside the type's range, which wrap around as on x86-64, or saturate with clip.
static __device__ Target convert(
    float value, int scaled, float in_low, float ratio, float out_low, int clip, unsigned long long& overflow_count) {
    if (scaled) value = out_low + (value - in_low) * ratio;
#if TARGET == 0
    return value;
#else
    const float whole = truncf(scaled ? rintf(value) : value);
    if (whole >= LOWEST && whole < BEYOND) return (Target)whole;
    overflow_count++;
    if (is_nan(whole)) return 0;
    if (clip) return whole < 0.0f ? (Target)LOWEST : (Target)(BEYOND - 1.0);
#if TARGET == 6
    const float most = 9223372036854775808.0f;  // by way of 64 bits, of which the lower half is kept
    return whole >= -most && whole < most ? (Target)(long long)whole : 0;
#else
    const float most = 2147483648.0f;
    return (Target)(whole >= -most && whole < most ? (int)whole : (int)0x80000000u);
#endif
#endif
}

// One thread per voxel. A channel of the result is the column ``columns[channel]`` of values, or zero if that is -1.
// Values are at voxel * voxel_stride + column * column_stride, results (voxels, channels).
extern "C" __global__ void select_channels(
    const float* __restrict__ values, long long voxels, long long voxel_stride, long long column_stride,
    const int* __restrict__ columns, int channels, const unsigned char* __restrict__ active, int masked, int scaled,
    float in_low, float ratio, float out_low, int clip, Target* __restrict__ out, unsigned long long* overflow_count) {
    const long long voxel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (voxel >= voxels) return;
    const bool counts = !masked || active[voxel];
    unsigned long long missed = 0;
    for (int channel = 0; channel < channels; channel++) {
        const int column = columns[channel];
        const float value = counts && column >= 0 ? values[voxel * voxel_stride + column * column_stride] : 0.0f;
        out[voxel * channels + channel] = convert(value, scaled, in_low, ratio, out_low, clip, missed);
    }
    if (missed) atomicAdd(overflow_count, missed);
}

// 1 + the class of the largest probability, the lowest at a tie. Probabilities (voxels, known), columns as above.
extern "C" __global__ void most_probable(
    const float* __restrict__ probabilities, long long voxels, int known, const int* __restrict__ columns, int classes,
    const unsigned char* __restrict__ active, int masked, unsigned char* __restrict__ out) {
    const long long voxel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (voxel >= voxels) return;
    int best = 0;
    if (!masked || active[voxel]) {
        float largest = 0.0f;
        for (int c = 0; c < classes; c++) {
            const float value = columns[c] < 0 ? 0.0f : probabilities[voxel * known + columns[c]];
            if (c == 0 || value > largest) {
                largest = value;
                best = c;
            }
        }
    }
    out[voxel] = (unsigned char)(best + 1);
}

// 1 - (largest - second largest probability); 0 for a single class. Probabilities as above, converted.
extern "C" __global__ void uncertainty(
    const float* __restrict__ probabilities, long long voxels, int known, const int* __restrict__ columns, int classes,
    const unsigned char* __restrict__ active, int masked, int scaled, float in_low, float ratio, float out_low,
    int clip, Target* __restrict__ out, unsigned long long* overflow_count) {
    const long long voxel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (voxel >= voxels) return;
    float value = classes < 2 ? 0.0f : 1.0f;
    if (classes >= 2 && (!masked || active[voxel])) {
        float first = 0.0f, second = 0.0f;  // no probability is negative
        for (int c = 0; c < classes; c++) {
            const float p = columns[c] < 0 ? 0.0f : probabilities[voxel * known + columns[c]];
            if (p > first) {
                second = first;
                first = p;
            } else if (p > second) {
                second = p;
            }
        }
        value = 1.0f - (first - second);
    }
    unsigned long long missed = 0;
    out[voxel] = convert(value, scaled, in_low, ratio, out_low, clip, missed);
    if (missed) atomicAdd(overflow_count, missed);
}
