// Shared by several kernels: positions at the image's edge, shared memory of a size known at launch, and operations
// whose rounding matters. Kernels are compiled without contraction, so a plain a * b + c rounds twice everywhere.

// Dynamic shared memory as an array of T. The stand-in provides it when tests run the kernels on the host.
#ifdef __CUDACC__
#define DYNAMIC_SHARED(T, name)                                                                                \
    extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];                                      \
    T* const name = reinterpret_cast<T*>(dynamic_shared_bytes)
#else
#define DYNAMIC_SHARED(T, name) T* const name = reinterpret_cast<T*>(shim::dynamic_shared)
#endif

// Mirrors a position up to n - 1 voxels outside into [0, n), without repeating the edge voxel.
static __device__ __forceinline__ int mirror(int position, int n) {
    if (position < 0) return -position;
    if (position >= n) return 2 * n - 2 - position;
    return position;
}

// Tests for NaN, whatever the compiler assumes about comparisons.
static __device__ __forceinline__ bool is_nan(float value) {
    return (__float_as_uint(value) & 0x7fffffffu) > 0x7f800000u;
}

// The value if it is negative, else +0, also for NaN and -0. Compilers turn ``value < 0 ? value : 0`` into a minimum, which
// may keep the sign of a zero; the sum drops it.
static __device__ __forceinline__ float negative_part(float value) { return __fadd_rn(fminf(value, 0.0f), 0.0f); }

// Converts half-precision bits to a float; every half is exactly a float.
static __device__ __forceinline__ float half_to_float(unsigned short bits) {
    const unsigned sign = (unsigned)(bits & 0x8000u) << 16;
    const unsigned magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x400u) return __uint_as_float(sign | ((magnitude << 13) + (112u << 23)));
    const float small = (float)magnitude * 5.9604644775390625e-08f;  // subnormal: a multiple of 2^-24
    return sign ? -small : small;
}
