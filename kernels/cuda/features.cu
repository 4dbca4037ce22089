// Features of one scale and one channel of a tile, written to the columns of the stack; see features.cuh. Compiled for a
// set of defines: FLAT, SCALE (the parameters of Scale but the last), and RESIDENT, the blocks that a multiprocessor must
// hold in 3-d.
#include "features.cuh"

static constexpr int BLOCK_Y = FLAT ? 16 : 8;  // see features.py

typedef Scale<SCALE, BLOCK_Y> This;

// Output position of a block: `first` is column 0 of its first voxel, in the image's plane first_z. Registers are scarce:
// the form of this code decides whether the kernels in 3-d spill.
struct StackPlaces {
    float* first;
    long long stride, plane;
    int first_z, width;
    __device__ __forceinline__ int line(int y, int x) const { return y * width + x; }
    __device__ __forceinline__ float* place(int z, int line) const { return first + ((z - first_z) * plane + line); }
};

// pre            see Smoothed
// stack          stack[column * stride + voxel]
// tile           begins at (tile_z, tile_y, tile_x) of the image and is (out_z, out_y, out_x) large
// nz, ny, nx     the image
// chunk          planes of a block in 3-d; in 2-d it has one
// gaussian …     first column of each operation
// Blocks are numbered by blockIdx.x: x fastest, then y, then z.
#define PARAMETERS                                                                                             \
    const float* __restrict__ pre, float* __restrict__ stack, long long stride, int low_z, int low_y, int low_x,\
        int height, int width, int tile_z, int tile_y, int tile_x, int out_z, int out_y, int out_x, int nz,    \
        int ny, int nx, int chunk, long long gaussian, long long difference, long long gradient,               \
        long long laplacian, long long hessian, long long tensor, float s00, float s01, float s02, float s10,  \
        float s11, float s12, float s20, float s21, float s22, float n00, float n01, float g00, float g01,     \
        float g10, float g11
#define PREPARE                                                                                                \
    __shared__ This::Shared s;                                                                                 \
    const Taps taps = {{s00, s01, s02}, {s10, s11, s12}, {s20, s21, s22}, {n00, n01}, {g00, g01}, {g10, g11}}; \
    const Columns<long long> columns = {gaussian, difference, gradient, laplacian, hessian, tensor};                      \
    const Smoothed smoothed = {pre, low_z, low_y, low_x, height, width};                                       \
    const int blocks_x = (out_x + This::X - 1) / This::X, blocks_y = (out_y + BLOCK_Y - 1) / BLOCK_Y;          \
    const int bx = (int)(blockIdx.x % blocks_x) * This::X;                                                     \
    const int by = (int)(blockIdx.x / blocks_x % blocks_y) * BLOCK_Y;                                          \
    const int bz = (int)(blockIdx.x / blocks_x / blocks_y) * chunk;                                            \
    const Place place = {tile_z + bz, tile_y + by, tile_x + bx, nz, ny, nx};                                   \
    const long long plane = (long long)out_y * out_x;                                                          \
    const StackPlaces out = {stack + (bz * plane + (by * out_x + bx)), stride, plane, tile_z + bz, out_x}

#if FLAT

extern "C" __global__ void __launch_bounds__(This::THREADS)
features_2d(PARAMETERS) {
    PREPARE;
    This::derive_plane(s, taps, smoothed, place, place.z0, out_y - by, out_x - bx, columns, out);
}

#else

extern "C" __global__ void __launch_bounds__(This::THREADS, RESIDENT)
features_3d(PARAMETERS) {
    PREPARE;
    This::derive_planes(s, taps, smoothed, place, min(chunk, out_z - bz), out_y - by, out_x - bx, columns, out);
}

#endif
