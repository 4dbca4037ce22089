// Tree traversal: nodes, descent from a root to a leaf, votes and sums of voxels, and the contribution of a group of
// trees to the prediction. Included by forest.cu, whose features come from the stack.
// Nodes are those of shared/nodes.py: the low word is a threshold or a leaf's value, the high word the column and, in
// its lowest bits, the distance to the right child; the left child follows its parent.

#include "arithmetic.cuh"

#define ALL_LANES 0xffffffffu

// Columns of a row of ``segments``: trees that are counted together and whose nodes are in shared memory together.
enum Segment { FIRST_TREE, STOP_TREE, FIRST_NODE, STOP_NODE, GROUP, GROUP_TREES, ENDS_GROUP, SEGMENT_COLUMNS };

// See forest.cu for what they mean.
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

// A decoded node.
struct Node {
    unsigned low, column;
    int right;
};

// Source of nodes: device memory through the cache, or a copy in shared memory.
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

// Source of the features of a lane's VOXELS voxels: the warp's patch, or the stack itself.
template <int VOXELS, bool KEEPS>
struct Features {
    const float* patch;  // [column][voxel][lane]: no bank conflicts, whatever columns the lanes read
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
// pending subtree: at most 31 are pending for 32 voxels, since each is reached by a voxel; with 64 the smaller part goes
// first, so that at most 6 are pending.
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

// Accumulators of a warp's voxels: votes of pure leaves, or the float sums of mixed ones, in shared memory as
// [class][voxel][lane]; ``common`` are the votes shared by all voxels.
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

    // Contribution of the group to class k of voxel v.
    __device__ __forceinline__ float value(const Work& work, const int* segment, int lane, int k, int v) const {
        const int i = (k * VOXELS + v) * 32 + lane;
        if (PURE) return __ldg(work.vote_value + segment[GROUP] * work.vote_width + (int)votes[i] + common[k]);
        const float share = __fdiv_rn(shares[i], __double2float_rn(total[v]));
        return work.averages ? __fmul_rn(share, (float)segment[GROUP_TREES]) : share;
    }
};

enum Walk { LANES, MASKS };

// Voxels with a NaN feature get probability 0; all others are written group by group. Returns true if any are left.
template <int VOXELS, class FeaturesOf>
static __device__ __forceinline__ bool drop_bad(
    const Work& work, const FeaturesOf& features, int lane, const bool (&is_bad)[VOXELS], unsigned (&valid)[VOXELS]) {
    bool is_active = false;
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
    return is_active;
}

// Minimum and maximum of each column in a patch. A lane reads a whole column, each in an order of its own to avoid bank
// conflicts. fminf and fmaxf ignore NaN.
template <int VOXELS>
static __device__ __forceinline__ void find_bounds(const Work& work, const float* patch, float2* bounds, int lane) {
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

// Evaluate the trees of a segment, whose nodes count from first_node, on a warp's voxels.
template <int WALK, int VOXELS, bool ENTERS, bool PURE, class NodesOf, class FeaturesOf>
static __device__ __forceinline__ void walk_segment(
    const Work& work, const int* segment, int first_node, const NodesOf& nodes, const FeaturesOf& features,
    const float2* bounds, int lane, const unsigned (&valid)[VOXELS], unsigned (&leaf)[VOXELS],
    Tally<VOXELS, PURE>& tally) {
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
        // Sums of floats visit every tree, in order; votes only those that are still undecided.
        unsigned open = __ballot_sync(ALL_LANES, has_tree && !(PURE && is_decided));
        while (open) {
            const int node = __shfl_sync(ALL_LANES, entry, __ffs((int)open) - 1);
            open &= open - 1u;
            if (WALK == MASKS) walk_masks<VOXELS>(nodes, features, lane, node, valid, leaf);
            else walk_lanes<VOXELS>(nodes, features, lane, node, leaf);
            tally.add(work, lane, leaf);
        }
    }
}

// Add a group's contribution to the prediction, after its last segment; ``is_last``: of all groups.
template <int VOXELS, bool PURE, class FeaturesOf>
static __device__ __forceinline__ void end_group(
    const Work& work, const int* segment, bool is_last, const FeaturesOf& features, int lane,
    const unsigned (&valid)[VOXELS], Tally<VOXELS, PURE>& tally) {
    __syncwarp();
    const bool is_first = segment[GROUP] == 0;
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
