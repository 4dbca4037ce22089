// Forest prediction for tiles. A warp takes a patch of 32 neighbouring voxels and evaluates every tree on them; forest.py
// says when which of the two variants is used.

#include "forest.cuh"

#ifndef ONLY
#define ONLY 0  // the number of one variant to compile; 0: all of them
#endif
#ifndef LEAVES
#define LEAVES 3  // 1: for pure leaves, 2: for mixed ones, 3: both
#endif

// stack          column c of voxel i (raster order in the tile nz, ny, nx) at c * stride + i
// z_bits …       a patch is 1 << z_bits by 1 << y_bits by 1 << x_bits voxels
// vote_value     contribution of n votes to a class, rows of vote_width, one for each group; pure leaves only
// probabilities  (leaves, classes), with weights: contribution of a leaf to its classes and their sum; mixed leaves only
// first_class …  the classes of this launch; all of ``classes`` unless their sums would not fit into shared memory
// groups         first and last + 1 tree of each group: votes of pure leaves, or a stored forest
// out            (voxels, classes)
#define PARAMETERS                                                                                             \
    const float* __restrict__ stack, long long stride, int columns, int nz, int ny, int nx, int z_bits,        \
        int y_bits, int x_bits, const uint2* __restrict__ records, const int* __restrict__ roots,              \
        int offset_bits, const int* __restrict__ groups, int group_count,                                  \
        const float* __restrict__ vote_value, int vote_width, const float* __restrict__ probabilities,         \
        const double* __restrict__ weights, int averages, float divisor, int classes, int first_class,         \
        int class_count, float* __restrict__ out
#define WORK                                                                                                   \
    Work {                                                                                                     \
        stack, stride, columns, nz, ny, nx, z_bits, y_bits, x_bits, records, roots, (unsigned)offset_bits,     \
            groups, group_count, vote_value, vote_width, probabilities, weights, averages, divisor,        \
            classes, first_class, class_count, out                                                 \
    }

template <bool ENTERS, bool KEEPS, bool PURE>
static __device__ __forceinline__ void predict(const Work& work) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

    // Shared memory of each warp: its patch, sums, bounds, common votes.
    const int patch_floats = KEEPS ? work.columns * 32 : 0;
    const int sum_words = work.class_count * 32;
    const int bound_floats = ENTERS ? 2 * work.columns : 0;
    const int warp_words = patch_floats + sum_words + (bound_floats + work.class_count + 31) / 32 * 32;
    float* const patch = reinterpret_cast<float*>(shared) + (long long)warp * warp_words;
    float2* const bounds = reinterpret_cast<float2*>(patch + patch_floats + sum_words);
    Tally<PURE> tally;
    tally.shares = patch + patch_floats;
    tally.votes = reinterpret_cast<unsigned*>(tally.shares);
    tally.common = reinterpret_cast<int*>(patch + patch_floats + sum_words + bound_floats);

    const int patches_y = ((work.ny - 1) >> work.y_bits) + 1, patches_x = ((work.nx - 1) >> work.x_bits) + 1;
    const int patches = (((work.nz - 1) >> work.z_bits) + 1) * patches_y * patches_x;
    const int number = blockIdx.x * (blockDim.x >> 5) + warp;
    if (number >= patches) return;

    const int row = number / patches_x, x0 = (number - row * patches_x) << work.x_bits;
    const int plane = row / patches_y, y0 = (row - plane * patches_y) << work.y_bits, z0 = plane << work.z_bits;
    const int x = x0 + (lane & ((1 << work.x_bits) - 1));
    const int y = y0 + (lane >> work.x_bits & ((1 << work.y_bits) - 1));
    const int z = z0 + (lane >> (work.x_bits + work.y_bits));
    Features<KEEPS> features;
    features.patch = patch;
    features.stack = work.stack;
    features.stride = work.stride;
    // Lanes beyond the tile repeat one of its voxels, which changes neither the bounds nor the paths taken.
    features.voxel = ((long long)min(z, work.nz - 1) * work.ny + min(y, work.ny - 1)) * work.nx + min(x, work.nx - 1);
    bool is_bad = false;
#pragma unroll 8
    for (int column = 0; column < work.columns; column++) {
        const float value = __ldg(work.stack + (long long)column * work.stride + features.voxel);
        if (KEEPS) patch[column * 32 + lane] = value;
        is_bad |= is_nan(value);
    }
    // Voxels with a NaN feature get probability 0; all others are written group by group.
    bool is_valid = x < work.nx && y < work.ny && z < work.nz;
    if (is_valid && is_bad) {
#pragma unroll 1
        for (int k = 0; k < work.class_count; k++)
            work.out[features.voxel * work.classes + work.first_class + k] = 0.0f;
    }
    is_valid &= !is_bad;
    if (__ballot_sync(ALL_LANES, is_valid) == 0) return;

    // From here to the next barrier lanes read what others wrote to the patch; after it each reads its own voxel.
    __syncwarp();
    if (ENTERS) find_bounds(work, patch, bounds, lane);
    tally.clear(work, lane);
    __syncwarp();
    const Nodes nodes(work.records, work.offset_bits);
    for (int group = 0; group < work.group_count; group++) {
        const int first = work.groups[2 * group], stop = work.groups[2 * group + 1];
        walk_trees<ENTERS, PURE>(work, first, stop, nodes, features, bounds, lane, tally);
        end_group(work, group, stop - first, features, lane, is_valid, tally);
    }
}

#define VARIANT(NAME, ENTERS, KEEPS, PURE)                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 4) NAME(PARAMETERS) {                                    \
        predict<ENTERS, KEEPS, PURE>(WORK);                                                                    \
    }
#if LEAVES == 1
#define BOTH(NAME, ...) VARIANT(NAME##_pure, __VA_ARGS__, true)
#elif LEAVES == 2
#define BOTH(NAME, ...) VARIANT(NAME##_mixed, __VA_ARGS__, false)
#else
#define BOTH(NAME, ...) VARIANT(NAME##_pure, __VA_ARGS__, true) VARIANT(NAME##_mixed, __VA_ARGS__, false)
#endif

// Numbers as in forest.py.
#if ONLY == 0 || ONLY == 1
BOTH(direct, false, false)
#endif
#if ONLY == 0 || ONLY == 2
BOTH(entered, true, true)
#endif
