// Types of pixels: Source is that of SOURCE, and CONVERT_… makes a float of it, rounded once to nearest even.
#include "arithmetic.cuh"

#define TYPE_bool unsigned char
#define TYPE_uint8 unsigned char
#define TYPE_int8 signed char
#define TYPE_uint16 unsigned short
#define TYPE_int16 short
#define TYPE_uint32 unsigned int
#define TYPE_int32 int
#define TYPE_uint64 unsigned long long
#define TYPE_int64 long long
#define TYPE_float16 unsigned short
#define TYPE_float32 float
#define TYPE_float64 double

#define CONVERT_bool(v) (v ? 1.0f : 0.0f)
#define CONVERT_uint8(v) (float)v
#define CONVERT_int8(v) (float)v
#define CONVERT_uint16(v) (float)v
#define CONVERT_int16(v) (float)v
#define CONVERT_uint32(v) __uint2float_rn(v)
#define CONVERT_int32(v) __int2float_rn(v)
#define CONVERT_uint64(v) __ull2float_rn(v)
#define CONVERT_int64(v) __ll2float_rn(v)
#define CONVERT_float16(v) half_to_float(v)
#define CONVERT_float32(v) v
#define CONVERT_float64(v) __double2float_rn(v)

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

typedef JOIN(TYPE_, SOURCE) Source;
