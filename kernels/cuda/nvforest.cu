// Conversions between our feature stacks and nvForest: features to rows, and its sums of leaves to probabilities.

#include "arithmetic.cuh"

#define TILE 32
#define LINES 8

// Writes the first ``wanted`` features of voxels first … first + count - 1 as rows (count, wanted), and whether none of
// a voxel's features is NaN. stack: column c of voxel i at c * stride + i. A block of 32 x 8 threads takes 32 voxels.
extern "C" __global__ void __launch_bounds__(256) gather_rows(
    const float* __restrict__ stack, long long stride, int columns, int wanted, long long first, int count,
    float* __restrict__ rows, unsigned char* __restrict__ is_valid) {
    __shared__ float tile[TILE][TILE + 1];
    __shared__ int bad[TILE];
    const int begin = blockIdx.x * TILE, voxel = begin + threadIdx.x;
    if (threadIdx.y == 0) bad[threadIdx.x] = 0;
    for (int c0 = 0; c0 < columns; c0 += TILE) {
        __syncthreads();
        for (int j = threadIdx.y; j < TILE; j += LINES)
            if (voxel < count && c0 + j < columns) {
                const float value = __ldg(stack + (long long)(c0 + j) * stride + first + voxel);
                tile[j][threadIdx.x] = value;
                if (is_nan(value)) atomicOr(bad + threadIdx.x, 1);
            }
        __syncthreads();
        for (int j = threadIdx.y; j < TILE; j += LINES)
            if (begin + j < count && c0 + (int)threadIdx.x < wanted)
                rows[(long long)(begin + j) * wanted + c0 + threadIdx.x] = tile[threadIdx.x][j];
    }
    // The barrier before the last rows were written covers ``bad``; without columns only these threads wrote it.
    if (threadIdx.y == 0 && voxel < count) is_valid[voxel] = bad[threadIdx.x] == 0;
}

// Adds the votes of one group of trees to out (voxels, classes), from row ``first`` on. sums: (count, width), a row's
// votes or, if vote_value_count is 0, the sums of its leaves' shares, divided by their own sum and, if averages is not
// 0, multiplied by it. Additions are in the order of the launches; the last one divides.
extern "C" __global__ void __launch_bounds__(256) add_group(
    const float* __restrict__ sums, int width, const unsigned char* __restrict__ is_valid, long long first, int count,
    const float* __restrict__ vote_value, int vote_value_count, float averages, int is_first, int is_last,
    float divisor, int classes, float* __restrict__ out) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= count) return;
    float total = 0.0f;
    if (vote_value_count == 0)
        for (int k = 0; k < classes; k++) total += sums[(long long)row * width + k];
    for (int k = 0; k < classes; k++) {
        float* const place = out + (first + row) * classes + k;
        const float sum = sums[(long long)row * width + k];
        float added;
        if (vote_value_count) added = vote_value[(int)sum];
        else added = averages != 0.0f ? sum / total * averages : sum / total;
        float value = is_first ? added : *place + added;
        if (is_last) value = value / divisor;
        *place = is_valid[row] ? value : 0.0f;
    }
}
