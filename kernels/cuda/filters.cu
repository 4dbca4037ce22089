// Gaussian along one axis, and transposition of the stack. The order of operations is that of kernels/contract.
#include "arithmetic.cuh"

// ---- Gaussians. taps[0] belongs to the centre; a position outside the image refers to its mirror.

// Along x. A block loads 128 voxels of blockDim.y rows into shared memory, with the neighbours on both sides;
// a thread sums four voxels that are a warp apart.
//   source       voxel 0 of the image's first wanted row is at source + first; rows, then planes, follow
//   rows, planes of out, which is contiguous and `width` wide; its first column is x0 of the image, which has n columns
// Fused between fused_first and fused_stop only. Dynamic shared memory: blockDim.y * (128 + 2 * radius) floats.
static constexpr int COLUMNS = 128;

extern "C" __global__ void __launch_bounds__(256, 4)
gaussian_1d_x(const float* __restrict__ source, float* __restrict__ out, long long first, int source_row,
              long long source_plane, int rows, int planes, int width, int x0, int n, int fused_first, int fused_stop,
              const float* __restrict__ taps, int radius) {
    DYNAMIC_SHARED(float, lines);
    const int across = (width + COLUMNS - 1) / COLUMNS;
    const int begin = (int)(blockIdx.x % across) * COLUMNS;
    const long long line = (long long)(blockIdx.x / across) * blockDim.y + threadIdx.y;
    const bool is_row = line < (long long)rows * planes;
    const int length = COLUMNS + 2 * radius;
    float* const here = lines + threadIdx.y * length;
    if (is_row) {
        const float* const row = source + first + line / rows * source_plane + line % rows * source_row;
        const int last = min(length, width - begin + 2 * radius);
        for (int i = threadIdx.x; i < last; i += 32) here[i] = row[mirror(x0 + begin + i - radius, n)];
    }
    __syncthreads();
    if (!is_row) return;
    float sum[4];
    const int lane = threadIdx.x;
    const float* const centre = here + radius + lane;
    const float weight = __ldg(taps);
#pragma unroll
    for (int j = 0; j < 4; j++) sum[j] = weight * centre[32 * j];
    const int from = x0 + begin;
    const bool all_fused = from >= fused_first && from + COLUMNS <= fused_stop;
    if (all_fused) {
        for (int k = 1; k <= radius; k++) {
            const float tap = __ldg(taps + k);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] = __fmaf_rn(tap, centre[32 * j + k] + centre[32 * j - k], sum[j]);
        }
    } else {
        bool fused[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int x = from + lane + 32 * j;
            fused[j] = x >= fused_first && x < fused_stop;
        }
        for (int k = 1; k <= radius; k++) {
            const float tap = __ldg(taps + k);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float pair = centre[32 * j + k] + centre[32 * j - k];
                sum[j] = fused[j] ? __fmaf_rn(tap, pair, sum[j]) : sum[j] + tap * pair;
            }
        }
    }
    float* const to = out + line * width + begin + lane;
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (begin + lane + 32 * j < width) to[32 * j] = sum[j];
}

// Along y or z ("the line"). A block loads 32 voxels along x and 8 * blockDim.y along the line into shared memory, with
// the neighbours on both sides. A thread sums eight consecutive voxels: from one distance to the next, two loads fetch
// the neighbours of all eight, the others stay in registers.
//   source        the image's voxel at position 0 of the first line is at source + first
//   step          floats from one voxel of a line to the next; out_step the same of out
//   width, lines  of out along x and along the third axis; across, out_across are the floats between two of the latter
//   from, count   first wanted position on the line, number of positions; the image has n
// Dynamic shared memory: (8 * blockDim.y + 2 * radius) * 32 floats.
static constexpr int RUN = 8;

extern "C" __global__ void __launch_bounds__(256, 4)
gaussian_1d_line(const float* __restrict__ source, float* __restrict__ out, long long first, long long step,
                 long long across, long long out_step, long long out_across, int width, int lines, int from, int count,
                 int n, const float* __restrict__ taps, int radius) {
    DYNAMIC_SHARED(float, tile);
    const int blocks_x = (width + 31) / 32, outputs = RUN * blockDim.y;
    const int blocks_line = (count + outputs - 1) / outputs;
    const int x = (int)(blockIdx.x % blocks_x) * 32 + threadIdx.x;
    const int begin = (int)(blockIdx.x / blocks_x % blocks_line) * outputs;
    const int line = (int)(blockIdx.x / blocks_x / blocks_line);
    if (x < width) {
        const float* const column = source + first + line * across + x;
        const int last = min(outputs, count - begin) + 2 * radius;
        for (int i = threadIdx.y; i < last; i += blockDim.y)
            tile[i * 32 + threadIdx.x] = column[mirror(from + begin + i - radius, n) * step];
    }
    __syncthreads();
    const int own = begin + threadIdx.y * RUN;
    if (x >= width || own >= count) return;
    const float* const centre = tile + (threadIdx.y * RUN + radius) * 32 + threadIdx.x;
    float right[RUN], left[RUN], sum[RUN];
    const float weight = __ldg(taps);
#pragma unroll
    for (int j = 0; j < RUN; j++) {
        right[j] = left[j] = centre[j * 32];
        sum[j] = weight * right[j];
    }
    for (int done = 0; done < radius; done += RUN) {
#pragma unroll
        for (int i = 1; i <= RUN; i++) {  // right[(j + k) % 8] is the voxel k after voxel j, left[(j - k) % 8] that before
            const int k = done + i;
            if (k > radius) break;
            right[(RUN - 1 + i) % RUN] = centre[(RUN - 1 + k) * 32];
            left[(2 * RUN - i) % RUN] = centre[-k * 32];
            const float tap = __ldg(taps + k);
#pragma unroll
            for (int j = 0; j < RUN; j++)
                sum[j] = __fmaf_rn(tap, right[(j + i) % RUN] + left[(j + 2 * RUN - i) % RUN], sum[j]);
        }
    }
    float* const to = out + line * out_across + own * out_step + x;
#pragma unroll
    for (int j = 0; j < RUN; j++)
        if (own + j < count) to[j * out_step] = sum[j];
}

// Any axis and radius, one thread per voxel from global memory: for Gaussians too wide for shared memory.
extern "C" __global__ void __launch_bounds__(256)
gaussian_1d_wide(const float* __restrict__ source, float* __restrict__ out, long long first, long long step,
                 long long step_x, long long step_y, long long step_z, int width, int height, int depth, int axis,
                 int from, int n, int fused_first, int fused_stop, const float* __restrict__ taps, int radius) {
    const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= (long long)width * height * depth) return;
    const int x = (int)(index % width), y = (int)(index / width % height), z = (int)(index / width / height);
    const float* const line = source + first + x * step_x + y * step_y + z * step_z;
    const int centre = from + (axis == 0 ? x : axis == 1 ? y : z);
    const bool fused = centre >= fused_first && centre < fused_stop;
    float sum = __ldg(taps) * line[centre * step];
    for (int k = 1; k <= radius; k++) {
        const float pair = line[mirror(centre + k, n) * step] + line[mirror(centre - k, n) * step];
        sum = fused ? __fmaf_rn(__ldg(taps + k), pair, sum) : sum + __ldg(taps + k) * pair;
    }
    out[index] = sum;
}

// ---- Transposition of the stack (f, voxels) to (voxels, f).

extern "C" __global__ void __launch_bounds__(256)
transpose_stack(const float* __restrict__ stack, float* __restrict__ out, long long column_stride, long long voxels,
                int width) {
    __shared__ float square[32][33];
    const int across = (width + 31) / 32;
    const int column = (int)(blockIdx.x % across) * 32;
    const long long voxel = (long long)(blockIdx.x / across) * 32;
    for (int i = threadIdx.y; i < 32; i += 8)
        if (column + i < width && voxel + threadIdx.x < voxels)
            square[i][threadIdx.x] = stack[(column + i) * column_stride + voxel + threadIdx.x];
    __syncthreads();
    for (int i = threadIdx.y; i < 32; i += 8)
        if (voxel + i < voxels && column + threadIdx.x < width)
            out[(voxel + i) * width + column + threadIdx.x] = square[threadIdx.x][i];
}
