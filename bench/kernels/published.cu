// Kernels with published times, written anew with the tile sizes of the programs that were timed: checks of gpu_model.py.
// The file is compiled like those of kernels/cuda.

#define TILE 16

extern "C" __global__ void copy_tiles(const float* source, float* target, unsigned width)
{
    const unsigned at = (blockIdx.y * TILE + threadIdx.y) * width + blockIdx.x * TILE + threadIdx.x;
    target[at] = source[at];
}

extern "C" __global__ void transpose_directly(const float* source, float* target, unsigned width, unsigned height)
{
    const unsigned x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    target[x * height + y] = source[y * width + x];
}

// Blocks of 16 x 4 threads, 8 results each; radius 8, one further tile of 16 on either side.
#define RADIUS 8
#define RESULTS 8

extern "C" __global__ void convolve_rows(const float* source, float* target, unsigned width, const float* taps)
{
    __shared__ float tile[4][(RESULTS + 2) * 16];
    __shared__ float weights[2 * RADIUS + 1];
    const int x = (blockIdx.x * RESULTS - 1) * 16 + threadIdx.x, y = blockIdx.y * 4 + threadIdx.y;
    if (threadIdx.y == 0 && threadIdx.x < RADIUS + 1) {
        weights[threadIdx.x] = taps[threadIdx.x];
        weights[2 * RADIUS - threadIdx.x] = taps[threadIdx.x];
    }
    for (int i = 0; i < RESULTS + 2; i++) {
        const int at = x + 16 * i;
        tile[threadIdx.y][threadIdx.x + 16 * i] = at >= 0 && at < int(width) ? source[y * width + at] : 0.0f;
    }
    __syncthreads();
    for (int i = 1; i <= RESULTS; i++) {
        float sum = 0.0f;
#pragma unroll
        for (int j = -RADIUS; j <= RADIUS; j++)
            sum += weights[j + RADIUS] * tile[threadIdx.y][threadIdx.x + 16 * i + j];
        target[y * width + x + 16 * i] = sum;
    }
}

// Blocks of 16 x 8 threads.
extern "C" __global__ void convolve_columns(
    const float* source, float* target, unsigned width, unsigned height, const float* taps)
{
    __shared__ float tile[16][(RESULTS + 2) * 8 + 1];
    __shared__ float weights[2 * RADIUS + 1];
    const int x = blockIdx.x * 16 + threadIdx.x, y = (blockIdx.y * RESULTS - 1) * 8 + threadIdx.y;
    if (threadIdx.y == 0 && threadIdx.x < RADIUS + 1) {
        weights[threadIdx.x] = taps[threadIdx.x];
        weights[2 * RADIUS - threadIdx.x] = taps[threadIdx.x];
    }
    for (int i = 0; i < RESULTS + 2; i++) {
        const int at = y + 8 * i;
        tile[threadIdx.x][threadIdx.y + 8 * i] = at >= 0 && at < int(height) ? source[at * width + x] : 0.0f;
    }
    __syncthreads();
    for (int i = 1; i <= RESULTS; i++) {
        float sum = 0.0f;
#pragma unroll
        for (int j = -RADIUS; j <= RADIUS; j++)
            sum += weights[j + RADIUS] * tile[threadIdx.x][threadIdx.y + 8 * i + j];
        target[(y + 8 * i) * width + x] = sum;
    }
}

// Blocks of 32 x 32 threads, one result each.
extern "C" __global__ void multiply(const float* a, const float* b, float* c, unsigned inner, unsigned width)
{
    __shared__ float rows[32][32], columns[32][32];
    const unsigned x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    float sum = 0.0f;
    for (unsigned k = 0; k < inner; k += 32) {
        rows[threadIdx.y][threadIdx.x] = a[y * inner + k + threadIdx.x];
        columns[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * width + x];
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 32; i++)
            sum += rows[threadIdx.y][i] * columns[i][threadIdx.x];
        __syncthreads();
    }
    c[y * width + x] = sum;
}
