// Smoothing of prediction maps: passes along one axis that sum in double, from the first neighbour to the last, and
// round once. VALUE is the stored type of the maps.

#include "arithmetic.cuh"

#ifndef VALUE
#define VALUE float
#endif

// Extracts one channel of maps (voxels, channels) as float32, scaled to 0..1 if ``is_scaled``: (value - low) / span.
extern "C" __global__ void __launch_bounds__(256) pick_channel(
    const VALUE* __restrict__ maps, float* __restrict__ out, unsigned voxels, int channels, int channel, int is_scaled,
    float low, float span) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= voxels) return;
    float value = (float)maps[(unsigned long long)i * channels + channel];
    if (is_scaled) value = (value - low) / span;
    out[i] = value;
}

// A pass along one axis. Values are (outer, n_in, inner) and begin at ``start`` of an axis of n voxels; out is
// (outer, n_out, inner) and begins at ``first``. taps (radius + 1) from the centre outwards. A pass with ``is_settled``
// writes no -0.0, like a following pass with the single tap 1.
extern "C" __global__ void __launch_bounds__(256) smooth_axis(
    const float* __restrict__ values, float* __restrict__ out, const double* __restrict__ taps, int radius,
    unsigned voxels, unsigned inner, unsigned n_in, unsigned n_out, int start, int first, int n, int is_settled) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= voxels) return;
    const unsigned line = i / inner, position = line % n_out;
    const float* base = values + (unsigned long long)(line / n_out) * n_in * inner + i % inner;
    double total = 0;
    for (int k = -radius; k <= radius; k++) {
        const int from = mirror(first + (int)position + k, n) - start;
        total += taps[k < 0 ? -k : k] * (double)base[(unsigned long long)from * inner];
    }
    const float rounded = (float)total;
    out[i] = is_settled ? rounded + 0.0f : rounded;
}
