// Forest prediction for tiles. A warp takes a patch of 32 (or 64) neighbouring voxels, keeps their features in shared
// memory and sends them through every tree; forest.py says which ways of walking there are and what each should cost.
// Nodes are those of shared/nodes.py: the low word a threshold or what a leaf means, the high word the column and, in its
// lowest bits, the distance to the right child; the left child follows its parent.

#include "arithmetic.cuh"

#ifndef ONLY
#define ONLY 0  // the number of one variant to compile; 0: all of them
#endif
#ifndef LEAVES
#define LEAVES 3  // 1: for pure leaves, 2: for mixed ones, 3: both
#endif

#define ALL_LANES 0xffffffffu

// Columns of a row of ``segments``: trees that are counted together and whose nodes are in shared memory together.
enum Segment { FIRST_TREE, STOP_TREE, FIRST_NODE, STOP_NODE, GROUP, GROUP_TREES, ENDS_GROUP, SEGMENT_COLUMNS };

// See PARAMETERS below.
struct Work {
    const float* stack; long long stride; int columns;
    int nz, ny, nx, z_bits, y_bits, x_bits;
    const uint2* records; const int* roots; unsigned offset_bits;
    const int* segments; int segment_count;
    const float* vote_value; int vote_width;
    const float* probabilities; const double* weights; int averages;
    float divisor; int classes, first_class, class_count;
    int node_bytes; float* out;
};

// stack          the column c of voxel i (raster order in the tile nz, ny, nx) at c * stride + i
// z_bits …       a patch is 1 << z_bits by 1 << y_bits by 1 << x_bits voxels
// vote_value     what n votes add to a class, rows of vote_width, one for each group; pure leaves only
// probabilities  (leaves, classes), with weights: what a leaf adds to its classes and to their sum; mixed leaves only
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

// A node taken apart.
struct Node {
    unsigned low, column;
    int right;
};

// Where nodes are read: device memory through the cache, or a copy in shared memory.
template <bool STAGED>
struct Nodes {
    const uint2* records;
    unsigned offset_bits, offset_mask, leaf_column;
    __device__ __forceinline__ Nodes(const uint2* from, unsigned bits)
        : records(from), offset_bits(bits), offset_mask((1u << bits) - 1u), leaf_column((1u << (32u - bits)) - 1u) {}
    __device__ __forceinline__ Node read(int node) const {
        uint2 record;
        if (STAGED) record = records[node];
        else record = __ldg(records + node);
        Node found;
        found.low = record.x;
        found.column = record.y >> offset_bits;
        found.right = node + (int)(record.y & offset_mask);
        return found;
    }
};

// Where a lane finds the features of its VOXELS voxels: in the warp's patch, or in the stack itself.
template <int VOXELS, bool KEEPS>
struct Features {
    const float* patch;  // [column][voxel][lane]: no two lanes meet in a bank, whatever columns they ask for
    const float* stack;
    long long stride;
    long long voxel[VOXELS];
    __device__ __forceinline__ float value(unsigned column, int v, int lane) const {
        if (KEEPS) return patch[(column * VOXELS + v) * 32 + lane];
        return __ldg(stack + (long long)column * stride + voxel[v]);
    }
};

// Follow each voxel of a lane from ``node`` to its leaf on its own.
template <int VOXELS, class NodesOf, class FeaturesOf>
static __device__ __forceinline__ void walk_lanes(
    const NodesOf& nodes, const FeaturesOf& features, int lane, int node, unsigned (&leaf)[VOXELS]) {
    int at[VOXELS];
#pragma unroll
    for (int v = 0; v < VOXELS; v++) at[v] = node;
    bool goes_on;
    do {
        goes_on = false;
#pragma unroll
        for (int v = 0; v < VOXELS; v++) {
            const Node found = nodes.read(at[v]);
            leaf[v] = found.low;
            if (found.column != nodes.leaf_column) {
                at[v] = features.value(found.column, v, lane) < __uint_as_float(found.low) ? at[v] + 1 : found.right;
                goes_on = true;
            }
        }
    } while (goes_on);
}

// Visit each node once for all voxels of a warp that reach it. ``here`` are the voxels that count. Lane i keeps the i-th
// subtree that waits: at most 31 wait for 32 voxels, since all are reached by somebody; with 64 the smaller part goes
// first, so that at most 6 wait.
template <int VOXELS, class NodesOf, class FeaturesOf>
static __device__ __forceinline__ void walk_masks(
    const NodesOf& nodes, const FeaturesOf& features, int lane, int node, const unsigned (&valid)[VOXELS],
    unsigned (&leaf)[VOXELS]) {
    unsigned here[VOXELS], kept[VOXELS];
    int kept_node = 0, waiting = 0;
#pragma unroll
    for (int v = 0; v < VOXELS; v++) { here[v] = valid[v]; kept[v] = 0; }
    while (true) {
        const Node found = nodes.read(node);
        if (found.column == nodes.leaf_column) {
#pragma unroll
            for (int v = 0; v < VOXELS; v++)
                if (here[v] >> lane & 1u) leaf[v] = found.low;
            if (waiting == 0) return;
            waiting--;
            node = __shfl_sync(ALL_LANES, kept_node, waiting);
#pragma unroll
            for (int v = 0; v < VOXELS; v++) here[v] = __shfl_sync(ALL_LANES, kept[v], waiting);
            continue;
        }
        unsigned left[VOXELS], right[VOXELS], any_left = 0, any_right = 0;
#pragma unroll
        for (int v = 0; v < VOXELS; v++) {
            const bool smaller = features.value(found.column, v, lane) < __uint_as_float(found.low);
            const unsigned goes_left = __ballot_sync(ALL_LANES, smaller);
            left[v] = here[v] & goes_left;
            right[v] = here[v] & ~goes_left;
            any_left |= left[v];
            any_right |= right[v];
        }
        if (any_left == 0) {
            node = found.right;
        } else if (any_right == 0) {
            node++;
        } else {
            bool goes_left = true;
            if (VOXELS > 1) {
                int balance = 0;
#pragma unroll
                for (int v = 0; v < VOXELS; v++) balance += __popc(left[v]) - __popc(right[v]);
                goes_left = balance <= 0;
            }
            if (lane == waiting) {
                kept_node = goes_left ? found.right : node + 1;
#pragma unroll
                for (int v = 0; v < VOXELS; v++) kept[v] = goes_left ? right[v] : left[v];
            }
            waiting++;
            node = goes_left ? node + 1 : found.right;
#pragma unroll
            for (int v = 0; v < VOXELS; v++) here[v] = goes_left ? left[v] : right[v];
        }
    }
}

// The first node from ``node`` on that the bounds of the patch's columns do not decide, or the leaf they lead to.
template <class NodesOf>
static __device__ __forceinline__ bool enter_tree(
    const NodesOf& nodes, const float2* bounds, int& node, unsigned& leaf) {
    while (true) {
        const Node found = nodes.read(node);
        leaf = found.low;
        if (found.column == nodes.leaf_column) return true;
        const float2 range = bounds[found.column];
        const float limit = __uint_as_float(found.low);
        if (range.y < limit) node++;
        else if (range.x >= limit) node = found.right;
        else return false;
    }
}

// What the voxels of a warp have gathered so far: votes of pure leaves, or the float sums of mixed ones, in shared
// memory as [class][voxel][lane]; ``common`` are votes of all voxels alike.
template <int VOXELS, bool PURE>
struct Tally {
    unsigned* votes;
    float* shares;
    int* common;
    double total[VOXELS];

    __device__ __forceinline__ void clear(const Work& work, int lane) {
#pragma unroll 1
        for (int i = lane; i < work.class_count * VOXELS * 32; i += 32) {
            if (PURE) votes[i] = 0;
            else shares[i] = 0.0f;
        }
        if (PURE) {
#pragma unroll 1
            for (int k = lane; k < work.class_count; k += 32) common[k] = 0;
        }
#pragma unroll
        for (int v = 0; v < VOXELS; v++) total[v] = 0.0;
    }

    __device__ __forceinline__ void add(const Work& work, int lane, const unsigned (&leaf)[VOXELS]) {
#pragma unroll
        for (int v = 0; v < VOXELS; v++) {
            if (PURE) {
                const unsigned k = leaf[v] - (unsigned)work.first_class;
                if (k < (unsigned)work.class_count) votes[(k * VOXELS + v) * 32 + lane]++;
            } else {
                const long long row = (long long)leaf[v] * work.classes;
#pragma unroll 1
                for (int k = 0; k < work.class_count; k++)
                    shares[(k * VOXELS + v) * 32 + lane] += __ldg(work.probabilities + row + work.first_class + k);
#pragma unroll 1
                for (int k = 0; k < work.classes; k++) total[v] += __ldg(work.weights + row + k);
            }
        }
    }

    __device__ __forceinline__ void add_to_all(const Work& work, unsigned leaf) {
        const unsigned k = leaf - (unsigned)work.first_class;
        if (k < (unsigned)work.class_count) atomicAdd(common + k, 1);
    }

    // What the group adds to class k of voxel v.
    __device__ __forceinline__ float value(const Work& work, const int* segment, int lane, int k, int v) const {
        const int i = (k * VOXELS + v) * 32 + lane;
        if (PURE) return __ldg(work.vote_value + segment[GROUP] * work.vote_width + (int)votes[i] + common[k]);
        const float share = __fdiv_rn(shares[i], __double2float_rn(total[v]));
        return work.averages ? __fmul_rn(share, (float)segment[GROUP_TREES]) : share;
    }
};

enum Walk { LANES, MASKS };

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
        // All warps of a block come here equally often, since they wait for each other where nodes are staged.
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
                // Lanes beyond the tile repeat a voxel of it, which changes neither bounds nor the paths that are taken.
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
            // Voxels with a feature that is no number are in no class; all others are written group by group.
            is_active = false;
#pragma unroll
            for (int v = 0; v < VOXELS; v++) {
                const unsigned bad = __ballot_sync(ALL_LANES, is_bad[v]);
                if ((valid[v] & bad) >> lane & 1u) {
#pragma unroll 1
                    for (int k = 0; k < work.class_count; k++)
                        work.out[features.voxel[v] * work.classes + work.first_class + k] = 0.0f;
                }
                valid[v] &= ~bad;
                is_active |= valid[v] != 0;
            }
            __syncwarp();
            if (ENTERS) {
                // A lane looks through a whole column, each in an order of its own, so that no two meet in a bank. NaN
                // is passed over by fminf and fmaxf.
                for (int column = lane; column < work.columns; column += 32) {
                    float low = __uint_as_float(0x7f800000u), high = -low;
#pragma unroll 8
                    for (int i = 0; i < VOXELS * 32; i++) {
                        const float value = patch[(column * VOXELS * 32 + lane) ^ i];
                        low = fminf(low, value);
                        high = fmaxf(high, value);
                    }
                    bounds[column] = make_float2(low, high);
                }
            }
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
            const int stop = segment[STOP_TREE];
            for (int first = segment[FIRST_TREE]; first < stop; first += 32) {
                const bool has_tree = first + lane < stop;
                int entry = has_tree ? work.roots[first + lane] - first_node : 0;
                bool is_decided = false;
                if (ENTERS && has_tree) {
                    unsigned reached;
                    is_decided = enter_tree(nodes, bounds, entry, reached);
                    if (PURE && is_decided) tally.add_to_all(work, reached);
                }
                // Sums of floats take every tree, in order; votes only those that are still open.
                unsigned open = __ballot_sync(ALL_LANES, has_tree && !(PURE && is_decided));
                while (open) {
                    const int node = __shfl_sync(ALL_LANES, entry, __ffs((int)open) - 1);
                    open &= open - 1u;
                    if (WALK == MASKS) walk_masks<VOXELS>(nodes, features, lane, node, valid, leaf);
                    else walk_lanes<VOXELS>(nodes, features, lane, node, leaf);
                    tally.add(work, lane, leaf);
                }
            }
            if (!segment[ENDS_GROUP]) continue;
            __syncwarp();
            const bool is_first = segment[GROUP] == 0, is_last = s == work.segment_count - 1;
#pragma unroll
            for (int v = 0; v < VOXELS; v++) {
                if (!(valid[v] >> lane & 1u)) continue;
#pragma unroll 1
                for (int k = 0; k < work.class_count; k++) {
                    float* const place = work.out + features.voxel[v] * work.classes + work.first_class + k;
                    const float added = tally.value(work, segment, lane, k, v);
                    const float sum = is_first ? added : __fadd_rn(*place, added);
                    *place = is_last ? __fdiv_rn(sum, work.divisor) : sum;
                }
            }
            __syncwarp();
            if (!is_last) tally.clear(work, lane);
            __syncwarp();
        }
        __syncwarp();  // the next patch takes the place of this one
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

// The numbers are those of forest.py.
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
