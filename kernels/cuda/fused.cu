// Features and forest in one kernel: the features of a block of voxels are made scale after scale, stay in shared memory,
// and are walked there; only probabilities leave the chip. fused.py says what that may gain and what it costs.
//
// Made for these defines: BLOCK_Z, BLOCK_Y (voxels of a block; 32 along x), KINDS (the types of the scales, separated by
// commas, with the Y of this block), TAPS (a Taps for each of them), SCRATCH (bytes of shared memory in front of the
// features), RESIDENT (blocks that a multiprocessor shall hold), LEAVES (1: pure, 2: mixed).
//
// Taps are in the code, not in parameters: a thread that goes through all scales has no registers for them.
#include "features.cuh"
#include "forest.cuh"

static constexpr int X = 32, Y = BLOCK_Y, Z = BLOCK_Z, WARPS = Y < 8 ? Y : 8, THREADS = 32 * WARPS;
// A warp walks with a patch of 32 neighbours.
static constexpr int PATCH_Z = Z > 1 ? 2 : 1, PATCH_Y = 4, PATCH_X = 32 / (PATCH_Z * PATCH_Y);
static constexpr int ACROSS = X / PATCH_X, ALONG = Y / PATCH_Y, PATCHES = ACROSS * ALONG * (Z / PATCH_Z);
static_assert(Z % PATCH_Z == 0 && Y % PATCH_Y == 0, "a block consists of whole patches");

// A row of ``scales``: one channel at one scale.
enum Row { KIND, OFFSET, LOW_Z, LOW_Y, LOW_X, HEIGHT, WIDTH, FIRST_COLUMNS, ROW_COLUMNS = FIRST_COLUMNS + 6 };

// Where a block's features lie: patch after patch as [column][lane], which the walk reads without conflicts.
struct PatchPlaces {
    float* first;
    int patch_floats, first_z;  // of the image
    static constexpr int stride = 32;

    __device__ __forceinline__ float* patch(int number) const { return first + number * patch_floats; }

    // A voxel's patch, and itself in it, as far as they follow from y and x; then from z too.
    __device__ __forceinline__ int line(int y, int x) const {
        return (y / PATCH_Y * ACROSS + x / PATCH_X) * patch_floats + y % PATCH_Y * PATCH_X + x % PATCH_X;
    }

    __device__ __forceinline__ float* place(int z, int line) const {
        const int plane = z - first_z;
        return patch(plane / PATCH_Z * ALONG * ACROSS) + plane % PATCH_Z * PATCH_Y * PATCH_X + line;
    }
};

// The voxels of a block that are in the tile, from its first one on.
struct Inside { int z, y, x; };

template <int INDEX, class... All>
struct Kinds {
    static constexpr unsigned long long SHARED = 0;

    static __device__ __forceinline__ void derive(
        int, unsigned char*, const Smoothed&, const Place&, const Inside&, const Columns<int>&, const PatchPlaces&) {}
};

template <int INDEX, class First, class... Rest>
struct Kinds<INDEX, First, Rest...> {
    typedef Kinds<INDEX + 1, Rest...> Others;
    static constexpr unsigned long long OWN = sizeof(typename First::Shared);
    static constexpr unsigned long long SHARED = OWN > Others::SHARED ? OWN : Others::SHARED;

    // One scale of one channel; ends with a barrier.
    static __device__ __forceinline__ void derive(
        int kind, unsigned char* scratch, const Smoothed& pre, const Place& place, const Inside& inside,
        const Columns<int>& columns, const PatchPlaces& places) {
        if (kind != INDEX) {
            Others::derive(kind, scratch, pre, place, inside, columns, places);
            return;
        }
        const Taps all[] = {TAPS};
        auto& shared = *reinterpret_cast<typename First::Shared*>(scratch);
        if constexpr (First::IS_SOLID) {
            First::derive_planes(shared, all[INDEX], pre, place, inside.z, inside.y, inside.x, columns, places);
        } else {
            for (int z = place.z0; z < place.z0 + inside.z; z++) {
                First::derive_plane(shared, all[INDEX], pre, place, z, inside.y, inside.x, columns, places);
                __syncthreads();
            }
        }
    }
};

static_assert(Kinds<0, KINDS>::SHARED <= SCRATCH, "fused.py knows how large a scale's intermediates are");

// pre            the smoothed images of all scales and channels, where the rows of ``scales`` say
// columns        of the forest
// others         as in features.cu and forest.cu
// A block is the blockIdx.x-th of all: x fastest, then y, then z. Dynamic shared memory: intermediates of a scale, later
// each warp's sums, bounds and common votes; behind that the features.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
predict_fused(const float* __restrict__ pre, const long long* __restrict__ scales, int scale_count, int columns,
              int tile_z, int tile_y, int tile_x, int out_z, int out_y, int out_x, int nz, int ny, int nx,
              const uint2* __restrict__ records, const int* __restrict__ roots, int offset_bits,
              const int* __restrict__ segments, int segment_count, const float* __restrict__ vote_value,
              int vote_width, const float* __restrict__ probabilities, const double* __restrict__ weights, int averages,
              float divisor, int classes, float* __restrict__ out) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int blocks_x = (out_x + X - 1) / X, blocks_y = (out_y + Y - 1) / Y;
    const int bx = (int)(blockIdx.x % blocks_x) * X, by = (int)(blockIdx.x / blocks_x % blocks_y) * Y;
    const int bz = (int)(blockIdx.x / blocks_x / blocks_y) * Z;
    const Inside inside = {min(Z, out_z - bz), min(Y, out_y - by), min(X, out_x - bx)};
    const Place place = {tile_z + bz, tile_y + by, tile_x + bx, nz, ny, nx};
    const PatchPlaces places = {reinterpret_cast<float*>(shared + SCRATCH), columns * 32, place.z0};
    for (int s = 0; s < scale_count; s++) {
        const long long* const row = scales + s * ROW_COLUMNS;
        const Smoothed smoothed = {pre + row[OFFSET], (int)row[LOW_Z], (int)row[LOW_Y], (int)row[LOW_X],
                                   (int)row[HEIGHT], (int)row[WIDTH]};
        const long long* const first = row + FIRST_COLUMNS;
        const Columns<int> at = {(int)first[0], (int)first[1], (int)first[2], (int)first[3], (int)first[4], (int)first[5]};
        Kinds<0, KINDS>::derive((int)row[KIND], shared, smoothed, place, inside, at, places);
    }

    const Work work = {nullptr, 0, columns, out_z, out_y, out_x, 0, 0, 0, records, roots, (unsigned)offset_bits,
                       segments, segment_count, vote_value, vote_width, probabilities, weights, averages,
                       divisor, classes, 0, classes, 0, out};
    const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    const int warp_words = classes * 32 + (2 * columns + classes + 31) / 32 * 32;
    Tally<1, LEAVES == 1> tally;
    tally.shares = reinterpret_cast<float*>(shared) + warp * warp_words;
    tally.votes = reinterpret_cast<unsigned*>(tally.shares);
    float2* const bounds = reinterpret_cast<float2*>(tally.shares + classes * 32);
    tally.common = reinterpret_cast<int*>(tally.shares + classes * 32 + 2 * columns);
    const Nodes<false> nodes(records, (unsigned)offset_bits);
    for (int number = warp; number < PATCHES; number += WARPS) {
        const int first_x = number % ACROSS * PATCH_X, first_y = number / ACROSS % ALONG * PATCH_Y;
        const int first_z = number / (ACROSS * ALONG) * PATCH_Z;
        if (first_x >= inside.x || first_y >= inside.y || first_z >= inside.z) continue;
        const int x = first_x + lane % PATCH_X, y = first_y + lane / PATCH_X % PATCH_Y;
        const int z = first_z + lane / (PATCH_X * PATCH_Y);
        const bool is_inside = x < inside.x && y < inside.y && z < inside.z;
        // Lanes beyond the tile repeat a voxel of their patch, which changes neither bounds nor the paths that are taken.
        const int near_z = min(z, inside.z - 1), near_y = min(y, inside.y - 1), near_x = min(x, inside.x - 1);
        const float* const from = places.place(place.z0 + near_z, places.line(near_y, near_x));
        float* const patch = places.patch(number);
        bool is_bad[1] = {false};
        for (int column = 0; column < columns; column++) {
            const float value = from[column * 32];
            if (!is_inside) patch[column * 32 + lane] = value;
            is_bad[0] |= is_nan(value);
        }
        Features<1, true> features;
        features.patch = patch;
        features.voxel[0] = ((long long)(bz + near_z) * out_y + by + near_y) * out_x + bx + near_x;
        unsigned valid[1] = {__ballot_sync(ALL_LANES, is_inside)}, leaf[1] = {0};
        if (!drop_bad<1>(work, features, lane, is_bad, valid)) continue;
        __syncwarp();
        find_bounds<1>(work, patch, bounds, lane);
        tally.clear(work, lane);
        __syncwarp();
        for (int s = 0; s < segment_count; s++) {
            const int* const segment = segments + s * SEGMENT_COLUMNS;
            walk_segment<LANES, 1, true>(work, segment, 0, nodes, features, bounds, lane, valid, leaf, tally);
            if (segment[ENDS_GROUP]) end_group(work, segment, s == segment_count - 1, features, lane, valid, tally);
        }
        __syncwarp();  // the next patch has the same sums and bounds
    }
}
