// Voxel-wise formulas, line by line those of kernels/cpu/simd/formulas.py: nothing is fused, nothing is reordered. The
// coefficients are defines generated from kernels/shared/polynomials.py.
#include "arithmetic.cuh"

static __device__ __forceinline__ bool is_negative(float value) { return __float_as_int(value) < 0; }

// The larger of two; b where either is NaN.
static __device__ __forceinline__ float larger(float a, float b) { return a > b ? a : b; }

static __device__ __forceinline__ void eigenvalues_2x2(float yy, float xy, float xx, float* values) {
    const float mean = (xx + yy) * 0.5f;
    const float half_gap = (xx - yy) * 0.5f;
    const float root = __fsqrt_rn(half_gap * half_gap + xy * xy);
    values[0] = mean + root;
    values[1] = mean - root;
}

// atan2(y, x) for y >= 0, with the original's flaw: 0 or pi, not pi/2, where x is zero and y is not.
static __device__ __forceinline__ float arc_tangent(float y, float x) {
    const bool negative = is_negative(x);
    const float wide = fabsf(x);
    const bool steep = y > wide;
    const float big = steep ? y : wide, small = steep ? -wide : y;
    const float turns = (negative ? -2.0f : 0.0f) + (steep ? 1.0f : 0.0f);
    const float s = __fdiv_rn(small, big);
    const float t = s * s;
    float p = ARCTAN_0;
    p = p * t + ARCTAN_1;
    p = p * t + ARCTAN_2;
    p = p * t + ARCTAN_3;
    p = p * t + ARCTAN_4;
    p = p * t + ARCTAN_5;
    p = p * t + ARCTAN_6;
    p = p * t + ARCTAN_7;
    float w = turns * HALF_PI + ((t * s) * p + s);
    w = negative ? -w : w;
    w = big == 0.0f ? HALF_PI : w;
    return small == 0.0f ? (negative ? PI : 0.0f) : w;
}

// Sine and cosine of an angle in [0, pi/3]; in that range only the first two octants occur.
static __device__ __forceinline__ void sine_cosine(float angle, float* sine, float* cosine) {
    const bool upper = angle * FOUR_OVER_PI > BELOW_ONE;
    const float j = upper ? 2.0f : 0.0f;
    float x = angle;
    x = x + j * QUARTER_PI_0;
    x = x + j * QUARTER_PI_1;
    x = x + j * QUARTER_PI_2;
    const float z = x * x;
    const float p = (((z * COSINE_0 + COSINE_1) * z + COSINE_2) * z) * z - z * 0.5f + 1.0f;
    const float q = (((z * SINE_0 + SINE_1) * z + SINE_2) * z) * x + x;
    *sine = upper ? p : q;
    *cosine = upper ? -q : p;
}

// The closed form on the entries divided by the largest of them; entries zz, zy, zx, yy, yx, xx.
static __device__ __forceinline__ void eigenvalues_3x3(const float* entries, float* values) {
    float largest = fabsf(entries[0]);
#pragma unroll
    for (int i = 1; i < 6; i++) largest = larger(fabsf(entries[i]), largest);
    const float divisor = largest == 0.0f ? 1.0f : largest;
    const float a00 = __fdiv_rn(entries[0], divisor), a01 = __fdiv_rn(entries[1], divisor);
    const float a02 = __fdiv_rn(entries[2], divisor), a11 = __fdiv_rn(entries[3], divisor);
    const float a12 = __fdiv_rn(entries[4], divisor), a22 = __fdiv_rn(entries[5], divisor);
    const float c0 = (((a00 * a11 * a22 + (a01 * 2.0f) * a02 * a12) - a00 * a12 * a12) - a11 * a02 * a02)
        - a22 * a01 * a01;
    const float c1 = ((((a00 * a11 - a01 * a01) + a00 * a22) - a02 * a02) + a11 * a22) - a12 * a12;
    const float c2 = (a00 + a11) + a22;
    const float u = c2 * THIRD;
    const float a = negative_part((c1 - c2 * u) * THIRD);
    const float b = (c0 + u * ((u * 2.0f) * u - c1)) * 0.5f;
    const float q = negative_part(b * b + (a * a) * a);
    const float rho = __fsqrt_rn(-a);
    // The sign of the angle, lost by the magnitude, would only swap r1 and r2.
    float sine, cosine;
    sine_cosine(arc_tangent(fabsf(__fsqrt_rn(-q)), b) * THIRD, &sine, &cosine);
    const float r0 = u + (rho * 2.0f) * cosine;
    const float r1 = u - rho * (cosine + sine * SQRT_3);
    const float r2 = u - rho * (cosine - sine * SQRT_3);
    const float high = r0 > r1 ? r0 : r1, low = r0 > r1 ? r1 : r0;
    const float top = high > r2 ? high : r2, rest = high > r2 ? r2 : high;
    const float middle = rest > low ? rest : low, bottom = rest > low ? low : rest;
    values[0] = top * largest;
    values[1] = middle * largest;
    values[2] = bottom * largest;
}
