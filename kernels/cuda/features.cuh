// Computes every selected feature of one scale and one channel from the pre-smoothed volume, for a block of voxels;
// features.cu writes them to the stack.
//
// kernels/shared/program.py defines the computation; here it is divided into steps with barriers between them. Equal
// intermediates are computed once and never leave the chip. A Scale is instantiated for one set of parameters: SOLID (3-d
// filters, else 2-d ones), the radii RS (feature sigma), RN (narrow Gaussian), RG (gradient of the structure tensor),
// the selected operations, and Y, the voxels of a block along y. Along x a block has 32 voxels, one per lane.
//
// Names: x0, x1, x2 are x passes of order 0, 1, 2 with the feature's sigma; xn with the narrow one; xg0, xg1 with that
// of the gradient.
//
// At the image's edge an intermediate is mirrored, not computed from a mirrored image: the products of two derivatives
// would have the wrong sign there. So a product at a position outside the image is computed at the position's mirror.
#include "formulas.cuh"

// Taps of the orders 0, 1, 2 with the feature's sigma, of the narrow Gaussian, and of the gradient's orders 0, 1
struct Taps { float s0[3], s1[3], s2[3], n0[2], g0[2], g1[2]; };

// A channel after its pre-smoothing: the part of the image (depth, height, width) that begins at (low_z, low_y, low_x).
struct Smoothed { const float* values; int low_z, low_y, low_x, height, width; };

// First voxel of a block in the image, and the size of the image.
struct Place { int z0, y0, x0, nz, ny, nx; };

// First column of each operation; Index is wide enough for a column times the distance of two columns.
template <class Index>
struct Columns { Index gaussian, difference, gradient, laplacian, hessian, tensor; };

// taps[0] * centre + taps[1] * pair + …; `at(k)` is the value k voxels later on the line. A radius of 0 copies.
template <int R, bool ODD, bool FUSED, class At>
static __device__ __forceinline__ float filter(const float* taps, At at) {
    if (R == 0) return at(0);
    float sum = taps[0] * at(0);
#pragma unroll
    for (int k = 1; k <= R; k++) {
        const float pair = ODD ? at(k) - at(-k) : at(k) + at(-k);
        sum = FUSED ? __fmaf_rn(taps[k], pair, sum) : sum + taps[k] * pair;
    }
    return sum;
}

template <int R, bool ODD, bool FUSED>
static __device__ __forceinline__ float along_x(const float* taps, const float* centre) {
    return filter<R, ODD, FUSED>(taps, [=](int k) { return centre[k]; });
}

template <int R, bool ODD, int ROW>
static __device__ __forceinline__ float along_y(const float* taps, const float* centre) {
    return filter<R, ODD, true>(taps, [=](int k) { return centre[k * ROW]; });
}

// True if the x pass of ilastik's build rounds once at x, on a line of n voxels; see kernels/cpu/loops/filters.py.
template <int R>
static __device__ __forceinline__ bool is_fused(int x, int n) {
    const int stop = (n - R) / 32 * 32, first = (R + 7) / 8 * 8;
    return stop > (first + 31) / 32 * 32 && x >= first && x < stop;
}

static __device__ __forceinline__ int clamp(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

// COUNT volumes of which 2 * R + 1 planes are kept, the newest last; a thread has one voxel of each plane.
template <int R, int COUNT>
struct Planes {
    float w[COUNT][2 * R + 1];

    // Shift the planes to make room for the next one.
    __device__ __forceinline__ void shift() {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
#pragma unroll
            for (int k = 0; k < 2 * R; k++) w[i][k] = w[i][k + 1];
    }

    __device__ __forceinline__ float& newest(int i) { return w[i][2 * R]; }

    // Once planes 1 and 2 are loaded, they also serve as -1 and -2. `plane` is the newest.
    __device__ __forceinline__ void mirror_low(int plane) {
#pragma unroll
        for (int k = 1; k <= R; k++)
            if (plane == k)
#pragma unroll
                for (int i = 0; i < COUNT; i++) w[i][2 * R - 2 * k] = w[i][2 * R];
    }

    // The newest plane, beyond an image of n, is the mirror of an earlier one.
    __device__ __forceinline__ void mirror_high(int plane, int n) {
#pragma unroll
        for (int k = 1; k <= R; k++)
            if (plane == n - 1 + k)
#pragma unroll
                for (int i = 0; i < COUNT; i++) w[i][2 * R] = w[i][2 * R - 2 * k];
    }

    // The z pass of volume i at the middle plane, with a filter no wider than R.
    template <int RADIUS, bool ODD>
    __device__ __forceinline__ float along_z(const float* taps, int i) const {
        return filter<RADIUS, ODD, true>(taps, [&](int k) { return w[i][R + k]; });
    }
};

// Shared memory for two things, of which the second one is written when the first one has been read, or both are kept.
template <bool BOTH, class First, class Second>
struct Reused {
    First first;
    Second second;
};

template <class First, class Second>
struct Reused<false, First, Second> {
    union {
        First first;
        Second second;
    };
};

template <bool SOLID, int RS, int RN, int RG, bool GAUSSIAN, bool DIFFERENCE, bool GRADIENT, bool LAPLACIAN,
          bool HESSIAN, bool TENSOR, int Y>
struct Scale {
    static constexpr bool IS_SOLID = SOLID;
    static constexpr int H = TENSOR ? RG + RS : RS;  // voxels around the block that are read
    static constexpr bool NEEDS_X0 = GAUSSIAN || DIFFERENCE || GRADIENT || LAPLACIAN || HESSIAN;
    static constexpr bool NEEDS_X1 = GRADIENT || HESSIAN;
    static constexpr bool NEEDS_X2 = LAPLACIAN || HESSIAN;
    static constexpr int X = 32, WARPS = Y < 8 ? Y : 8, THREADS = 32 * WARPS;
    static_assert(SOLID ? Y == WARPS : Y % WARPS == 0, "a warp has the same rows of all planes");
    static constexpr int WIDE = X + 2 * H, HIGH = Y + 2 * H;     // of the image
    static constexpr int ROWS = Y + 2 * RS;                      // of x0, x1, x2, xn and of the products' x pass
    static constexpr int GX = X + 2 * RS, GY = Y + 2 * RS;       // of the gradient and its products
    static constexpr int PRODUCTS = SOLID ? 6 : 3;

    struct ImagePasses {
        float x0[NEEDS_X0 ? ROWS * X : 1], x1[NEEDS_X1 ? ROWS * X : 1], x2[NEEDS_X2 ? ROWS * X : 1];
        float xn[DIFFERENCE ? ROWS * X : 1];
    };

    struct ProductPasses {
        float smoothed[TENSOR ? PRODUCTS * ROWS * X : 1];
    };

    struct Shared {
        float images[SOLID ? 2 : 1][HIGH * WIDE];  // in 3-d this plane and the next
        int offsets[SOLID ? HIGH * WIDE : 1];          // of the voxels in a plane of pre; registers are scarce
        Reused<SOLID, ImagePasses, ProductPasses> passes;  // of the image, then of the products
        float xg0[TENSOR ? HIGH * GX : 1], xg1[TENSOR ? HIGH * GX : 1];
        float slopes[SOLID && TENSOR ? 2 * 3 * GY * GX : 1];
        float products[TENSOR ? PRODUCTS * GY * GX : 1];
    };

    template <bool FUSED>
    static __device__ __forceinline__ void filter_row_x(Shared& s, const Taps& taps, const float* centre, int to) {
        if (NEEDS_X0) s.passes.first.x0[to] = along_x<RS, false, FUSED>(taps.s0, centre);
        if (NEEDS_X1) s.passes.first.x1[to] = along_x<RS, true, FUSED>(taps.s1, centre);
        if (NEEDS_X2) s.passes.first.x2[to] = along_x<RS, false, FUSED>(taps.s2, centre);
    }

    template <bool FUSED>
    static __device__ __forceinline__ void filter_gradient_x(Shared& s, const Taps& taps, const float* centre, int to) {
        s.xg0[to] = along_x<RG, false, FUSED>(taps.g0, centre);
        s.xg1[to] = along_x<RG, true, FUSED>(taps.g1, centre);
    }

    // All x passes of the image's plane.
    static __device__ __forceinline__ void filter_image_x(Shared& s, const float* image, const Taps& taps,
                                                          const Place& place) {
        const int thread = threadIdx.x, lane = thread & 31;
        if (NEEDS_X0 || NEEDS_X1 || NEEDS_X2) {
            const bool fused = is_fused<RS>(place.x0 + lane, place.nx);
            const bool fused_narrow = is_fused<RN>(place.x0 + lane, place.nx);
#pragma unroll
            for (int k = 0; k < (ROWS + WARPS - 1) / WARPS; k++) {
                const int row = thread / 32 + k * WARPS;
                if (row >= ROWS) break;
                const float* const centre = image + (row + H - RS) * WIDE + lane + H;
                if (fused) filter_row_x<true>(s, taps, centre, row * X + lane);
                else filter_row_x<false>(s, taps, centre, row * X + lane);
                if (DIFFERENCE)
                    s.passes.first.xn[row * X + lane] = fused_narrow ? along_x<RN, false, true>(taps.n0, centre)
                                                        : along_x<RN, false, false>(taps.n0, centre);
            }
        }
        if (TENSOR) {
#pragma unroll
            for (int k = 0; k < (GX * HIGH + THREADS - 1) / THREADS; k++) {
                const int p = thread + k * THREADS;
                if (p >= GX * HIGH) break;
                const int row = p / GX, column = p % GX;
                const int x = mirror(place.x0 - RS + column, place.nx);
                const float* const centre = image + row * WIDE + clamp(x - (place.x0 - H), RG, WIDE - 1 - RG);
                if (is_fused<RG>(x, place.nx)) filter_gradient_x<true>(s, taps, centre, p);
                else filter_gradient_x<false>(s, taps, centre, p);
            }
        }
    }

    // Centre of row `row` of the gradient in xg0 and xg1: the mirror of its position.
    static __device__ __forceinline__ int gradient_row(int row, const Place& place) {
        return clamp(mirror(place.y0 - RS + row, place.ny) - (place.y0 - H), RG, HIGH - 1 - RG);
    }

    template <bool FUSED>
    static __device__ __forceinline__ void smooth_products_row(Shared& s, const Taps& taps, int row, int lane) {
#pragma unroll
        for (int i = 0; i < PRODUCTS; i++)
            s.passes.second.smoothed[(i * ROWS + row) * X + lane] =
                along_x<RS, false, FUSED>(taps.s0, s.products + (i * GY + row) * GX + lane + RS);
    }

    // The x pass of the products.
    static __device__ __forceinline__ void smooth_products_x(Shared& s, const Taps& taps, const Place& place) {
        const int lane = threadIdx.x & 31;
        const bool fused = is_fused<RS>(place.x0 + lane, place.nx);
#pragma unroll
        for (int k = 0; k < (ROWS + WARPS - 1) / WARPS; k++) {
            const int row = threadIdx.x / 32 + k * WARPS;
            if (row >= ROWS) break;
            if (fused) smooth_products_row<true>(s, taps, row, lane);
            else smooth_products_row<false>(s, taps, row, lane);
        }
    }

    // Position of the block's image voxel i (of HIGH * WIDE) in a plane of pre. Beyond the stored part it is the nearest
    // stored voxel: no output depends on those.
    static __device__ __forceinline__ int plane_offset(int i, const Place& place, const Smoothed& pre) {
        const int y = mirror(place.y0 - H + i / WIDE, place.ny), x = mirror(place.x0 - H + i % WIDE, place.nx);
        return clamp(y - pre.low_y, 0, pre.height - 1) * pre.width + clamp(x - pre.low_x, 0, pre.width - 1);
    }

    // Two dimensions: plane z of the image. Of the block's voxels rows_inside by columns_inside are wanted. ``out``
    // gives their output positions: out.place(z, out.line(y, x)) is that of a voxel in column 0, of the image's plane z and
    // the block's row y, column x; out.stride is the distance between columns. Afterwards shared memory must not be written
    // before a barrier.
    template <class Out, class Index>
    static __device__ __forceinline__ void derive_plane(
        Shared& s, const Taps& taps, const Smoothed& pre, const Place& place, int z, int rows_inside, int columns_inside,
        const Columns<Index>& columns, const Out& out) {
        const float* const plane = pre.values + (long long)(z - pre.low_z) * pre.height * pre.width;
        for (int i = threadIdx.x; i < HIGH * WIDE; i += THREADS)
            s.images[0][i] = plane[plane_offset(i, place, pre)];
        __syncthreads();
        filter_image_x(s, s.images[0], taps, place);
        __syncthreads();
        if (TENSOR) {
#pragma unroll
            for (int k = 0; k < (GX * GY + THREADS - 1) / THREADS; k++) {
                const int p = threadIdx.x + k * THREADS;
                if (p >= GX * GY) break;
                const int at = gradient_row(p / GX, place) * GX + p % GX;
                const float gy = along_y<RG, true, GX>(taps.g1, s.xg0 + at);
                const float gx = along_y<RG, false, GX>(taps.g0, s.xg1 + at);
                s.products[p] = gy * gy;
                s.products[GY * GX + p] = gy * gx;
                s.products[2 * GY * GX + p] = gx * gx;
            }
        }
        const int lane = threadIdx.x & 31;
        const bool is_column = lane < columns_inside;
#pragma unroll
        for (int k = 0; k < Y / WARPS; k++) {
            const int row = threadIdx.x / 32 + k * WARPS;
            if (!is_column || row >= rows_inside) break;
            float* const to = out.place(z, out.line(row, lane));
            const int at = (row + RS) * X + lane;
            const float* const x0 = s.passes.first.x0 + at;
            const float* const x1 = s.passes.first.x1 + at;
            const float* const x2 = s.passes.first.x2 + at;
            const float* const xn = s.passes.first.xn + at;
            const float smooth = GAUSSIAN || DIFFERENCE ? along_y<RS, false, X>(taps.s0, x0) : 0;
            if (GAUSSIAN) to[columns.gaussian * out.stride] = smooth;
            if (DIFFERENCE) to[columns.difference * out.stride] = smooth - along_y<RN, false, X>(taps.n0, xn);
            if (GRADIENT) {
                const float gy = along_y<RS, true, X>(taps.s1, x0), gx = along_y<RS, false, X>(taps.s0, x1);
                to[columns.gradient * out.stride] = __fsqrt_rn(gy * gy + gx * gx);
            }
            if (LAPLACIAN || HESSIAN) {
                const float yy = along_y<RS, false, X>(taps.s2, x0), xx = along_y<RS, false, X>(taps.s0, x2);
                if (LAPLACIAN) to[columns.laplacian * out.stride] = xx + yy;
                if (HESSIAN) {
                    float values[2];
                    eigenvalues_2x2(yy, along_y<RS, true, X>(taps.s1, x1), xx, values);
                    to[columns.hessian * out.stride] = values[0];
                    to[(columns.hessian + 1) * out.stride] = values[1];
                }
            }
        }
        if (TENSOR) {
            __syncthreads();
            smooth_products_x(s, taps, place);
            __syncthreads();
#pragma unroll
            for (int k = 0; k < Y / WARPS; k++) {
                const int row = threadIdx.x / 32 + k * WARPS;
                if (!is_column || row >= rows_inside) break;
                const float* const centre = s.passes.second.smoothed + (row + RS) * X + lane;
                float entries[3], values[2];
#pragma unroll
                for (int i = 0; i < 3; i++) entries[i] = along_y<RS, false, X>(taps.s0, centre + i * ROWS * X);
                eigenvalues_2x2(entries[0], entries[1], entries[2], values);
                float* const to = out.place(z, out.line(row, lane));
                to[columns.tensor * out.stride] = values[0];
                to[(columns.tensor + 1) * out.stride] = values[1];
            }
        }
    }

    // The gradient (z, y, x) at position i of plane p - RG. `slopes` are its parts of plane p before the z pass; those
    // of the two planes before stay in shared memory, where only this thread reads them: registers are scarce.
    static __device__ __forceinline__ void differentiate_z(
        Shared& s, const Taps& taps, int i, const float* slopes, int p, int n, float* gradient) {
        static_assert(RG <= 1, "two earlier planes are kept");
#pragma unroll
        for (int axis = 0; axis < 3; axis++) {
            const float* const weights = axis == 0 ? taps.g1 : taps.g0;
            float w[3] = {slopes[axis], slopes[axis], slopes[axis]};  // planes p - 2, p - 1, p
            if (RG == 1) {
                float* const kept = s.slopes + axis * GY * GX + i;
                float* const oldest = kept + (p & 1) * 3 * GY * GX;
                w[1] = kept[(p + 1 & 1) * 3 * GY * GX];
                if (p != 1) w[0] = *oldest;  // plane 1 is also plane -1
                if (p == n) w[2] = w[0];     // plane n - 2 is also plane n
                *oldest = w[2];
            }
            const auto at = [&](int k) { return w[1 + k]; };
            gradient[axis] = axis == 0 ? filter<RG, true, true>(weights, at) : filter<RG, false, true>(weights, at);
        }
    }

    // Volumes after the x and y passes, by the orders of their derivatives.
    enum { Y0X0, Y1X0, Y2X0, Y0X1, Y1X1, Y0X2, NARROW, VOLUMES };

    static constexpr int GRADIENTS = (GX * GY + THREADS - 1) / THREADS;  // products per thread
    static constexpr int LOADS = (HIGH * WIDE + THREADS - 1) / THREADS;

    // Three dimensions: the block moves up along z through ``planes`` planes. A step loads one plane of the image and has
    // two parts with a barrier after each: the x passes of this plane and of the products of the step before; then y
    // passes, z passes over the planes kept in registers, and formulas. The structure tensor follows one step and the
    // gradient's radius after the other features. Other arguments are those of derive_plane; ends with a barrier.
    template <class Out, class Index>
    static __device__ __forceinline__ void derive_planes(
        Shared& s, const Taps& taps, const Smoothed& pre, const Place& place, int planes, int rows_inside,
        int columns_inside, const Columns<Index>& columns, const Out& out) {
        const int nz = place.nz;
        const int begin = place.z0, end = begin + planes;  // the block's planes of the image
        const int load_begin = max(begin - H, 0), load_end = min(end + H, nz);
        const int product_begin = max(begin - RS, 0), product_end = min(end + RS, nz);
        const int lane = threadIdx.x & 31, row = threadIdx.x / 32;
        const bool is_inside = lane < columns_inside && row < rows_inside;
        const int line = out.line(row, lane);

        const long long plane_in = (long long)pre.height * pre.width;
        for (int i = threadIdx.x; i < HIGH * WIDE; i += THREADS) {
            s.offsets[i] = plane_offset(i, place, pre);
            s.images[load_begin & 1][i] = pre.values[(load_begin - pre.low_z) * plane_in + s.offsets[i]];
        }
        __syncthreads();

        Planes<RS, VOLUMES> kept;
        Planes<RS, 6> tensors;
        const int steps_end = TENSOR ? end + H + 1 : end + RS;
        for (int p = load_begin; p < steps_end; p++) {
            const int earlier = p - 1 - RG;  // plane of the products in shared memory
            const bool has_products = TENSOR && earlier >= product_begin && earlier < product_end;
            const bool has_next = p + 1 < load_end;
            float loaded[LOADS];
            if (has_next) {
#pragma unroll
                for (int k = 0; k < LOADS; k++)
                    if (threadIdx.x + k * THREADS < HIGH * WIDE)
                        loaded[k] = pre.values[(p + 1 - pre.low_z) * plane_in + s.offsets[threadIdx.x + k * THREADS]];
            }
            if (p < load_end) filter_image_x(s, s.images[p & 1], taps, place);
            if (has_products) smooth_products_x(s, taps, place);
            if (has_next) {
#pragma unroll
                for (int k = 0; k < LOADS; k++)
                    if (threadIdx.x + k * THREADS < HIGH * WIDE)
                        s.images[p + 1 & 1][threadIdx.x + k * THREADS] = loaded[k];
            }
            __syncthreads();

            if (TENSOR) {
                const bool makes_products = p - RG >= product_begin && p - RG < product_end;
#pragma unroll
                for (int k = 0; k < GRADIENTS; k++) {
                    const int i = threadIdx.x + k * THREADS;
                    if (i >= GX * GY) break;
                    float slopes[3] = {};  // this plane's input to the z pass of the gradient's parts along z, y, x
                    if (p < load_end) {
                        const int at = gradient_row(i / GX, place) * GX + i % GX;
                        slopes[0] = along_y<RG, false, GX>(taps.g0, s.xg0 + at);
                        slopes[1] = along_y<RG, true, GX>(taps.g1, s.xg0 + at);
                        slopes[2] = along_y<RG, false, GX>(taps.g0, s.xg1 + at);
                    }
                    float g[3];
                    differentiate_z(s, taps, i, slopes, p, nz, g);
                    if (makes_products) {
                        s.products[i] = g[0] * g[0];
                        s.products[GY * GX + i] = g[0] * g[1];
                        s.products[2 * GY * GX + i] = g[0] * g[2];
                        s.products[3 * GY * GX + i] = g[1] * g[1];
                        s.products[4 * GY * GX + i] = g[1] * g[2];
                        s.products[5 * GY * GX + i] = g[2] * g[2];
                    }
                }
            }
            if (NEEDS_X0 || NEEDS_X1 || NEEDS_X2) {
                kept.shift();
                if (p < load_end) {
                    const int at = (row + RS) * X + lane;
                    if (NEEDS_X0) kept.newest(Y0X0) = along_y<RS, false, X>(taps.s0, s.passes.first.x0 + at);
                    if (GRADIENT || HESSIAN) {
                        kept.newest(Y1X0) = along_y<RS, true, X>(taps.s1, s.passes.first.x0 + at);
                        kept.newest(Y0X1) = along_y<RS, false, X>(taps.s0, s.passes.first.x1 + at);
                    }
                    if (LAPLACIAN || HESSIAN) {
                        kept.newest(Y2X0) = along_y<RS, false, X>(taps.s2, s.passes.first.x0 + at);
                        kept.newest(Y0X2) = along_y<RS, false, X>(taps.s0, s.passes.first.x2 + at);
                    }
                    if (HESSIAN) kept.newest(Y1X1) = along_y<RS, true, X>(taps.s1, s.passes.first.x1 + at);
                    if (DIFFERENCE) kept.newest(NARROW) = along_y<RN, false, X>(taps.n0, s.passes.first.xn + at);
                    kept.mirror_low(p);
                } else {
                    kept.mirror_high(p, nz);
                }
                const int z = p - RS;
                if (z >= begin && z < end && is_inside) {
                    float* const to = out.place(z, line);
                    const float smooth = GAUSSIAN || DIFFERENCE ? kept.template along_z<RS, false>(taps.s0, Y0X0) : 0;
                    if (GAUSSIAN) to[columns.gaussian * out.stride] = smooth;
                    if (DIFFERENCE)
                        to[columns.difference * out.stride] = smooth - kept.template along_z<RN, false>(taps.n0, NARROW);
                    if (GRADIENT) {
                        const float gz = kept.template along_z<RS, true>(taps.s1, Y0X0);
                        const float gy = kept.template along_z<RS, false>(taps.s0, Y1X0);
                        const float gx = kept.template along_z<RS, false>(taps.s0, Y0X1);
                        to[columns.gradient * out.stride] = __fsqrt_rn((gx * gx + gy * gy) + gz * gz);
                    }
                    if (LAPLACIAN || HESSIAN) {
                        float entries[6], values[3];  // zz, zy, zx, yy, yx, xx
                        entries[0] = kept.template along_z<RS, false>(taps.s2, Y0X0);
                        entries[3] = kept.template along_z<RS, false>(taps.s0, Y2X0);
                        entries[5] = kept.template along_z<RS, false>(taps.s0, Y0X2);
                        if (LAPLACIAN) to[columns.laplacian * out.stride] = (entries[5] + entries[3]) + entries[0];
                        if (HESSIAN) {
                            entries[1] = kept.template along_z<RS, true>(taps.s1, Y1X0);
                            entries[2] = kept.template along_z<RS, true>(taps.s1, Y0X1);
                            entries[4] = kept.template along_z<RS, false>(taps.s0, Y1X1);
                            eigenvalues_3x3(entries, values);
#pragma unroll
                            for (int i = 0; i < 3; i++) to[(columns.hessian + i) * out.stride] = values[i];
                        }
                    }
                }
            }
            if (TENSOR) {
                tensors.shift();
                if (has_products) {
                    const float* const centre = s.passes.second.smoothed + (row + RS) * X + lane;
#pragma unroll
                    for (int i = 0; i < 6; i++)
                        tensors.newest(i) = along_y<RS, false, X>(taps.s0, centre + i * ROWS * X);
                    tensors.mirror_low(earlier);
                } else {
                    tensors.mirror_high(earlier, nz);
                }
                const int z = earlier - RS;
                if (z >= begin && z < end && lane < columns_inside && row < rows_inside) {  // fewer registers here
                    float* const to = out.place(z, line);
                    float entries[6], values[3];
#pragma unroll
                    for (int i = 0; i < 6; i++) entries[i] = tensors.template along_z<RS, false>(taps.s0, i);
                    eigenvalues_3x3(entries, values);
#pragma unroll
                    for (int i = 0; i < 3; i++) to[(columns.tensor + i) * out.stride] = values[i];
                }
            }
            __syncthreads();
        }
    }
};
