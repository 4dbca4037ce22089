// Tree traversal: nodes, descent from a root to a leaf, votes and sums of voxels, and the contribution of a group of
// trees to the prediction. Included by forest.cu, whose features come from the stack.
// Nodes are those of shared/nodes.py: the low word is a threshold or a leaf's value, the high word the column and, in
// its lowest bits, the distance to the right child; the left child follows its parent.

#include "arithmetic.cuh"

#define ALL_LANES 0xffffffffu

// See forest.cu for what they mean.
struct Work {
    const float* stack; long long stride; int columns;
    int nz, ny, nx, z_bits, y_bits, x_bits;
    const uint2* records; const int* roots; unsigned offset_bits;
    const int* groups; int group_count;
    const float* vote_value; int vote_width;
    const float* probabilities; const double* weights; int averages;
    float divisor; int classes, first_class, class_count;
    float* out;
};

// A decoded node.
struct Node {
    unsigned low, column;
    int right;
};

// Nodes in device memory, read through the cache.
struct Nodes {
    const uint2* records;
    unsigned offset_bits, offset_mask, leaf_column;
    __device__ __forceinline__ Nodes(const uint2* from, unsigned bits)
        : records(from), offset_bits(bits), offset_mask((1u << bits) - 1u), leaf_column((1u << (32u - bits)) - 1u) {}
    __device__ __forceinline__ Node read(int node) const {
        const uint2 record = __ldg(records + node);
        Node found;
        found.low = record.x;
        found.column = record.y >> offset_bits;
        found.right = node + (int)(record.y & offset_mask);
        return found;
    }
};

// Source of the features of a lane's voxel: the warp's patch, or the stack itself.
template <bool KEEPS>
struct Features {
    const float* patch;  // [column][lane]: no bank conflicts, whatever columns the lanes read
    const float* stack;
    long long stride, voxel;
    __device__ __forceinline__ float value(unsigned column, int lane) const {
        if (KEEPS) return patch[column * 32 + lane];
        return __ldg(stack + (long long)column * stride + voxel);
    }
};

// Follow the voxel of a lane from ``node`` to its leaf.
template <class FeaturesOf>
static __device__ __forceinline__ unsigned walk(const Nodes& nodes, const FeaturesOf& features, int lane, int node) {
    Node found = nodes.read(node);
    while (found.column != nodes.leaf_column) {
        node = features.value(found.column, lane) < __uint_as_float(found.low) ? node + 1 : found.right;
        found = nodes.read(node);
    }
    return found.low;
}

// The first node from ``node`` on that the bounds of the patch's columns do not decide, or the leaf they lead to.
static __device__ __forceinline__ bool enter_tree(
    const Nodes& nodes, const float2* bounds, int& node, unsigned& leaf) {
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
// [class][lane]; ``common`` are the votes shared by all voxels.
template <bool PURE>
struct Tally {
    unsigned* votes;
    float* shares;
    int* common;
    double total;

    __device__ __forceinline__ void clear(const Work& work, int lane) {
#pragma unroll 1
        for (int i = lane; i < work.class_count * 32; i += 32) {
            if (PURE) votes[i] = 0;
            else shares[i] = 0.0f;
        }
        if (PURE) {
#pragma unroll 1
            for (int k = lane; k < work.class_count; k += 32) common[k] = 0;
        }
        total = 0.0;
    }

    __device__ __forceinline__ void add(const Work& work, int lane, unsigned leaf) {
        if (PURE) {
            const unsigned k = leaf - (unsigned)work.first_class;
            if (k < (unsigned)work.class_count) votes[k * 32 + lane]++;
        } else {
            const long long row = (long long)leaf * work.classes;
#pragma unroll 1
            for (int k = 0; k < work.class_count; k++)
                shares[k * 32 + lane] += __ldg(work.probabilities + row + work.first_class + k);
#pragma unroll 1
            for (int k = 0; k < work.classes; k++) total += __ldg(work.weights + row + k);
        }
    }

    __device__ __forceinline__ void add_to_all(const Work& work, unsigned leaf) {
        const unsigned k = leaf - (unsigned)work.first_class;
        if (k < (unsigned)work.class_count) atomicAdd(common + k, 1);
    }

    // Contribution of a group of trees to class k.
    __device__ __forceinline__ float value(const Work& work, int group, int trees, int lane, int k) const {
        const int i = k * 32 + lane;
        if (PURE) return __ldg(work.vote_value + group * work.vote_width + (int)votes[i] + common[k]);
        const float share = __fdiv_rn(shares[i], __double2float_rn(total));
        return work.averages ? __fmul_rn(share, (float)trees) : share;
    }
};

// Minimum and maximum of each column in a patch. A lane reads a whole column, each in an order of its own to avoid bank
// conflicts. fminf and fmaxf ignore NaN.
static __device__ __forceinline__ void find_bounds(const Work& work, const float* patch, float2* bounds, int lane) {
    for (int column = lane; column < work.columns; column += 32) {
        float low = __uint_as_float(0x7f800000u), high = -low;
#pragma unroll 8
        for (int i = 0; i < 32; i++) {
            const float value = patch[(column * 32 + lane) ^ i];
            low = fminf(low, value);
            high = fmaxf(high, value);
        }
        bounds[column] = make_float2(low, high);
    }
}

// Evaluate the trees from ``first`` on, as far as ``stop``, on a warp's voxels.
template <bool ENTERS, bool PURE, class FeaturesOf>
static __device__ __forceinline__ void walk_trees(
    const Work& work, int first, int stop, const Nodes& nodes, const FeaturesOf& features, const float2* bounds,
    int lane, Tally<PURE>& tally) {
    for (; first < stop; first += 32) {
        const bool has_tree = first + lane < stop;
        int entry = has_tree ? work.roots[first + lane] : 0;
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
            tally.add(work, lane, walk(nodes, features, lane, node));
        }
    }
}

// Add a group's contribution to the prediction of a lane's voxel, if it is valid.
template <bool PURE, class FeaturesOf>
static __device__ __forceinline__ void end_group(
    const Work& work, int group, int trees, const FeaturesOf& features, int lane, bool is_valid, Tally<PURE>& tally) {
    const bool is_last = group == work.group_count - 1;
    __syncwarp();
    if (is_valid) {
#pragma unroll 1
        for (int k = 0; k < work.class_count; k++) {
            float* const place = work.out + features.voxel * work.classes + work.first_class + k;
            const float added = tally.value(work, group, trees, lane, k);
            const float sum = group == 0 ? added : __fadd_rn(*place, added);
            *place = is_last ? __fdiv_rn(sum, work.divisor) : sum;
        }
    }
    __syncwarp();
    if (!is_last) tally.clear(work, lane);
    __syncwarp();
}
