// Forest prediction for tiles. A warp takes a patch of 32 (or 64) neighbouring voxels, keeps their features in shared
// memory and evaluates every tree on them; forest.py lists the traversal variants and their expected costs.

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
// node_bytes     shared memory for nodes, a multiple of 128
// out            (voxels, classes)
#define PARAMETERS                                                                                             \
    const float* __restrict__ stack, long long stride, int columns, int nz, int ny, int nx, int z_bits,        \
        int y_bits, int x_bits, const uint2* __restrict__ records, const int* __restrict__ roots,              \
        int offset_bits, const int* __restrict__ segments, int segment_count,                                  \
        const float* __restrict__ vote_value, int vote_width, const float* __restrict__ probabilities,         \
        const double* __restrict__ weights, int averages, float divisor, int classes, int first_class,         \
        int class_count, int node_bytes, float* __restrict__ out
#define WORK                                                                                                   \
    Work {                                                                                                     \
        stack, stride, columns, nz, ny, nx, z_bits, y_bits, x_bits, records, roots, (unsigned)offset_bits,     \
            segments, segment_count, vote_value, vote_width, probabilities, weights, averages, divisor,        \
            classes, first_class, class_count, node_bytes, out                                                 \
    }

template <int WALK, int VOXELS, bool ENTERS, bool STAGED, bool KEEPS, bool PURE>
static __device__ __forceinline__ void predict(const Work& work) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;

    // Shared memory: nodes, then for each warp its patch, sums, bounds, common votes.
    const int patch_floats = KEEPS ? work.columns * VOXELS * 32 : 0;
    const int sum_words = work.class_count * VOXELS * 32;
    const int bound_floats = ENTERS ? 2 * work.columns : 0;
    const int warp_words = patch_floats + sum_words + (bound_floats + work.class_count + 31) / 32 * 32;
    uint2* const staged = reinterpret_cast<uint2*>(shared);
    float* const patch = reinterpret_cast<float*>(shared + work.node_bytes) + (long long)warp * warp_words;
    float2* const bounds = reinterpret_cast<float2*>(patch + patch_floats + sum_words);
    Tally<VOXELS, PURE> tally;
    tally.shares = patch + patch_floats;
    tally.votes = reinterpret_cast<unsigned*>(tally.shares);
    tally.common = reinterpret_cast<int*>(patch + patch_floats + sum_words + bound_floats);

    const Nodes<STAGED> nodes(STAGED ? staged : work.records, work.offset_bits);
    Features<VOXELS, KEEPS> features;
    features.patch = patch;
    features.stack = work.stack;
    features.stride = work.stride;

    const int patches_y = ((work.ny - 1) >> work.y_bits) + 1, patches_x = ((work.nx - 1) >> work.x_bits) + 1;
    const int patches = (((work.nz - 1) >> work.z_bits) + 1) * patches_y * patches_x;
    const int step = gridDim.x * warps;
    int present = -1;  // the first node of those that are in shared memory

    for (int base = blockIdx.x * warps; base < patches; base += step) {
        // All warps of a block get here equally often, since they synchronize if nodes are staged.
        bool is_active = base + warp < patches;
        unsigned valid[VOXELS], leaf[VOXELS];
        if (is_active) {
            const int row = (base + warp) / patches_x, x0 = (base + warp - row * patches_x) << work.x_bits;
            const int plane = row / patches_y, y0 = (row - plane * patches_y) << work.y_bits, z0 = plane << work.z_bits;
            bool is_bad[VOXELS];
#pragma unroll
            for (int v = 0; v < VOXELS; v++) {
                const int i = v * 32 + lane;
                const int x = x0 + (i & ((1 << work.x_bits) - 1));
                const int y = y0 + (i >> work.x_bits & ((1 << work.y_bits) - 1));
                const int z = z0 + (i >> (work.x_bits + work.y_bits));
                // Lanes beyond the tile repeat one of its voxels, which changes neither the bounds nor the paths taken.
                features.voxel[v] =
                    ((long long)min(z, work.nz - 1) * work.ny + min(y, work.ny - 1)) * work.nx + min(x, work.nx - 1);
                is_bad[v] = false;
                leaf[v] = 0;
                valid[v] = __ballot_sync(ALL_LANES, x < work.nx && y < work.ny && z < work.nz);
            }
#pragma unroll 8
            for (int column = 0; column < work.columns; column++) {
#pragma unroll
                for (int v = 0; v < VOXELS; v++) {
                    const float value = __ldg(work.stack + (long long)column * work.stride + features.voxel[v]);
                    if (KEEPS) patch[(column * VOXELS + v) * 32 + lane] = value;
                    is_bad[v] |= is_nan(value);
                }
            }
            is_active = drop_bad<VOXELS>(work, features, lane, is_bad, valid);
            // From here to the next barrier lanes read what others wrote to the patch; after it each reads its own voxels.
            __syncwarp();
            if (ENTERS) find_bounds<VOXELS>(work, patch, bounds, lane);
            tally.clear(work, lane);
            __syncwarp();
        }
        for (int s = 0; s < work.segment_count; s++) {
            const int* const segment = work.segments + s * SEGMENT_COLUMNS;
            const int first_node = STAGED ? segment[FIRST_NODE] : 0;
            if (STAGED && present != first_node) {
                __syncthreads();
#pragma unroll 4
                for (int i = threadIdx.x; i < segment[STOP_NODE] - first_node; i += blockDim.x)
                    staged[i] = __ldg(work.records + first_node + i);
                present = first_node;
                __syncthreads();
            }
            if (!is_active) continue;
            walk_segment<WALK, VOXELS, ENTERS, PURE>(
                work, segment, first_node, nodes, features, bounds, lane, valid, leaf, tally);
            if (segment[ENDS_GROUP])
                end_group(work, segment, s == work.segment_count - 1, features, lane, valid, tally);
        }
    }
}

#define VARIANT(NAME, BOUNDS, WALK, VOXELS, ENTERS, STAGED, KEEPS, PURE)                                        \
    extern "C" __global__ void __launch_bounds__ BOUNDS NAME(PARAMETERS) {                                     \
        predict<WALK, VOXELS, ENTERS, STAGED, KEEPS, PURE>(WORK);                                              \
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
BOTH(direct, (256, 4), LANES, 1, false, false, false)
#endif
#if ONLY == 0 || ONLY == 2
BOTH(lanes, (256, 4), LANES, 1, false, false, true)
#endif
#if ONLY == 0 || ONLY == 3
BOTH(lanes_staged, (1024, 1), LANES, 1, false, true, true)
#endif
#if ONLY == 0 || ONLY == 4
BOTH(masks, (256, 4), MASKS, 1, false, false, true)
#endif
#if ONLY == 0 || ONLY == 5
BOTH(masks_wide, (256, 4), MASKS, 2, false, false, true)
#endif
#if ONLY == 0 || ONLY == 6
BOTH(entered_lanes, (256, 4), LANES, 1, true, false, true)
#endif
#if ONLY == 0 || ONLY == 7
BOTH(entered_masks, (256, 4), MASKS, 1, true, false, true)
#endif
#if ONLY == 0 || ONLY == 8
BOTH(entered_staged, (1024, 1), LANES, 1, true, true, true)
#endif
#if ONLY == 0 || ONLY == 9
BOTH(entered_wide, (256, 4), LANES, 2, true, false, true)
#endif
